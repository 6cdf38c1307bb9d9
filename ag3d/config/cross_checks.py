"""What the sections of a configuration must agree on, and the sizes that follow from one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ag3d.config.results import BUILT_IN_MOTIONS
from ag3d.config.stages import resolve
from ag3d.core.errors import UserError

if TYPE_CHECKING:
    from ag3d.config import Config


SHARED = ("body", "models")  # folders of results of no run


def check(config: Config) -> None:
    """Check and complete a configuration in place. Raises UserError naming the key."""
    _names(config)
    if config.photos.source != "synthetic" and not config.photos.path:
        wanted = {"folder": "the folder that holds your photographs", "zip": "AG3D's zip, or a folder of such zips"}
        raise UserError(f"configuration: 'photos.path' is missing; give {wanted[config.photos.source]}")
    _resolutions(config)
    _motions(config)


def _names(config: Config) -> None:
    for key in ("run", "dataset_name"):
        if getattr(config, key) in SHARED:
            raise UserError(
                f"configuration: '{key}' is '{getattr(config, key)}', a folder that all runs share; choose another"
            )
    if config.run == config.dataset_name:
        raise UserError(
            f"configuration: 'run' and 'dataset_name' are both {config.run!r}; they name two folders of results and must differ"
        )


def complete(config: Config) -> int:
    """Fill in the sizes that follow from one another. Returns the largest of the network's images. Raises UserError."""
    largest = max(network.image_resolution for _, _, network in resolve(config.training, config.network))
    config.dataset.resolution = config.dataset.resolution or largest
    config.alignment.resolution = config.alignment.resolution or config.dataset.resolution
    return largest


def _resolutions(config: Config) -> None:
    """Photographs are reduced on their way to the network, never enlarged without a word."""
    largest = complete(config)
    if config.dataset.resolution < largest:
        raise UserError(
            f"configuration: 'dataset.resolution' is {config.dataset.resolution}, but the network makes images of {largest} "
            "pixels; raise it (and alignment.resolution), or lower network.image_resolution"
        )
    if config.alignment.resolution < config.dataset.resolution:
        raise UserError(
            f"configuration: 'alignment.resolution' is {config.alignment.resolution}, but the data set has images of "
            f"{config.dataset.resolution} pixels; raise it, or lower dataset.resolution"
        )


def _motions(config: Config) -> None:
    for name in config.export.motions:
        # Fits of a video (FOLDER#VIDEO) may be results of this very run.
        if name not in BUILT_IN_MOTIONS and "#" not in name and not Path(name).exists():
            raise UserError(
                f"configuration: 'export.motions' names {name!r}, which does not exist; there are "
                f"{', '.join(BUILT_IN_MOTIONS)}, or give a motion file (.npz)"
            )
