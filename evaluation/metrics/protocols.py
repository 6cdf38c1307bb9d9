"""Under which conditions distances are measured. Values of different protocols are never comparable."""

from __future__ import annotations

from dataclasses import dataclass

from ag3d.config import Evaluation
from ag3d.model.generator import Generator
from ag3d.model.networks.stylegan2_layers import NoiseMode

MAIN = "segmentation"  # the embedded network whose distances carry the plain names
FACE = 64  # the reference cuts faces of 64 pixels, whatever the image's size


@dataclass(frozen=True)
class Source:
    """How pictures are made. The defaults are the network's own: what can be repeated exactly."""

    samples: int
    reference: bool = False  # sizes, rounding, noise and samples per ray of AG3D's evaluation

    @property
    def noise(self) -> NoiseMode:
        return "random" if self.reference else "const"

    @property
    def ray_samples(self) -> int:
        """Of each pass; 0: the network's own."""
        return 48 if self.reference else 0

    def normal_side(self, generator: Generator) -> int:
        return 256 if self.reference else generator.neural_resolution

    def face_side(self, generator: Generator) -> int:
        """The reference's 64 pixels would be half a picture, or more, of networks below 256."""
        side = generator.settings.image_resolution
        return FACE if self.reference and side >= 4 * FACE else side // generator.settings.face_fraction


@dataclass(frozen=True)
class Protocol:
    """A family of distances."""

    name: str  # in its conditions, so in its id
    source: Source
    network: str  # embedded, patches, or a mode of ag3d.evaluation.metrics.inception

    def metric(self, kind: str) -> str:
        """The name of a kind of distance: frechet_embedded, fid5k_full, clean_kid50k_full, …"""
        if self.network in ("embedded", "patches"):
            return f"{kind}_{self.network}"
        return self.name.replace("fid", kind)


FID_SAMPLES = {"fid5k_full": 5000, "fid50k_full": 50_000}
FID_PROTOCOLS = (*FID_SAMPLES, *(f"clean_{name}" for name in FID_SAMPLES))


def chosen(settings: Evaluation) -> list[Protocol]:
    """The protocols that `evaluation.metrics` asks for. Without FID, other kinds are measured on embedded features."""
    own = Source(settings.num_images)
    found = []
    for name in FID_PROTOCOLS:
        if name in settings.metrics:
            clean = name.startswith("clean_")
            source = Source(FID_SAMPLES[name.removeprefix("clean_")], reference=True)
            found.append(Protocol(name, source, "clean" if clean else "legacy_tensorflow"))
    others = {"kid", "precision_recall", "neighbours"} & set(settings.metrics)
    if "frechet" in settings.metrics or (others and not found):
        found.insert(0, Protocol("frechet_embedded", own, "embedded"))
    if "swd" in settings.metrics:
        found.append(Protocol("sliced_patches", own, "patches"))
    return found
