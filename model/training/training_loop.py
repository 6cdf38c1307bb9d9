"""From a state to the end of a stage: batches, steps, ticks, saved states; ends early when asked to."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from ag3d.config import Machine
from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.precision import allow_tf32, resolve_precision
from ag3d.model.training.data import Batch, Loader, Sampler, ZipDataset
from ag3d.model.training.distributed import Processes
from ag3d.model.training.monitoring import Observer, make_observers
from ag3d.model.training.preemption import StopRequest
from ag3d.model.training.previews import Previews
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.stages import TrainingStage
from ag3d.model.training.ticks import Stopped, Ticks
from ag3d.model.training.trainer import Trainer, TrainerOptions
from ag3d.model.training.training_state import TrainingState
from ag3d.model.training.weight_transfer import start_from

log = logging.getLogger(__name__)


def training_loop(trainer: Trainer, batches: Iterable[Batch], ticks: Ticks, request: StopRequest) -> None:
    """Train until the stage's end. Raises Stopped after saving; UserError on divergence or too small a GPU."""
    steps = ticks.stage.end // trainer.settings.batch_size
    saved = time.monotonic()
    if trainer.steps == 0:
        ticks.preview()
    timed_batches = ticks.timed(batches)
    while trainer.steps < steps:
        _step(trainer, next(timed_batches))
        done = trainer.steps == steps
        ticks.after_step(done)
        late = time.monotonic() - saved > ticks.machine.checkpoint_minutes * 60
        order = trainer.processes.agree(request.number or int(late))
        if order and not done:
            _save(trainer, ticks)
            saved = time.monotonic()
        if order > 1 and not done:
            log.info("stopped at %d images; run the same command again to go on", trainer.images)
            raise Stopped(128 + order)


def _step(trainer: Trainer, batch: Batch) -> None:
    try:
        trainer.step(batch)
    except torch.OutOfMemoryError as error:
        size = len(trainer.processes.chunks(trainer.settings.batch_size, trainer.micro_batch)[0])
        raise UserError(
            f"the GPU's memory does not suffice for {size} images at once: "
            + ("set machine.cuda_graphs to false (slower, half the memory), or " if trainer.graphs.on else "set ")
            + "machine.micro_batch below that (best a multiple of network.mbstd_group_size), or choose a smaller "
            "network; the saved states are whole, and with these settings of the machine the training goes on from the last"
        ) from error


def _save(trainer: Trainer, ticks: Ticks) -> None:
    ticks.means()  # a state that diverged is not worth keeping
    state = state_of(trainer, ticks)
    if ticks.first:
        log.info("state saved: %s", ticks.run.store.save(state))


def state_of(trainer: Trainer, ticks: Ticks) -> TrainingState:
    """The whole state. All processes must take part."""
    values = {**trainer.values(), "seconds": round(ticks.seconds, 3)}
    return TrainingState(ticks.stage.key, trainer.images, trainer.tensors(), values)


@dataclass
class TrainingRun:
    """One start of the trainer: what all stages share."""

    folder: RunFolder
    data: list[Path]
    body: Body
    machine: Machine
    device: torch.device
    processes: Processes
    request: StopRequest

    def prepare(self, stage: TrainingStage, state: TrainingState | None) -> tuple[Trainer, ZipDataset]:
        """The trainer of a stage, in the state that training is to go on from, and its data set."""
        machine, settings = self.machine, stage.training
        cache = int(machine.cache_gb * 2**30)
        dataset = ZipDataset(self.data, stage.network.image_resolution, settings.mirror, cache)
        log.info("%d people, %d pixels, on %s", len(dataset.names), stage.network.image_resolution, self.device)
        precision = resolve_precision(machine.precision, self.device, training=True)
        allow_tf32(precision)
        options = TrainerOptions(self.device, self.processes, machine.micro_batch, precision, machine.cuda_graphs)
        trainer = Trainer(settings, stage.network, self.body, torch.from_numpy(dataset.labels), options)
        if state is None:
            if settings.resume_from:
                start_from(Path(settings.resume_from), trainer.networks())
        elif state.key == stage.key:
            self._restore(trainer, state)
            log.info("going on from %d images", state.images)
        else:
            log.info("stage %d begins at %d images", stage.number, stage.start)
            trainer.begin_stage(state.tensors, state.values)
        return trainer, dataset

    def _restore(self, trainer: Trainer, state: TrainingState) -> None:
        try:
            trainer.restore(state.tensors, state.values)
            fits = trainer.images == state.images
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            log.debug("restoring failed", exc_info=error)
            fits = False
        if not fits:
            raise UserError(
                f"the saved state of {state.images} images, of {self.folder.store.folder} or a milestone, is not of this "
                "training, though it says so; delete it and run again"
            )

    def train(self, stage: TrainingStage, trainer: Trainer, dataset: ZipDataset, seconds: float) -> TrainingState:
        """Train to the end of the stage; `seconds` were spent before. Returns the state, on the CPU."""
        settings, machine, first = stage.training, self.machine, self.processes.rank == 0
        previews = Previews(self.folder.previews, dataset, stage.network.z_dim, settings.seed)
        share = self.processes.share(settings.batch_size)
        sampler = Sampler(len(dataset), settings.seed)
        with ExitStack() as stack:
            loader = Loader(
                dataset, sampler, settings.batch_size, trainer.images, share.start, len(share), machine.workers
            )
            stack.callback(loader.close)
            observers: list[Observer] = []
            if first:
                self.folder.rewind(trainer.images)
                previews.save_reals()
                observers = make_observers(machine, self.folder.folder, trainer.images, stage.key, stage.science)
                for observer in observers:
                    stack.callback(observer.close)
            ticks = Ticks(trainer, self.folder, stage, previews, machine, seconds, observers)
            if first:
                ticks.replay()
            training_loop(trainer, loader, ticks, self.request)
            state = state_of(trainer, ticks)
        state.tensors = {name: tensor.detach().cpu() for name, tensor in state.tensors.items()}
        return state
