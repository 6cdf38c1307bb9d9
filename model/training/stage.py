"""Train up to a milestone, from the newest state there is, and write the milestone.

The state between milestones is in the folder of the training; the same command goes on from it after any interruption,
with the same result as without. Start it with torchrun to use several GPUs.
"""

from __future__ import annotations

import argparse
import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ag3d.config import Machine, Network, Training, to_mapping
from ag3d.config.settings import add_options, from_mapping, from_options, read_yaml
from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.errors import UserError
from ag3d.core.files import read_json
from ag3d.core.shards import ShardReader, content_hash
from ag3d.model import checkpoint
from ag3d.model.body.body import Body
from ag3d.model.training import milestone, observers, schedule
from ag3d.model.training.distributed import Processes
from ag3d.model.training.lock import locked
from ag3d.model.training.preemption import listening
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.session import Session
from ag3d.model.training.snapshot import Snapshot, newest
from ag3d.model.training.stages import Part, parts
from ag3d.model.training.trainer import Trainer

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
    parser.add_argument("--network-settings", default="{}", metavar="TEXT|FILE", help="settings of the network")
    parser.add_argument("--machine", default="{}", metavar="TEXT|FILE", help="settings of the machine")
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


def section(cls: type, text: str) -> Any:
    """Settings given as JSON or YAML, or as a file of it."""
    mapping = json.loads(text) if text.lstrip().startswith("{") else read_yaml(Path(text))
    return from_mapping(cls, mapping, cls.__name__.lower())


def check(settings: Training, network: Network) -> None:
    """Raises UserError for settings that cannot train together."""
    sides = {"image_resolution": network.image_resolution, "plane_resolution": network.plane_resolution}
    for name, side in sides.items():
        if side & (side - 1):
            raise UserError(f"network.{name} is {side}; it must be a power of two")
    if settings.resume_from:
        milestone.start_hash(Path(settings.resume_from))


def content_of(data: list[Path], index: Path | None) -> str:
    """A hash of the data set's content, without reading a pixel. Raises UserError where the index names another."""
    found = content_hash([ShardReader(path) for path in data])
    named = read_json(index).get("content") if index is not None else None
    if named and named != found:
        raise UserError(
            f"{index} names another content than these {len(data)} shards have: one of them was damaged, or replaced after the "
            "index was made; delete the index and run again"
        )
    return found


def find_start(run: RunFolder, args: argparse.Namespace, plan: list[Part]) -> Snapshot | None:
    """The state that is farthest on: saved ones, milestones beside the output, the one that was named."""
    named = [args.previous] if args.previous else []
    folders = [*run.store.folders(), *milestone.states(args.output.parent), *named]
    found = (newest(folders, part.key, part.end) for part in reversed(plan))
    return next((state for state in found if state is not None), None)


def describe(args: argparse.Namespace, part: Part, body: Body, state: Snapshot) -> dict[str, Any]:
    """The content of checkpoint.json."""
    record = provenance.record("training", to_mapping(part.training), [path for path in [args.index] if path])
    more = {"training": to_mapping(part.training), "kimg": state.images / 1000, "record": record, "key": state.key}
    return checkpoint.describe(part.network, body, versions=provenance.versions(), **more)


def train(args: argparse.Namespace) -> None:
    settings = from_options(Training, args)
    network, machine = section(Network, args.network_settings), section(Machine, args.machine)
    check(settings, network)
    observers.check(machine)
    device = choose_device(machine.device, "machine.device")
    processes = Processes.start(str(device))
    if processes.world > settings.batch_size:
        raise UserError(
            f"training.batch_size is {settings.batch_size}, too few for {processes.world} processes: lower machine.gpus"
        )
    first = processes.rank == 0
    if not first:
        logging.getLogger().setLevel(logging.ERROR)  # the first tells what all would tell
    images = (
        schedule.steps_until(settings.kimg if args.kimg is None else args.kimg, settings.batch_size)
        * settings.batch_size
    )
    body = Body.load(args.body)
    run = RunFolder(args.state, machine.keep_checkpoints)
    with locked(args.state) if first else nullcontext(), listening() as request:
        data = content_of(args.data, args.index) if first or not args.data_name else ""
        plan = parts(settings, network, images, args.data_name or data, body.sha256)
        if first:
            run.adopt(plan, data)
        processes.agree(0)  # nobody looks for a state before the folder is in order
        state = find_start(run, args, plan)
        if not processes.same(-1 if state is None else state.images):
            raise UserError(f"the processes do not see the same saved states in {args.state}; is it on a shared disk?")
        session = Session(run, args.data, body, machine, device, processes, request)
        reached = next((part.number for part in plan if state is not None and part.key == state.key), 0)
        for part in plan[reached:]:
            if state is not None and state.key == part.key and state.images == part.end:
                log.info("%d images were reached before", part.end)
            else:
                trainer, dataset = session.prepare(part, state)
                if args.dry_run:
                    log.info("would train from %d to %d images; %s", trainer.images, images, sizes(trainer))
                    return
                state = session.train(part, trainer, dataset, 0.0 if state is None else state.values["seconds"])
                del trainer
            folder = args.output if part is plan[-1] else args.output.parent / part.milestone
            if first and (part is plan[-1] or not milestone.holds(folder, part.key)):
                milestone.write(folder, state, describe(args, part, body, state))
                log.info("milestone written: %s", folder)
    processes.leave()


def sizes(trainer: Trainer) -> str:
    counts = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (trainer.G, trainer.D)]
    return f"{counts[0]:.2f} M parameters in the generator, {counts[1]:.2f} M in the discriminators"


def main() -> None:
    train(arguments())
