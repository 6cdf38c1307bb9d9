"""Stages of a training: what changes at a number of kimg."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ag3d.config.network import Network
from ag3d.config.settings import option
from ag3d.core.errors import UserError

if TYPE_CHECKING:
    from ag3d.config.training import Training


@dataclass
class Stage:
    """Settings that hold from a number of kimg on. What a stage does not name stays as it was before."""

    from_kimg: float = option(0.0, "where the stage begins (thousands of images)", low=0)
    image_resolution: int | None = option(None, "as in network", low=16)
    neural_resolution: int | None = option(None, "as in network", low=0)
    use_normal_discriminator: bool | None = option(None, "as in network")
    use_face_discriminator: bool | None = option(None, "as in network")
    learning_rate_g: float | None = option(None, "as in training", low=0)
    learning_rate_d: float | None = option(None, "as in training", low=0)
    r1_gamma: float | None = option(None, "as in training", low=0)
    eikonal_weight: float | None = option(None, "as in training", low=0)
    density_reg: float | None = option(None, "as in training", low=0)
    minimal_surface: float | None = option(None, "as in training", low=0)
    body_prior: float | None = option(None, "as in training", low=0)
    diversity: float | None = option(None, "as in training", low=0)
    normal_weight: float | None = option(None, "as in training", low=0)
    face_weight: float | None = option(None, "as in training", low=0)
    face_normal_weight: float | None = option(None, "as in training", low=-1)

    def named(self) -> dict[str, float | int | bool]:
        """The settings that the stage names."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name != "from_kimg" and value is not None}


def check_stages(stages: list[Stage]) -> None:
    """Raises UserError for stages that do not follow one another."""
    starts = [0.0, *(stage.from_kimg for stage in stages)]
    for number, (before, start) in enumerate(itertools.pairwise(starts)):
        if start <= before:
            raise UserError(
                f"configuration: 'training.stages[{number}].from_kimg' is {start:g}; it must be more than {before:g}, where "
                "the stage before begins (what holds at the beginning is said by the network and training sections)"
            )
        if not stages[number].named():
            raise UserError(
                f"configuration: 'training.stages[{number}]' changes nothing; name a setting, or take it out"
            )


def resolve(training: Training, network: Network) -> list[tuple[float, Training, Network]]:
    """Where each stage begins (kimg), and the settings that hold there. Raises UserError for impossible networks."""
    resolved = [(0.0, training, network)]
    for number, stage in enumerate(training.stages):
        _, training, network = resolved[-1]
        parts: list[dict[str, Any]] = [{}, {}]
        for name, value in stage.named().items():
            parts[hasattr(network, name)][name] = value
        try:
            network = dataclasses.replace(network, **parts[1])
        except UserError as error:
            raise UserError(f"{error} (in training.stages[{number}])") from error
        resolved.append((stage.from_kimg, dataclasses.replace(training, **parts[0]), network))
    return resolved
