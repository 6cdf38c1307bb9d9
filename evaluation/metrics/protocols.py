"""Under which conditions distances are measured. Values of different protocols are never comparable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ag3d.config import Evaluation
from ag3d.model.generator import Generator
from ag3d.model.networks.stylegan2_layers import NoiseMode

MAIN_NETWORK = "segmentation"  # the embedded network whose distances carry the plain names
REFERENCE_FACE_SIDE = 64  # the reference cuts faces of 64 pixels, whatever the image's size
# Measures of geometry and control, and the words for them in the conditions that protocol ids are made of.
GEOMETRY_MEASURES = {
    "pck": "pose",
    "mesh_consistency": "surface",
    "view_consistency": "turning",
    "temporal_consistency": "flicker",
}


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
        if self.reference and side >= 4 * REFERENCE_FACE_SIDE:
            return REFERENCE_FACE_SIDE
        return side // generator.settings.face_fraction


@dataclass(frozen=True)
class Protocol:
    """A family of distances."""

    name: str  # in its conditions, so in its id
    source: Source
    network: str  # embedded, patches, or a mode of ag3d.evaluation.metrics.inception

    def metric_name(self, kind: str) -> str:
        """The name of a kind of distance: frechet_embedded, fid5k_full, clean_kid50k_full, …"""
        if self.network in ("embedded", "patches"):
            return f"{kind}_{self.network}"
        return self.name.replace("fid", kind)


FID_SAMPLES = {"fid5k_full": 5000, "fid50k_full": 50_000}
FID_PROTOCOLS = (*FID_SAMPLES, *(f"clean_{name}" for name in FID_SAMPLES))


def requested_protocols(settings: Evaluation) -> list[Protocol]:
    """The protocols that `evaluation.metrics` asks for. Without FID, other kinds are measured on embedded features."""
    own = Source(settings.num_images)
    protocols = []
    for name in FID_PROTOCOLS:
        if name in settings.metrics:
            clean = name.startswith("clean_")
            source = Source(FID_SAMPLES[name.removeprefix("clean_")], reference=True)
            protocols.append(Protocol(name, source, "clean" if clean else "legacy_tensorflow"))
    on_any_features = {"kid", "precision_recall", "neighbours"} & set(settings.metrics)
    if "frechet" in settings.metrics or (on_any_features and not protocols):
        protocols.insert(0, Protocol("frechet_embedded", own, "embedded"))
    if "swd" in settings.metrics:
        protocols.append(Protocol("sliced_patches", own, "patches"))
    return protocols


def distance_conditions(
    protocol: Protocol, entry: dict[str, Any], generator: Generator, seed: int, data: str, networks: dict[str, str]
) -> dict[str, Any]:
    """All that must be equal before two distances may stand in one column.

    entry: the distance with its `stream` and `network`; data: hash of the data set; networks: name to hash.
    """
    source, stream = protocol.source, entry["stream"]
    resolution = generator.settings.image_resolution
    sides = {"image": resolution, "normal": source.normal_side(generator), "face": source.face_side(generator)}
    return {
        "name": protocol.name,
        "stream": stream,
        "side": sides[stream],
        **({"resolution": resolution} if stream == "face" else {}),
        "samples": source.samples,
        "seed": seed,
        "truncation": 1.0,
        "noise": source.noise,
        "ray_samples": source.ray_samples,
        "data": data,
        "network": {entry["network"]: networks[entry["network"]]},
    }


def geometry_conditions(measure: str, generator: Generator, settings: Evaluation, data: str) -> dict[str, Any]:
    """The same for a measure of geometry and control."""
    return {
        "name": "geometry",
        "measure": GEOMETRY_MEASURES[measure],
        "people": settings.num_geometry_people,
        "seed": settings.seed,
        "resolution": generator.settings.image_resolution,
        "normal_side": generator.neural_resolution,
        "body": generator.body.sha256,
        "poses": data,
        **({"voxels": settings.voxels} if measure == "mesh_consistency" else {}),
    }
