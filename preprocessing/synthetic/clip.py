"""Cutting meshes along a line where a function of position changes its sign: clean hems on coarse triangles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Cut(NamedTuple):
    """Triangles over the old vertices followed by new ones; new vertex k is a point of the edge `ends[k]`."""

    faces: np.ndarray  # [F',3]
    ends: np.ndarray  # [K,2] old vertices
    share: np.ndarray  # [K] how far from the first to the second

    def extend(self, values: np.ndarray) -> np.ndarray:
        """Per-vertex values [V,C] with those of the new vertices appended."""
        a, b = values[self.ends[:, 0]], values[self.ends[:, 1]]
        new = a + (b - a) * self.share[:, None].astype(values.dtype)
        return np.concatenate([values, new])


def clip(faces: np.ndarray, field: np.ndarray) -> Cut:
    """Keep the part of the triangles [F,3] where the linearly interpolated `field` [V] is positive."""
    inside = field > 0
    count = inside[faces].sum(1)
    uncut, crossed = faces[count == 3], faces[(count == 1) | (count == 2)]
    if not len(crossed):
        return Cut(uncut, np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    # Turn each crossed triangle so that its lone corner (the only one in, or the only one out) comes first.
    state = inside[crossed]
    lone_in = state.sum(1) == 1
    lone = np.where(lone_in, state.argmax(1), (~state).argmax(1))
    rows = np.arange(len(crossed))
    p, q, r = (crossed[rows, (lone + k) % 3] for k in range(3))
    pairs = np.concatenate([np.stack([p, q], 1), np.stack([p, r], 1)])
    ordered = np.sort(pairs, 1)
    ends, back = np.unique(ordered, axis=0, return_inverse=True)
    back = back.reshape(-1) + len(field)
    pq, pr = back[: len(p)], back[len(p) :]
    a, b = field[ends[:, 0]], field[ends[:, 1]]
    share = (a / (a - b)).astype(np.float32)
    one = np.stack([p, pq, pr], 1)[lone_in]
    out = ~lone_in
    two = np.concatenate([np.stack([pq, q, r], 1)[out], np.stack([pq, r, pr], 1)[out]])
    return Cut(np.concatenate([uncut, one, two]), ends, share)
