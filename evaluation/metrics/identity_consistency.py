"""Does a person stay recognisable when the camera turns: by the embedded network's features, not by a face recogniser."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from ag3d.core import console
from ag3d.evaluation.metrics.embedded_features import EMBEDDINGS, EmbeddedFeatures
from ag3d.evaluation.metrics.neighbour_picture import to_bytes
from ag3d.evaluation.metrics.protocols import MAIN
from ag3d.model.avatars.identities import turned
from ag3d.model.generator import Generator

ANGLE = math.radians(15)  # to either side


@torch.no_grad()
def identity_shares(generator: Generator, ws: torch.Tensor, label: torch.Tensor, models: Path) -> list[float]:
    """Of people ws [n,…], all with the body and pose of label [1,111]; empty for fewer than two.

    Equal bodies, poses and cameras leave clothes, hair and face to tell people apart.
    """
    if len(ws) < 2:
        return []
    embedding = next(embedding for embedding in EMBEDDINGS if embedding.name == MAIN)
    network = EmbeddedFeatures(embedding, models)
    left, right = (turned(label, angle, generator) for angle in (-ANGLE, ANGLE))
    seen: list[list[np.ndarray]] = [[], []]
    for one in console.progress(ws.split(1), "identity", unit="person"):
        planes = generator.planes(one)
        for side, view in zip(seen, (left, right), strict=True):
            side += to_bytes(generator.synthesis(one, view, planes=planes)["image"])
    return shares(*(network(side) for side in seen))


def shares(left: np.ndarray, right: np.ndarray) -> list[float]:
    """For each person's features [n,D] from two sides: the distance between the two, as a share of the mean distance to
    the others from the same two sides. 0: no difference; 1: no more alike than strangers. Nothing where all are equal."""
    distances = np.linalg.norm(left[:, None].astype(np.float64) - right[None], axis=2)  # [n,n]
    own = np.diagonal(distances)
    others = (distances.sum(0) + distances.sum(1) - 2 * own) / (2 * (len(own) - 1))
    return [float(a / b) for a, b in zip(own, others, strict=True) if b > 0]
