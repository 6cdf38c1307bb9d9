"""Every so many images: a row of metrics.jsonl, a line on the console, previews, and a look whether the training failed."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from ag3d.config import Machine
from ag3d.core.errors import UserError
from ag3d.model.training import stages
from ag3d.model.training.data import Batch
from ag3d.model.training.monitoring import CollapseDetector, Observer, bad_values
from ag3d.model.training.previews import Previews
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.stages import TrainingStage
from ag3d.model.training.trainer import Trainer

log = logging.getLogger(__name__)


class Stopped(SystemExit):
    """The training was asked to stop; its state is saved."""


class Ticks:
    """`seconds` is the time spent on training, over all starts. All processes must take part; the first writes files."""

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder,
        stage: TrainingStage,
        previews: Previews,
        machine: Machine,
        seconds: float = 0.0,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.trainer, self.run, self.stage, self.previews, self.machine = trainer, run, stage, previews, machine
        self.observers = observers
        self.first = trainer.processes.rank == 0
        self.collapse = CollapseDetector()
        self._earlier = seconds
        self._started = self._ticked = time.monotonic()
        self._ticked_images = trainer.images
        self._waited = 0.0  # for photographs, since the last tick

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    def replay(self) -> None:
        """Take in what earlier starts of the training wrote."""
        for row in self.run.metrics.rows():
            self.collapse.tick(row)
        self.run.store.good = self.collapse.since if self.machine.patience else None

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; how long they let wait is noted."""
        iterator = iter(batches)
        while True:
            started = time.monotonic()
            batch = next(iterator)
            self._waited += time.monotonic() - started
            yield batch

    def after_step(self, done: bool) -> None:
        """Tick, if it is time to. Raises UserError where the training diverged or collapsed."""
        trainer, size = self.trainer, self.machine.log_every_images
        number = trainer.images // size
        if number > (trainer.images - trainer.settings.batch_size) // size or done:
            shows = number % self.machine.preview_every == 0 or done
            if shows:
                self.preview()
            self._tick(self.previews.statistics if shows else {})

    def preview(self) -> None:
        """A grid of pictures."""
        if self.first:
            path = self.previews.save(self.trainer.G_ema, self.trainer.images, self.trainer.device)
            for observer in self.observers:
                observer.picture(path, self.trainer.images)

    def means(self, pictures: dict[str, float] | None = None) -> dict[str, float]:
        """The means since the last tick, over all processes, and what the pictures say. Raises UserError on divergence."""
        means = self.trainer.averages.means(self.trainer.processes) | (pictures or {})
        if bad := bad_values(means):
            raise UserError(
                f"the training diverged: {', '.join(bad)} stopped being a number before {self.trainer.images} images; the last saved state is "
                "still good, but going on from it will most likely end the same: lower training.learning_rate_g and "
                "learning_rate_d, or raise training.r1_gamma"
            )
        return means

    def _tick(self, pictures: dict[str, float]) -> None:
        trainer, now = self.trainer, time.monotonic()
        means = self.means(pictures)
        speed = 1000 * (now - self._ticked) / max(1, trainer.images - self._ticked_images)
        if self.first:
            row = self._row(means, speed, self._waited / max(now - self._ticked, 1e-9))
            self.run.metrics.append(row)
            for observer in self.observers:
                observer.tick(row)
            self._log(row, speed)
            self._watch(row)
        self._stop_if_collapsed()
        trainer.averages.clear()
        self._ticked, self._ticked_images, self._waited = now, trainer.images, 0.0

    def _row(self, means: dict[str, float], speed: float, waiting: float) -> dict[str, Any]:
        """A row of metrics.jsonl."""
        trainer = self.trainer
        row: dict[str, Any] = {"images": trainer.images, "kimg": trainer.images / 1000, "step": trainer.steps}
        if trainer.settings.stages:
            row["stage"] = self.stage.number
        row["seconds"] = round(self.seconds, 1)
        row["seconds_per_kimg"] = round(speed, 2)
        row["waiting"] = round(waiting, 3)
        row["memory_gb"] = round(_memory(trainer.device), 2)
        row["blur"] = stages.blur_sigma(trainer.settings, trainer.images)
        if trainer.augment.adaptive:
            row["augment_p"] = trainer.augment.p
        return row | means

    def _log(self, row: dict[str, Any], speed: float) -> None:
        losses = " ".join(f"{name[5:]} {value:.3f}" for name, value in row.items() if name.startswith("loss/"))
        seconds_left = int((self.stage.end - row["images"]) / 1000 * speed)
        log.info(
            "kimg %.2f of %g  %.1f s/kimg  %s  beta %.3f  %.1f GB  left %d:%02d",
            row["kimg"], self.stage.end / 1000, speed, losses, row.get("beta", 0.0), row["memory_gb"], *divmod(seconds_left, 60),
        )  # fmt: skip

    def _watch(self, row: dict[str, Any]) -> None:
        """Count ticks with signs of a collapse, and keep the last state from before them."""
        collapse, patience = self.collapse, self.machine.patience
        collapse.tick(row)
        self.run.store.good = collapse.since if patience else None
        if patience and collapse.ticks == 1:
            log.warning("%s: the training stops if this lasts %d ticks", " and ".join(collapse.symptoms), patience)

    def _stop_if_collapsed(self) -> None:
        patience, collapse = self.machine.patience, self.collapse
        if not patience or self.trainer.processes.agree(collapse.ticks) < patience:
            return
        if not self.first:
            raise Stopped(2)
        good = self.run.store.last_good()
        raise UserError(
            f"the training collapsed: {' and '.join(collapse.symptoms)}, for {collapse.ticks} ticks, since {collapse.since} images; "
            f"the last state before is {good or 'among the milestones, if there is one'}: choose a new run, set "
            "training.resume_from to it, and raise training.r1_gamma, lower the learning rates, or use training.augment; machine.patience: 0 trains on regardless"
        )


def _memory(device: torch.device) -> float:
    """Peak memory of the process, or what it took of its GPU, in GB (CUDA itself takes another)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
