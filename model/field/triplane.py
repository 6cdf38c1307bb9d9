"""Tri-planes: bilinear look-up of features at canonical points, of their derivatives, and the way back.

The planes are kept as rows of texels. Every look-up is a weighted sum over a stencil of rows, an embedding bag: nothing
of the size [n,12,C] is ever made.
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


class Table(NamedTuple):
    """The planes of a batch as rows of texels, margins included."""

    rows: torch.Tensor  # [B·(P+4)·(P+4)·3,C]
    side: int  # P


class Stencil(NamedTuple):
    """Where points look: three planes of four texels, and how far they are beyond the first."""

    texels: torch.Tensor  # [n,3,4] int32, rows of the table
    fraction: torch.Tensor  # [n,3,2], along width and height
    side: int

    def mix(self) -> torch.Tensor:
        """The texels' shares in the mean feature [n,3,4]."""
        right, low = self.fraction.unbind(2)
        right = right / 3
        left, high = 1 / 3 - right, 1 - low
        return torch.stack([high * left, high * right, low * left, low * right], dim=2)

    def slopes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Derivatives of the shares [n,3,4] by the coordinates along width and height, which are in [-1,1]."""
        right, low = (self.fraction * (self.side / 6)).unbind(2)
        left, high = self.side / 6 - right, self.side / 6 - low
        return torch.stack([-high, high, -low, low], dim=2), torch.stack([-left, -right, left, right], dim=2)


@functools.cache
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Kept, so that no step copies it to the device again."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def table(planes: torch.Tensor) -> Table:
    """Planes [B,3,C,P,P] as rows; differentiable."""
    channels, side = planes.shape[2], planes.shape[3]
    padded = F.pad(planes.flatten(1, 2), (_MARGIN,) * 4)
    return Table(padded.permute(0, 2, 3, 1).reshape(-1, channels), side)


def stencil(points: torch.Tensor, image: torch.Tensor, side: int) -> Stencil:
    """Of points [n,3], in [-1,1] over planes of side `side`, in the planes of the images [n]."""
    coordinates = points.unbind(1)
    place = torch.stack([coordinates[axis] for pair in AXES for axis in pair], dim=1).unflatten(1, (3, 2))
    place = place.add(1).mul_(side / 2).sub_(0.5).clamp_(-_MARGIN, side)
    base = place.floor()
    whole = side + 2 * _MARGIN
    x, y = (base.int() + _MARGIN).unbind(2)
    first = ((image.int() * whole)[:, None] + y) * (3 * whole) + x * 3
    device = points.device
    corners = (0, 3, 3 * whole, 3 * whole + 3)
    offset = _constant(tuple(plane + corner for plane in range(3) for corner in corners), torch.int32, device)
    return Stencil(first[:, :, None] + offset.view(3, 4), place.sub_(base), side)


def weighted(rows: torch.Tensor, at: Stencil, weight: torch.Tensor) -> torch.Tensor:
    """Sums of the texels with weights [n,3,4]: [n,C]; with those of `mix`, the mean features of the three planes. Outside
    the planes counts as zero."""
    return F.embedding_bag(at.texels.flatten(1), rows, per_sample_weights=weight.flatten(1), mode="sum")


def derivatives(rows: torch.Tensor, at: Stencil) -> torch.Tensor:
    """The features' derivatives by the point [n,3,C]."""
    along = at.slopes()
    seen = [[(plane, pair.index(axis)) for plane, pair in enumerate(AXES) if axis in pair] for axis in range(3)]
    index = torch.stack([at.texels[:, plane] for pairs in seen for plane, _ in pairs], dim=1)  # [n,6,4]
    weight = torch.stack([along[way][:, plane] for pairs in seen for plane, way in pairs], dim=1)
    found = F.embedding_bag(index.view(-1, 8), rows, per_sample_weights=weight.view(-1, 8), mode="sum")
    return found.unflatten(0, (-1, 3))


def slope(rows: torch.Tensor, at: Stencil, turn: torch.Tensor) -> torch.Tensor:
    """The features' derivatives by the point, times `turn` [n,C]: [n,3].

    On the CPU each texel is multiplied once, for it counts in both of its plane's directions.
    """
    if rows.is_cuda:
        return torch.bmm(derivatives(rows, at), turn[:, :, None])[:, :, 0]
    shape = (len(turn), len(rows))
    begins = torch.arange(0, 12 * len(turn) + 1, 12, dtype=torch.int32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR")  # that it is in beta
        looked = torch.sparse_csr_tensor(
            begins, at.texels.flatten(), rows.new_zeros(at.texels.numel()), shape, check_invariants=False
        )
        products = torch.sparse.sampled_addmm(looked, turn, rows.t(), beta=0.0).values()
    first, second, third, fourth = products.view(-1, 3, 4).unbind(2)
    right, low = (at.fraction * (at.side / 6)).unbind(2)
    left, high = at.side / 6 - right, at.side / 6 - low
    wide = high * (second - first) + low * (fourth - third)
    down = left * (third - first) + right * (fourth - second)
    found = turn.new_zeros(len(turn), 3)
    for plane, pair in enumerate(AXES):
        found[:, pair[0]] += wide[:, plane]
        found[:, pair[1]] += down[:, plane]
    return found


def towards(at: Stencil, direction: torch.Tensor) -> torch.Tensor:
    """Derivatives of the texels' shares [n,3,4] along directions [n,3]."""
    wide, high = at.slopes()
    across, down = (torch.stack([direction[:, pair[way]] for pair in AXES], dim=1) for way in (0, 1))
    return wide.mul_(across[:, :, None]).add_(high.mul_(down[:, :, None]))


def scatter(count: int, at: Stencil, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The transpose of a look-up: Σ over points and parts of weight [n,3,4] × value [n,C], by row: [count,C].

    On CUDA the entries are added atomically, on the CPU one after the other.
    """
    index, channels = at.texels.flatten(), parts[0][1].shape[1]
    if at.texels.is_cuda:
        out = torch.zeros(count, channels, dtype=parts[0][1].dtype, device=index.device)
        spread = sum(weight.flatten(1)[:, :, None] * value[:, None] for weight, value in parts)
        assert isinstance(spread, torch.Tensor)
        return out.index_add_(0, index, spread.flatten(0, 1))
    points = len(at.texels)
    begins = np.arange(0, 12 * points + 1, 12, dtype=np.int32)
    whole = np.zeros((count, channels), dtype=parts[0][1].numpy().dtype)
    for weight, value in parts:
        # A column for each point: a product with it adds row by row, and nothing need be sorted.
        shares = csc_matrix((weight.flatten().to(value.dtype).numpy(), index.numpy(), begins), (count, points))
        whole += shares @ value.numpy()
    return torch.from_numpy(whole)
