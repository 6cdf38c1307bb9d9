"""Train up to a milestone, from the newest state there is, and write the milestone.

The state between milestones is in the folder of the training; the same command goes on from it after any interruption,
with the same result as without. Start it with torchrun to use several GPUs.
"""

from __future__ import annotations

import argparse
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ag3d.config import Training, read, to_mapping
from ag3d.config.settings import add_options, from_options
from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.errors import UserError
from ag3d.core.files import read_object
from ag3d.core.shards import ShardReader, content_hash
from ag3d.model import checkpoint
from ag3d.model.body.body import Body
from ag3d.model.training.distributed import Processes
from ag3d.model.training.monitoring import check_observers
from ag3d.model.training.preemption import stop_signals
from ag3d.model.training.run_folder import RunFolder, run_lock
from ag3d.model.training.stages import TrainingStage, plan_stages, steps_until
from ag3d.model.training.trainer import Trainer
from ag3d.model.training.training_loop import TrainingRun
from ag3d.model.training.training_state import (
    TrainingState,
    is_milestone,
    milestones_with_state,
    newest_state,
    write_milestone,
)
from ag3d.model.training.weight_transfer import weights_hash

log = logging.getLogger(__name__)


def arguments() -> argparse.Namespace:
    parser = console.parser("ag3d.model.training", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="shards of the data set (.zip)")
    parser.add_argument("--index", type=Path, help="index.json of the data set; tells its content")
    parser.add_argument(
        "--data-name",
        metavar="TEXT",
        help="training goes on while this name stays, also on changed data; default: a hash of the data",
    )
    parser.add_argument("--body", type=Path, required=True, help="parametric body (.npz or .pkl)")
    parser.add_argument("--state", type=Path, required=True, help="folder of the training: state, metrics, previews")
    parser.add_argument("--output", type=Path, required=True, help="folder of the milestone to write")
    parser.add_argument("--previous", type=Path, help="a milestone to go on from; default: those beside --output")
    parser.add_argument("--dry-run", action="store_true", help="build everything, tell the plan, train nothing")
    add_options(parser, Training)
    args = parser.parse_args()
    # --kimg says how far to go now. A milestone's name has leading zeros, which YAML would read as octal.
    try:
        args.kimg = None if args.setting_kimg is None else float(args.setting_kimg)
    except ValueError:
        parser.error(f"--kimg: {args.setting_kimg} is not a number")
    args.setting_kimg = None
    return args


def content_of(data: list[Path], index: Path | None) -> str:
    """A hash of the data set's content, without reading a pixel. Raises UserError where the index names another."""
    content = content_hash([ShardReader(path) for path in data])
    recorded = read_object(index).get("content") if index is not None else None
    if recorded and recorded != content:
        raise UserError(
            f"{index} names another content than these {len(data)} shards have: one of them was damaged, or replaced after the "
            "index was made; delete the index and run again"
        )
    return content


def find_start(run: RunFolder, args: argparse.Namespace, plan: list[TrainingStage]) -> TrainingState | None:
    """The state that is farthest on: saved ones, milestones beside the output, the one that was named."""
    previous = [args.previous] if args.previous else []
    folders = [*run.store.folders(), *milestones_with_state(args.output.parent), *previous]
    states = (newest_state(folders, stage.key, stage.end) for stage in reversed(plan))
    return next((state for state in states if state is not None), None)


def describe(args: argparse.Namespace, stage: TrainingStage, body: Body, state: TrainingState) -> dict[str, Any]:
    """The content of checkpoint.json."""
    record = provenance.record("training", to_mapping(stage.training), [path for path in [args.index] if path])
    more = {"training": to_mapping(stage.training), "kimg": state.images / 1000, "record": record, "key": state.key}
    return checkpoint.describe(stage.network, body, versions=provenance.versions(), **more)


def start_processes(settings: Training, device: torch.device) -> Processes:
    """Join the other processes of the training, if any. Raises UserError where a batch is too small for all."""
    processes = Processes.start(str(device))
    if processes.world > settings.batch_size:
        raise UserError(
            f"training.batch_size is {settings.batch_size}, too few for {processes.world} processes: lower machine.gpus"
        )
    if processes.rank:
        logging.getLogger().setLevel(logging.ERROR)  # the first tells what all would tell
    return processes


def train(args: argparse.Namespace) -> None:
    settings, config = from_options(Training, args), read(args.config)
    network, machine = config.network, config.machine
    if settings.resume_from:
        weights_hash(Path(settings.resume_from))  # tells at once if there are none
    check_observers(machine)
    device = choose_device(machine.device, "machine.device")
    processes = start_processes(settings, device)
    first = processes.rank == 0
    images = steps_until(settings.kimg if args.kimg is None else args.kimg, settings.batch_size) * settings.batch_size
    body = Body.load(args.body)
    folder = RunFolder(args.state, machine.keep_checkpoints)
    with run_lock(args.state) if first else nullcontext(), stop_signals() as request:
        data = content_of(args.data, args.index) if first or not args.data_name else ""
        plan = plan_stages(settings, network, images, args.data_name or data, body.sha256)
        if first:
            folder.adopt(plan, data)
        processes.agree(0)  # nobody looks for a state before the folder is in order
        state = find_start(folder, args, plan)
        if not processes.same(-1 if state is None else state.images):
            raise UserError(f"the processes do not see the same saved states in {args.state}; is it on a shared disk?")
        run = TrainingRun(folder, args.data, body, machine, device, processes, request)
        reached = next((stage.number for stage in plan if state is not None and stage.key == state.key), 0)
        for stage in plan[reached:]:
            if state is not None and state.key == stage.key and state.images == stage.end:
                log.info("%d images were reached before", stage.end)
            else:
                trainer, dataset = run.prepare(stage, state)
                if args.dry_run:
                    log.info("would train from %d to %d images; %s", trainer.images, images, sizes(trainer))
                    return
                state = run.train(stage, trainer, dataset, 0.0 if state is None else state.seconds)
                del trainer
            output = args.output if stage is plan[-1] else args.output.parent / stage.milestone
            if first and (stage is plan[-1] or not is_milestone(output, stage.key)):
                write_milestone(output, state, describe(args, stage, body, state))
                log.info("milestone written: %s", output)
    processes.leave()


def sizes(trainer: Trainer) -> str:
    counts = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (trainer.G, trainer.D)]
    return f"{counts[0]:.2f} M parameters in the generator, {counts[1]:.2f} M in the discriminators"


def main() -> None:
    train(arguments())
