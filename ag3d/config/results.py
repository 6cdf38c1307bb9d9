"""Settings of what is made from a trained network."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ag3d.config.settings import device_option, option
from ag3d.core.errors import UserError

log = logging.getLogger(__name__)


@dataclass
class Avatars:
    """Pictures and videos of generated people."""

    number: int = option(8, "how many people", low=1)
    seed: int = option(0, "seed of the first; person i has seed + i", low=0)
    truncation: float = option(0.7, "1: the full variety; towards 0: the average person", low=0, high=1)
    frames: int = option(24, "frames of each video", low=2)
    image_size: int = option(192, "side of each picture (pixels); smaller renderings are enlarged", low=16)
    fps: int = option(12, "frames per second of the videos", low=1)
    batch: int = option(4, "images rendered at once", low=1)


BUILT_IN_MOTIONS = ("walk", "wave")


@dataclass
class Export:
    """Meshes and rigged avatars of the first of these people."""

    number: int = option(3, "how many people get a rigged avatar", low=1)
    resolution: int = option(
        256, "voxels along the body's longest side when the surface is extracted", low=16, high=1024
    )
    iso_level: float = option(
        0.0,
        "signed value of the surface (metres); a little below 0 lies outside: nearer to the images' outlines, fuller hands",
        low=-0.05,
        high=0.05,
    )
    max_faces: int = option(20000, "triangles of a mesh, at most", low=100)
    texture: int = option(1024, "side of the texture (pixels); 0: colours at the vertices instead", low=0, high=8192)
    texture_source: str = option(
        "auto",
        "what textures are painted with: images (the network's, from around), field (what the raw rendering shows), or "
        "auto: images of 256 pixels and more",
        choices=("auto", "images", "field"),
    )
    motions: list[str] = option(
        ["walk", "wave"],
        "animations: walk, wave, motion files of AMASS's kind (.npz), or fits of a video (results/DATA/fitting#VIDEO)",
        path=True,
    )
    fps: int = option(30, "frames per second of the animations", low=1, high=240)
    root_motion: bool = option(False, "whether an animation moves the avatar from its place")


# What `evaluation.metrics` may name; docs/metrics.md explains each.
INCEPTION_METRICS = ("fid5k_full", "fid50k_full", "clean_fid5k_full", "clean_fid50k_full")
METRICS = (
    "frechet", *INCEPTION_METRICS, "kid", "precision_recall", "swd", "neighbours",
    "pck", "mesh_consistency", "view_consistency", "temporal_consistency",
)  # fmt: skip
# Names of version 0.1, in configurations and in files of measurements.
RENAMED_METRICS = {
    "sliced": "swd",
    "pose": "pck",
    "surface": "mesh_consistency",
    "turning": "view_consistency",
    "flicker": "temporal_consistency",
}


@dataclass
class Evaluation:
    """Metrics."""

    metrics: list[str] = option(
        ["frechet", "kid", "precision_recall", "neighbours", "pck"],
        "what is measured: frechet (embedded features), fid5k_full, fid50k_full, clean_fid5k_full, clean_fid50k_full, kid, "
        "precision_recall, swd (patches), neighbours (nearest training images), pck (pose), mesh_consistency, "
        "view_consistency, temporal_consistency",
        choices=(*METRICS, *RENAMED_METRICS),
    )
    inception: str = option(
        "", "for the FIDs: the file inception-2015-12-05.pt (docs/metrics.md tells where it is)", path=True
    )
    num_images: int = option(5000, "generated images that the distances on embedded features are computed on", low=8)
    num_geometry_people: int = option(32, "generated people of whom pose, mesh and consistency are measured", low=1)
    voxels: int = option(
        128, "mesh_consistency: voxels along the body's longest side when the mesh is extracted", low=16, high=1024
    )
    batch: int = option(8, "images rendered at once", low=1)
    seed: int = option(0, "seed of the generated images", low=0)
    bootstrap: int = option(50, "resamples from which the distances' spread and bias are estimated", low=2)
    device: str = device_option()

    def __post_init__(self) -> None:
        for name in filter(RENAMED_METRICS.get, self.metrics):
            log.warning("configuration: 'evaluation.metrics' names %r, which is now %r", name, RENAMED_METRICS[name])
        self.metrics = [RENAMED_METRICS.get(name, name) for name in self.metrics]
        asked = [name for name in self.metrics if name in INCEPTION_METRICS]
        if asked and not self.inception:
            raise UserError(
                f"configuration: 'evaluation.inception' is missing; {asked[0]} needs the file inception-2015-12-05.pt, and "
                "docs/metrics.md tells where to get it (without it, frechet compares runs on embedded features)"
            )


@dataclass
class Ablations:
    """Variants of the network and its training, side by side over seeds: snakemake --cores all ablations."""

    folder: str = option(
        "config/ablations", "folder of YAML files; each says what a variant of that name changes", path=True
    )
    seeds: list[int] = option(
        [0, 1, 2], "seeds of the trainings; every variant is trained and measured with each", low=0
    )

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"configuration: 'ablations.seeds' is {self.seeds}; give one or more, each once")
