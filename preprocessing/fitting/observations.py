"""What the optimiser needs of several people, from rows of the table of people and from their mattes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from ag3d.core.shards import ShardReader
from ag3d.preprocessing.fitting import landmark_model
from ag3d.preprocessing.fitting.objective import Observed
from ag3d.preprocessing.fitting.silhouette import Silhouettes, outline

Result = TypeVar("Result")


def observed(batch: pd.DataFrame, mattes: ShardReader) -> Observed:
    """Landmarks, as the network relates them to the body, and mattes of the people of `batch`. One matte a thread is in
    memory at a time."""
    sizes = photo_sizes(batch)
    landmarks, weights = landmarks_of(batch, sizes)
    solid, visibility = (
        stack(batch[name], size).nan_to_num() for name, size in (("landmarks_3d", 3), ("visibility", 1))
    )
    _, scale = landmark_model.inputs(landmarks, solid, visibility[..., 0])
    said = landmark_model.read(landmark_model.load(), landmarks, solid, visibility[..., 0])
    outlines = side_by_side(
        lambda person, size: outline(mask(mattes, person), size), zip(batch["person_id"], sizes, strict=True)
    )
    return Observed(
        landmarks + said.moved * scale[:, None, None],
        solid + torch.nn.functional.pad(said.moved, (0, 1)),
        torch.where(weights > 0, 1.0, 0.0),
        said.sigmas,
        said.depths,
        said.spreads,
        Silhouettes.stack(outlines),
    )


def landmarks_of(batch: pd.DataFrame, sizes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Landmarks [B,33,2] (pixels) and how much to believe each, [B,33]: hidden ones less, those outside the photograph
    hardly, unknown ones not at all."""
    landmarks, solid = stack(batch["landmarks_2d"], 2), stack(batch["landmarks_3d"], 3)
    visibility = stack(batch["visibility"], 1)[..., 0]
    known = landmarks.isfinite().all(2) & solid.isfinite().all(2) & visibility.isfinite()
    size = torch.as_tensor(sizes, dtype=torch.float32)[:, None]
    inside = ((landmarks >= 0) & (landmarks <= size)).all(2)
    return landmarks.nan_to_num(), torch.where(known, visibility.clamp(0, 1) * (0.05 + 0.95 * inside), 0)


def stack(column: pd.Series, size: int) -> torch.Tensor:
    """A column of lists of 33 × `size` numbers as [B,33,size]."""
    return torch.from_numpy(np.stack([np.asarray(values, np.float32).reshape(33, size) for values in column]))


def mask(mattes: ShardReader, person: str) -> np.ndarray:
    """Where the person is: bool, the whole photograph at any scale."""
    return mattes.image(f"{person}.png") > 127


def photo_sizes(batch: pd.DataFrame) -> np.ndarray:
    """Width and height [B,2] of the photographs that the landmarks' pixels belong to; mattes may be smaller."""
    return batch[["width", "height"]].to_numpy(np.float64, copy=True)


def side_by_side(function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]]) -> list[Result]:
    """The function's results, in order, by as many threads as PyTorch may use: reading pictures leaves Python's lock."""
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return list(threads.map(lambda given: function(*given), arguments))
