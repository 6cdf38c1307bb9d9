"""Everything that changes with the number of images seen, and the numbers derived from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from ag3d.config import Training


@dataclass
class Adam:
    """Parameters of one network's optimiser."""

    lr: float
    betas: tuple[float, float]
    eps: float = 1e-8


def lazy_adam(lr: float, interval: int, beta2: float = 0.99) -> Adam:
    """Adam for a network that takes an extra, regularising step every `interval` steps (0: never).

    The extra steps would speed up the optimiser's clock; rate and decay are corrected by m = interval / (interval + 1)
    (StyleGAN2, appendix B).
    """
    m = interval / (interval + 1) if interval else 1.0
    return Adam(lr * m, (0.0, beta2**m))


def regularises(settings: Training) -> bool:
    """Whether the generator takes regularising steps."""
    return max(settings.density_reg, settings.minimal_surface, settings.body_prior, settings.diversity) > 0


def diversity_weight(settings: Training, images: int) -> float:
    """Weight of the diversity loss after `images` images."""
    return settings.diversity * left(images, settings.diversity_kimg)


def left(images: int, kimg: float) -> float:
    """The share that is left, after `images` images, of what fades over `kimg`."""
    return max(1 - images / (kimg * 1000), 0)


def adam_g(settings: Training) -> Adam:
    return lazy_adam(settings.learning_rate_g, settings.density_reg_every if regularises(settings) else 0)


def adam_d(settings: Training) -> Adam:
    return lazy_adam(settings.learning_rate_d, settings.d_reg_interval if settings.r1_gamma > 0 else 0)


def blur_init_sigma(settings: Training, images: int) -> float:
    """Standard deviation-like width (pixels of the image) of the discriminators' blur after `images` images."""
    kimg = settings.blur_fade_kimg
    if kimg < 0:
        kimg = 0 if settings.resume_from else 200 * settings.batch_size / 32
    if kimg == 0:
        return 0.0
    return left(images, kimg) * settings.blur_init_sigma


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
    whole = round(kimg * 1000, 6)
    return int(-(-whole // batch))
