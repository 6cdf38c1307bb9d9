"""Precision and recall of feature sets (Kynkäänniemi et al. 2019), diversity, and nearness to the training images."""

from __future__ import annotations

import numpy as np
import torch

NEIGHBOURS = 3
COPIED_RATIO = 1 / 3  # of the distance to the second nearest: Yoon et al. 2023
BLOCK_ROWS = 4096


def precision_recall(
    fake: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Share of fakes inside the manifold of the reals, and of reals inside that of the fakes; features [n,D], [m,D].

    A set's manifold is the union of balls about its members, each reaching to its k-th nearest other member.
    """
    if min(len(fake), len(real)) <= k:
        raise ValueError(f"precision and recall need more than {k} vectors of each kind")
    a, b = (_tensor(features, device) for features in (fake, real))
    return _share_inside(a, b, k), _share_inside(b, a, k)


def wilson_interval(share: float, count: int) -> dict[str, float]:
    """95 % interval of a share of `count` pictures (Wilson 1927), and the standard error that it stands for: not 0 at 0 and 1."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return {"deviation": float(half / z), "low": max(0.0, float(middle - half)), "high": min(1.0, float(middle + half))}


def nearest_reals(
    fake: np.ndarray, real: np.ndarray, k: int, device: torch.device | str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest reals of each fake: distances [n,k], ascending, and indices [n,k]."""
    a, b = (_tensor(features, device) for features in (fake, real))
    nearest = [torch.cdist(part, b).topk(k, dim=1, largest=False) for part in a.split(BLOCK_ROWS)]
    return (
        torch.cat([part.values for part in nearest]).cpu().numpy(),
        torch.cat([part.indices for part in nearest]).cpu().numpy(),
    )


def copied_share(fake: np.ndarray, real: np.ndarray, device: torch.device | str = "cpu") -> float:
    """Share of fakes that look learnt by heart: three times nearer to one training image than to any other."""
    distances, _ = nearest_reals(fake, real, 2, device)
    return float((distances[:, 0] < COPIED_RATIO * distances[:, 1]).mean())


def diversity(fake: np.ndarray, real: np.ndarray) -> float:
    """Mean squared distance between two fakes as a share of that between two reals; 0: all alike, 1: as varied."""
    return float(
        np.var(fake.astype(np.float64), axis=0, ddof=1).sum() / np.var(real.astype(np.float64), axis=0, ddof=1).sum()
    )


def _share_inside(points: torch.Tensor, members: torch.Tensor, k: int) -> float:
    radius = torch.cat([torch.cdist(part, members).kthvalue(k + 1, dim=1).values for part in members.split(BLOCK_ROWS)])
    return float(
        torch.cat([(torch.cdist(part, members) <= radius).any(1) for part in points.split(BLOCK_ROWS)]).double().mean()
    )


def _tensor(features: np.ndarray, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(features, np.float64)).to(device)
