"""The stages of a training with the keys of their sciences, and everything that changes with the number of images seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ag3d.config import Network, Training, resolve, to_mapping
from ag3d.config.renamed import old_names
from ag3d.config.training import milestone_name
from ag3d.core import provenance
from ag3d.model.training.weight_transfer import weights_hash


@dataclass(frozen=True)
class TrainingStage:
    """A stretch of the training with one network: images `start` … `end`. `key` names what its weights depend on."""

    number: int
    start: int
    end: int
    milestone: str  # folder name of the milestone at its end, if another stage follows
    training: Training
    network: Network
    science: dict[str, Any]
    key: str


def plan_stages(training: Training, network: Network, images: int, data: str, body: str) -> list[TrainingStage]:
    """The stages that the first `images` images belong to. `data`, `body`: what names data set and body."""
    resolved = resolve(training, network)
    starts = [steps_until(kimg, training.batch_size) * training.batch_size for kimg, _, _ in resolved]
    stages: list[TrainingStage] = []
    for number, (start, (_, settings, sizes)) in enumerate(zip(starts, resolved, strict=True)):
        end = min([images, *starts[number + 1 : number + 2]])
        if start >= end and number:
            break
        before = (stages[-1].key, start) if stages else None
        science = science_of(settings, sizes, data, body, before)
        name = milestone_name(resolved[number + 1][0]) if end < images else ""
        stages.append(TrainingStage(number, start, end, name, settings, sizes, science, key_of(science)))
    return stages


def science_of(
    training: Training, network: Network, data: str, body: str, before: tuple[str, int] | None = None
) -> dict[str, Any]:
    """Everything that the weights of a stage depend on. `before`: key of the stage before and where it ended.

    How long to train, where milestones lie and what later stages change is left out: these extend a training.
    """
    settings = to_mapping(training)
    for name in ("kimg", "milestones", "stages"):
        del settings[name]
    if training.resume_from:
        settings["resume_from"] = weights_hash(Path(training.resume_from))
    science = {"training": settings, "network": to_mapping(network), "data": data, "body": body}
    return science if before is None else {**science, "before": {"key": before[0], "images": before[1]}}


def key_of(science: dict[str, Any]) -> str:
    """The name of a science. Settings count under the names that they first had, so that saved states stay what they are."""
    first = {new: old for section in ("training", "network") for old, new in old_names(section)}
    settings = {
        section: {first.get(name, name): value for name, value in science[section].items()}
        for section in ("training", "network")
    }
    return provenance.digest(science | settings)


@dataclass
class AdamSettings:
    """Parameters of one network's optimiser."""

    lr: float
    betas: tuple[float, float]
    eps: float = 1e-8


def lazy_adam(lr: float, interval: int, beta2: float = 0.99) -> AdamSettings:
    """Adam for a network that takes an extra, regularising step every `interval` steps (0: never).

    The extra steps would speed up the optimiser's clock; rate and decay are corrected by m = interval / (interval + 1)
    (StyleGAN2, appendix B).
    """
    m = interval / (interval + 1) if interval else 1.0
    return AdamSettings(lr * m, (0.0, beta2**m))


def adam_g(settings: Training) -> AdamSettings:
    return lazy_adam(settings.learning_rate_g, settings.density_reg_every if regularizes(settings) else 0)


def adam_d(settings: Training) -> AdamSettings:
    return lazy_adam(settings.learning_rate_d, settings.d_reg_interval if settings.r1_gamma > 0 else 0)


def regularizes(settings: Training) -> bool:
    """Whether the generator takes regularising steps."""
    return max(settings.density_reg, settings.minimal_surface, settings.body_prior, settings.diversity) > 0


def fade(images: int, kimg: float) -> float:
    """The share that is left, after `images` images, of what fades over `kimg`."""
    return max(1 - images / (kimg * 1000), 0)


def diversity_weight(settings: Training, images: int) -> float:
    """Weight of the diversity loss after `images` images."""
    return settings.diversity * fade(images, settings.diversity_kimg)


def blur_sigma(settings: Training, images: int) -> float:
    """Standard deviation-like width (pixels of the image) of the discriminators' blur after `images` images."""
    kimg = settings.blur_fade_kimg
    if kimg < 0:
        kimg = 0 if settings.resume_from else 200 * settings.batch_size / 32
    if kimg == 0:
        return 0.0
    return fade(images, kimg) * settings.blur_init_sigma


def ema_beta(settings: Training, images: int) -> float:
    """How much of the moving average stays in one step, after `images` images."""
    kimg = settings.ema_kimg if settings.ema_kimg >= 0 else 10 * settings.batch_size / 32
    half_life = kimg * 1000
    rampup = settings.ema_rampup
    if rampup < 0:
        rampup = 0 if settings.resume_from else 0.05  # an average that was taken over is not to begin anew
    if rampup > 0:
        half_life = min(half_life, images * rampup)
    return 0.5 ** (settings.batch_size / max(half_life, 1e-8))


def steps_until(kimg: float, batch: int) -> int:
    """Steps after which at least `kimg` thousand images have been seen."""
    images = round(kimg * 1000, 6)
    return int(-(-images // batch))
