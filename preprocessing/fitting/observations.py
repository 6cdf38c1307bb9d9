"""What the optimiser knows of several people: their landmarks, as the network relates them to the body, and their mattes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ag3d.core.shards import ShardReader
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.preprocessing.fitting import landmark_model
from ag3d.preprocessing.fitting.landmark_model import bone_depths, bone_weights, calibration

Result = TypeVar("Result")
GRID = 160  # side of the distance maps
CONTOUR = 192  # points of the outline
MARGIN = 0.15  # of the matte's box, around it


@dataclass
class Silhouettes(TensorDataclass):
    """Mattes of B people, ready for the optimiser. Pixels are those of the photograph."""

    distance: Tensor  # [B,1,GRID,GRID] to the matte (pixels), 0 inside
    corner: Tensor  # [B,2] pixel of the map's upper left corner
    side: Tensor  # [B] its side (pixels)
    contour: Tensor  # [B,CONTOUR,2] points of the outline
    contour_weight: Tensor  # [B,CONTOUR] 0 where the outline is the edge of the photograph
    photo_size: Tensor  # [B,2] width and height of the photograph


@dataclass
class Observations(TensorDataclass):
    """What is known of B people. Pixels are those of the photograph."""

    landmarks_2d: Tensor  # [B,33,2] pixels
    landmarks_3d: Tensor  # [B,33,3] metres, x right, y down, z away
    weights: Tensor  # [B,33]
    landmark_std: Tensor  # [B,33] standard deviations of landmarks_2d (metres)
    bone_depths: Tensor  # [B,bones] how much farther away each bone's lower end is than its upper end (metres)
    bone_depth_std: Tensor  # [B,bones] standard deviations of it
    silhouettes: Silhouettes | None = None

    @staticmethod
    def from_landmarks(landmarks_2d: Tensor, landmarks_3d: Tensor, weights: Tensor) -> Observations:
        """Of landmarks as exact as BlazePose's usually are."""
        usual = calibration(landmarks_2d.device)
        std = usual.landmark_std * (3 - 2 * weights.clamp(0, 1))  # hidden ones are three times as wrong
        depth_std = usual.depth_std / bone_weights(weights).clamp_min(0.01).sqrt()
        return Observations(
            landmarks_2d, landmarks_3d, weights, std, bone_depths(landmarks_3d) - usual.depth_bias, depth_std
        )


def observe(batch: pd.DataFrame, mattes: ShardReader) -> Observations:
    """Landmarks and mattes of the people of `batch`, rows of the table of people. One matte a thread is in memory at a
    time."""
    sizes = photo_sizes(batch)
    landmarks_2d, weights = weighted_landmarks(batch, sizes)
    landmarks_3d = landmark_column(batch["landmarks_3d"], 3).nan_to_num()
    visibility = landmark_column(batch["visibility"], 1).nan_to_num()[..., 0]
    _, scale = landmark_model.network_inputs(landmarks_2d, landmarks_3d, visibility)
    estimate = landmark_model.estimate(landmark_model.load(), landmarks_2d, landmarks_3d, visibility)
    silhouettes = map_threaded(
        lambda person, size: silhouette(read_mask(mattes, person), size), zip(batch["person_id"], sizes, strict=True)
    )
    return Observations(
        landmarks_2d + estimate.offsets * scale[:, None, None],
        landmarks_3d + torch.nn.functional.pad(estimate.offsets, (0, 1)),
        torch.where(weights > 0, 1.0, 0.0),
        estimate.landmark_std,
        estimate.bone_depths,
        estimate.bone_depth_std,
        Silhouettes.cat(silhouettes),
    )


def weighted_landmarks(batch: pd.DataFrame, sizes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Landmarks [B,33,2] (pixels) and how much to believe each, [B,33]: hidden ones less, those outside the photograph
    hardly, unknown ones not at all."""
    landmarks_2d, landmarks_3d = landmark_column(batch["landmarks_2d"], 2), landmark_column(batch["landmarks_3d"], 3)
    visibility = landmark_column(batch["visibility"], 1)[..., 0]
    known = landmarks_2d.isfinite().all(2) & landmarks_3d.isfinite().all(2) & visibility.isfinite()
    size = torch.as_tensor(sizes, dtype=torch.float32)[:, None]
    inside = ((landmarks_2d >= 0) & (landmarks_2d <= size)).all(2)
    return landmarks_2d.nan_to_num(), torch.where(known, visibility.clamp(0, 1) * (0.05 + 0.95 * inside), 0)


def landmark_column(column: pd.Series, size: int) -> Tensor:
    """A column of lists of 33 × `size` numbers as [B,33,size]."""
    return torch.from_numpy(np.stack([np.asarray(values, np.float32).reshape(33, size) for values in column]))


def read_mask(mattes: ShardReader, person: str) -> np.ndarray:
    """Where the person is: bool, the whole photograph at any scale."""
    return mattes.image(f"{person}.png") > 127


def photo_sizes(batch: pd.DataFrame) -> np.ndarray:
    """Width and height [B,2] of the photographs that the landmarks' pixels belong to; mattes may be smaller."""
    return batch[["width", "height"]].to_numpy(np.float64, copy=True)


def silhouette(mask: np.ndarray, size: np.ndarray) -> Silhouettes:
    """Of one person, from a mask (bool [h,w], the whole photograph at any scale) and the photograph's `size` (width,
    height)."""
    if not mask.any():
        mask = np.ones_like(mask)  # says nothing; the verdict is left to the comparison with the matte
    ratio = np.asarray(size, np.float64) / (mask.shape[1], mask.shape[0])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.array([columns[0], rows[0]]) * ratio
    high = (np.array([columns[-1], rows[-1]]) + 1) * ratio
    side = (high - low).max() * (1 + 2 * MARGIN)
    corner = (low + high) / 2 - side / 2
    step = side / GRID
    # pixel centres of the map, in the matte's own pixel indices
    shift = (corner + step / 2) / ratio - 0.5
    to_matte = np.array([[step / ratio[0], 0, shift[0]], [0, step / ratio[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(mask.astype(np.float32), to_matte, (GRID, GRID), flags=flags) >= 0.5
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5) * step
    contour = _contour(inside) * step + corner
    edge = 1.5 * step
    inner = (contour > edge).all(1) & (contour < np.asarray(size) - edge).all(1)
    values = (distance[None], corner, side, contour, inner, size)
    return Silhouettes(*(torch.from_numpy(np.asarray(value, np.float32))[None] for value in values))


def _contour(mask: np.ndarray) -> np.ndarray:
    """CONTOUR points spread evenly along the outlines of `mask`, in its pixels [CONTOUR,2]."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([line[:, 0] for line in lines] or [np.zeros((1, 2))]).astype(np.float64) + 0.5
    return points[np.linspace(0, len(points) - 1, CONTOUR).round().astype(int)]


def map_threaded(function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]]) -> list[Result]:
    """The function's results, in order, by as many threads as PyTorch may use: reading pictures leaves Python's lock."""
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return list(threads.map(lambda given: function(*given), arguments))
