"""Tri-planes: bilinear look-up of features at canonical points, of their derivatives, and the way back.

The planes are kept as rows of texels. Every look-up is a weighted sum over a stencil of rows, an embedding bag: nothing
of the size [n,12,C] is ever made. What a processor does faster in another way stands beside its `_reference`;
benchmarks/triplane.py measures both.
"""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csc_matrix

# Which of the point's coordinates run along the width and the height of each plane.
AXES = ((0, 1), (0, 2), (2, 1))
_MARGIN = 2  # zero texels around each plane: points outside find zeros, and no derivative


class TexelTable(NamedTuple):
    """The planes of a batch as rows of texels, margins included."""

    rows: torch.Tensor  # [B·(P+4)·(P+4)·3,C]
    side: int  # P


class Stencil(NamedTuple):
    """Where points look: three planes of four texels, and how far they are beyond the first."""

    texels: torch.Tensor  # [n,3,4] int32, rows of the table
    fraction: torch.Tensor  # [n,3,2], along width and height
    side: int

    def weights(self) -> torch.Tensor:
        """The texels' shares in the mean feature [n,3,4]."""
        right, low = self.fraction.unbind(2)
        right = right / 3
        left, high = 1 / 3 - right, 1 - low
        return torch.stack([high * left, high * right, low * left, low * right], dim=2)

    def weight_gradients(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Derivatives of the shares [n,3,4] by the coordinates along width and height, which are in [-1,1]."""
        right, low = (self.fraction * (self.side / 6)).unbind(2)
        left, high = self.side / 6 - right, self.side / 6 - low
        return torch.stack([-high, high, -low, low], dim=2), torch.stack([-left, -right, left, right], dim=2)


@functools.cache
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Kept, so that no step copies it to the device again."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def texel_table(planes: torch.Tensor) -> TexelTable:
    """Planes [B,3,C,P,P] as rows; differentiable."""
    channels, side = planes.shape[2], planes.shape[3]
    padded = F.pad(planes.flatten(1, 2), (_MARGIN,) * 4)
    return TexelTable(padded.permute(0, 2, 3, 1).reshape(-1, channels), side)


def stencil(points: torch.Tensor, image: torch.Tensor, side: int) -> Stencil:
    """Of points [n,3], in [-1,1] over planes of side `side`, in the planes of the images [n]."""
    coordinates = points.unbind(1)
    position = torch.stack([coordinates[axis] for pair in AXES for axis in pair], dim=1).unflatten(1, (3, 2))
    position = position.add(1).mul_(side / 2).sub_(0.5).clamp_(-_MARGIN, side)
    base = position.floor()
    padded_side = side + 2 * _MARGIN
    x, y = (base.int() + _MARGIN).unbind(2)
    first = ((image.int() * padded_side)[:, None] + y) * (3 * padded_side) + x * 3
    corners = (0, 3, 3 * padded_side, 3 * padded_side + 3)
    offset = _constant(tuple(plane + corner for plane in range(3) for corner in corners), torch.int32, points.device)
    return Stencil(first[:, :, None] + offset.view(3, 4), position.sub_(base), side)


def gather(rows: torch.Tensor, at: Stencil, weight: torch.Tensor) -> torch.Tensor:
    """Sums of the texels with weights [n,3,4]: [n,C]; with those of `Stencil.weights`, the mean features of the three planes.
    Outside the planes counts as zero."""
    return F.embedding_bag(at.texels.flatten(1), rows, per_sample_weights=weight.flatten(1), mode="sum")


def feature_gradients(rows: torch.Tensor, at: Stencil) -> torch.Tensor:
    """The features' derivatives by the point [n,3,C]."""
    by_coordinate = at.weight_gradients()
    planes_of_axis = [
        [(plane, pair.index(axis)) for plane, pair in enumerate(AXES) if axis in pair] for axis in range(3)
    ]
    chosen = [pair for pairs in planes_of_axis for pair in pairs]
    index = torch.stack([at.texels[:, plane] for plane, _ in chosen], dim=1)  # [n,6,4]
    weight = torch.stack([by_coordinate[way][:, plane] for plane, way in chosen], dim=1)
    gradients = F.embedding_bag(index.view(-1, 8), rows, per_sample_weights=weight.view(-1, 8), mode="sum")
    return gradients.unflatten(0, (-1, 3))


def point_gradient(rows: torch.Tensor, at: Stencil, by_feature: torch.Tensor) -> torch.Tensor:
    """The gradient by the points [n,3] of what has the gradient `by_feature` [n,C] by their mean features."""
    return (point_gradient_reference if rows.is_cuda else point_gradient_cpu)(rows, at, by_feature)


def point_gradient_reference(rows: torch.Tensor, at: Stencil, by_feature: torch.Tensor) -> torch.Tensor:
    return torch.bmm(feature_gradients(rows, at), by_feature[:, :, None])[:, :, 0]


def point_gradient_cpu(rows: torch.Tensor, at: Stencil, by_feature: torch.Tensor) -> torch.Tensor:
    """Multiplies each texel with `by_feature` once, although it counts in both of its plane's directions.

    These products are the entries of by_feature · rowsᵀ at [point, texel]: a sampled matrix product, whose pattern has
    twelve entries a row.
    """
    shape = (len(by_feature), len(rows))
    begins = torch.arange(0, 12 * len(by_feature) + 1, 12, dtype=torch.int32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR")  # that it is in beta
        pattern = torch.sparse_csr_tensor(
            begins, at.texels.flatten(), rows.new_zeros(at.texels.numel()), shape, check_invariants=False
        )
        products = torch.sparse.sampled_addmm(pattern, by_feature, rows.t(), beta=0.0).values()
    first, second, third, fourth = products.view(-1, 3, 4).unbind(2)
    right, low = (at.fraction * (at.side / 6)).unbind(2)
    left, high = at.side / 6 - right, at.side / 6 - low
    by_width = high * (second - first) + low * (fourth - third)
    by_height = left * (third - first) + right * (fourth - second)
    gradient = by_feature.new_zeros(len(by_feature), 3)
    for plane, pair in enumerate(AXES):
        gradient[:, pair[0]] += by_width[:, plane]
        gradient[:, pair[1]] += by_height[:, plane]
    return gradient


def directional_weights(at: Stencil, direction: torch.Tensor) -> torch.Tensor:
    """Derivatives of the texels' shares [n,3,4] along directions [n,3]."""
    by_width, by_height = at.weight_gradients()
    across, down = (torch.stack([direction[:, pair[way]] for pair in AXES], dim=1) for way in (0, 1))
    return by_width.mul_(across[:, :, None]).add_(by_height.mul_(down[:, :, None]))


def scatter_back(count: int, at: Stencil, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The transpose of `gather`: Σ over points and parts of weight [n,3,4] × value [n,C], by row: [count,C]."""
    return (scatter_back_reference if at.texels.is_cuda else scatter_back_cpu)(count, at, parts)


def scatter_back_reference(count: int, at: Stencil, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """On CUDA the entries are added atomically, in any order."""
    value = parts[0][1]
    out = torch.zeros(count, value.shape[1], dtype=value.dtype, device=value.device)
    entries = sum(weight.flatten(1)[:, :, None] * value[:, None] for weight, value in parts)
    assert isinstance(entries, torch.Tensor)
    return out.index_add_(0, at.texels.flatten(), entries.flatten(0, 1))


def scatter_back_cpu(count: int, at: Stencil, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """As a product with a sparse matrix that has a column for each point: it adds row by row, and nothing need be sorted."""
    index, points = at.texels.flatten().numpy(), len(at.texels)
    begins = np.arange(0, 12 * points + 1, 12, dtype=np.int32)
    total = np.zeros((count, parts[0][1].shape[1]), dtype=parts[0][1].numpy().dtype)
    for weight, value in parts:
        shares = csc_matrix((weight.flatten().to(value.dtype).numpy(), index, begins), (count, points))
        total += shares @ value.numpy()
    return torch.from_numpy(total)
