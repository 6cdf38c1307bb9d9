"""One start of the trainer: builds networks, data and loop for each part of the plan and trains it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from ag3d.config import Machine
from ag3d.model.body.body import Body
from ag3d.model.precision import allow_tf32, chosen
from ag3d.model.training import milestone
from ag3d.model.training.dataset import ZipDataset
from ag3d.model.training.distributed import Processes
from ag3d.model.training.loader import Loader
from ag3d.model.training.loop import Loop
from ag3d.model.training.observers import Observer, observers
from ag3d.model.training.preemption import StopRequest
from ag3d.model.training.previews import Previews
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.sampler import Sampler
from ag3d.model.training.snapshot import Snapshot
from ag3d.model.training.stages import Part
from ag3d.model.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass
class Session:
    """What all parts share."""

    run: RunFolder
    data: list[Path]
    body: Body
    machine: Machine
    device: torch.device
    processes: Processes
    request: StopRequest

    def prepare(self, part: Part, state: Snapshot | None) -> tuple[Trainer, ZipDataset]:
        """The trainer of a part, in the state that training is to go on from, and its data set."""
        cache = int(self.machine.cache_gb * 2**30)
        dataset = ZipDataset(self.data, part.network.image_resolution, part.training.mirror, cache)
        log.info("%d people, %d pixels, on %s", len(dataset.names), part.network.image_resolution, self.device)
        labels = torch.from_numpy(dataset.labels)
        precision = chosen(self.machine.precision, self.device, training=True)
        allow_tf32(precision)
        machine = (self.device, self.processes, self.machine.micro_batch, precision, self.machine.cuda_graphs)
        trainer = Trainer(part.training, part.network, self.body, labels, *machine)
        if state is None:
            if part.training.resume_from:
                milestone.start_from(Path(part.training.resume_from), trainer)
        elif state.key == part.key:
            trainer.restore(state.tensors, state.values)
            log.info("going on from %d images", state.images)
        else:
            log.info("stage %d begins at %d images", part.number, part.start)
            trainer.carry(state.tensors, state.values)
        return trainer, dataset

    def train(self, part: Part, trainer: Trainer, dataset: ZipDataset, seconds: float) -> Snapshot:
        """Train to the end of the part; `seconds` were spent before. Returns the state, on the CPU."""
        settings = part.training
        share = self.processes.share(settings.batch_size)
        sampler = Sampler(len(dataset), settings.seed)
        workers = self.machine.workers
        loader = Loader(dataset, sampler, settings.batch_size, trainer.images, share.start, len(share), workers)
        previews = Previews(self.run.previews, dataset, part.network.z_dim, settings.seed)
        watching: list[Observer] = []
        if self.processes.rank == 0:
            self.run.rewind(trainer.images)
            previews.save_reals()
            watching = observers(self.machine, self.run.folder, trainer.images, part.key, part.science)
        loop = Loop(trainer, self.run, part, previews, self.machine, seconds, watching)
        if self.processes.rank == 0:
            loop.recall()
        try:
            loop.until(part.end // settings.batch_size, loader, self.request)
        finally:
            loader.close()
            for observer in watching:
                observer.close()
        state = loop.state()
        state.tensors = {name: tensor.detach().cpu() for name, tensor in state.tensors.items()}
        return state
