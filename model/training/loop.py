"""From a state to a number of images: steps, ticks, previews, saved states; ends early when asked to."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from ag3d.config import Machine
from ag3d.core.errors import UserError
from ag3d.model.training import schedule
from ag3d.model.training.collapse_detector import Health
from ag3d.model.training.loader import Batch, Loader
from ag3d.model.training.metrics_log import bad_values
from ag3d.model.training.observers import Observer
from ag3d.model.training.preemption import StopRequest
from ag3d.model.training.previews import Previews
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.snapshot import Snapshot
from ag3d.model.training.stages import Part
from ag3d.model.training.trainer import Trainer

log = logging.getLogger(__name__)


class Stopped(SystemExit):
    """The training was asked to stop; its state is saved."""


class Loop:
    """`seconds` is the time spent on training, over all starts."""

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder,
        part: Part,
        previews: Previews,
        machine: Machine,
        seconds: float = 0.0,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.trainer, self.run, self.part, self.previews, self.machine = trainer, run, part, previews, machine
        self.observers = observers
        self._earlier = seconds
        self._started = self._saved = self._ticked = time.monotonic()
        self._ticked_images = trainer.images
        self._waited = 0.0  # for photographs, since the last tick
        self.health = Health()

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.trainer.processes.rank == 0

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    def until(self, steps: int, loader: Loader, request: StopRequest) -> None:
        """Train until `steps` steps are taken. Raises Stopped after saving; UserError on divergence or too small a GPU."""
        trainer, size = self.trainer, self.machine.log_every_images
        if trainer.steps == 0:
            self._preview()
        batches = iter(loader)
        while trainer.steps < steps:
            asked = time.monotonic()
            batch = next(batches)
            self._waited += time.monotonic() - asked
            self._step(batch)
            done = trainer.steps == steps
            tick = trainer.images // size
            if tick > (trainer.images - trainer.settings.batch_size) // size or done:
                shown = tick % self.machine.preview_every == 0 or done
                if shown:
                    self._preview()
                self._tick(steps, self.previews.statistics if shown else {})
            self._save_or_stop(request, done)

    def _step(self, batch: Batch) -> None:
        trainer = self.trainer
        try:
            trainer.step(batch)
        except torch.OutOfMemoryError as error:
            size = len(trainer.processes.chunks(trainer.settings.batch_size, trainer.micro_batch)[0])
            raise UserError(
                f"the GPU's memory does not suffice for {size} images at once: "
                + ("set machine.cuda_graphs to false (slower, half the memory), or " if trainer.records else "set ")
                + "machine.micro_batch below that (best a multiple of network.mbstd_group_size), or choose a smaller "
                "network; the saved states are whole, and with these settings of the machine the training goes on from the last"
            ) from error

    def _save_or_stop(self, request: StopRequest, done: bool) -> None:
        late = time.monotonic() - self._saved > self.machine.checkpoint_minutes * 60
        order = self.trainer.processes.agree(request.number or int(late))
        if order and not done:
            self.save()
        if order > 1 and not done:
            log.info("stopped at %d images; run the same command again to go on", self.trainer.images)
            raise Stopped(128 + order)

    def state(self) -> Snapshot:
        """The whole state. All processes must take part."""
        trainer = self.trainer
        values = {**trainer.values(), "seconds": round(self.seconds, 3)}
        return Snapshot(self.part.key, trainer.images, trainer.tensors(), values)

    def save(self) -> None:
        self._check()
        state = self.state()
        if self.first:
            path = self.run.store.save(state)
            log.info("state saved: %s", path)
        self._saved = time.monotonic()

    def _check(self, pictures: dict[str, float] | None = None) -> dict[str, float]:
        """The means since the last tick, over all processes, and what the pictures say."""
        sums = self.trainer.averages.sums()
        flat = [number for pair in sums.values() for number in pair]
        numbers = self.trainer.processes.sum_numbers(flat)
        means = {name: numbers[2 * i] / numbers[2 * i + 1] for i, name in enumerate(sums)} | (pictures or {})
        if bad := bad_values(means):
            raise UserError(
                f"the training diverged: {', '.join(bad)} stopped being a number before {self.trainer.images} images; the last saved state is "
                "still good, but going on from it will most likely end the same: lower training.learning_rate_g and "
                "learning_rate_d, or raise training.r1_gamma"
            )
        return means

    def _tick(self, steps: int, pictures: dict[str, float]) -> None:
        trainer, now = self.trainer, time.monotonic()
        means = self._check(pictures)
        speed = 1000 * (now - self._ticked) / max(1, trainer.images - self._ticked_images)
        if self.first:
            row = self._row(means, speed, self._waited / max(now - self._ticked, 1e-9))
            self.run.metrics.append(row)
            for observer in self.observers:
                observer.tick(row)
            self._tell(row, steps * trainer.settings.batch_size, speed)
            self._watch(row)
        self._stop_if_collapsed()
        trainer.averages.clear()
        self._ticked, self._ticked_images, self._waited = now, trainer.images, 0.0

    def _row(self, means: dict[str, float], speed: float, waiting: float) -> dict[str, Any]:
        """A row of metrics.jsonl."""
        trainer = self.trainer
        row = {"images": trainer.images, "kimg": trainer.images / 1000, "step": trainer.steps}
        if trainer.settings.stages:
            row["stage"] = self.part.number
        row["seconds"] = round(self.seconds, 1)
        row["seconds_per_kimg"] = round(speed, 2)
        row["waiting"] = round(waiting, 3)
        row["memory_gb"] = round(_memory(trainer.device), 2)
        row["blur"] = schedule.blur_init_sigma(trainer.settings, trainer.images)
        if trainer.augment.adaptive:
            row["augment_p"] = trainer.augment.p
        return row | means

    def _tell(self, row: dict[str, Any], images: int, speed: float) -> None:
        """A line on the console; `images` is where the training goes."""
        losses = " ".join(f"{name[5:]} {value:.3f}" for name, value in row.items() if name.startswith("loss/"))
        left = int((images - row["images"]) / 1000 * speed)
        log.info(
            "kimg %.2f of %g  %.1f s/kimg  %s  beta %.3f  %.1f GB  left %d:%02d",
            row["kimg"], images / 1000, speed, losses, row.get("beta", 0.0), row["memory_gb"], *divmod(left, 60),
        )  # fmt: skip

    def recall(self) -> None:
        """Take in the health of earlier starts."""
        self.health.replay(self.run.metrics.rows())
        self.run.store.good = self.health.since if self.machine.patience else None

    def _watch(self, row: dict[str, Any]) -> None:
        """Count ticks with signs of a collapse, and keep the last state from before them."""
        health, patience = self.health, self.machine.patience
        health.tick(row)
        self.run.store.good = health.since if patience else None
        if patience and health.ticks == 1:
            log.warning("%s: the training stops if this lasts %d ticks", " and ".join(health.symptoms), patience)

    def _stop_if_collapsed(self) -> None:
        patience, health = self.machine.patience, self.health
        if not patience or self.trainer.processes.agree(health.ticks) < patience:
            return
        if not self.first:
            raise Stopped(2)
        good = self.run.store.last_good()
        raise UserError(
            f"the training collapsed: {' and '.join(health.symptoms)}, for {health.ticks} ticks, since {health.since} images; "
            f"the last state before is {good or 'among the milestones, if there is one'}: choose a new run, set "
            "training.resume_from to it, and raise training.r1_gamma, lower the learning rates, or use training.augment; machine.patience: 0 trains on regardless"
        )

    def _preview(self) -> None:
        if self.first:
            path = self.previews.save(self.trainer.G_ema, self.trainer.images, self.trainer.device)
            for observer in self.observers:
                observer.picture(path, self.trainer.images)


def _memory(device: torch.device) -> float:
    """Peak memory of the process, or what it took of its GPU, in GB (CUDA itself takes another)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
