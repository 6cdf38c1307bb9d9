"""The training images that are nearest to generated ones: are they people of their own, or learnt by heart?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ag3d.evaluation.metrics import precision_recall
from ag3d.evaluation.metrics.distances import Entry
from ag3d.evaluation.metrics.feature_extraction import Features
from ag3d.evaluation.metrics.generated_images import generated
from ag3d.evaluation.metrics.protocols import MAIN, Protocol
from ag3d.model.avatars.pictures import enlarge, grid
from ag3d.model.generator import Generator
from ag3d.model.training.dataset import ZipDataset

SHOWN, NEAREST = 8, 4  # generated people, and training images beside each
SIDE = 128  # of a tile (pixels)
GAP = 6  # white pixels between the generated people and the training images


def key(protocol: Protocol) -> str:
    """Which features say what is near."""
    network = {"embedded": MAIN}.get(protocol.network, f"inception_{protocol.network}")
    return f"image/{network}"


def memorised(protocol: Protocol, fake: Features, real: Features, device: torch.device) -> dict[str, Entry]:
    """How many generated images look learnt by heart."""
    a, b = fake[key(protocol)], real[key(protocol)]
    if len(b) < 2:
        return {}
    share = precision_recall.copied(a, b, device)
    entry: dict[str, Any] = {
        **{
            "value": share,
            **precision_recall.share_error(share, len(a)),
            "table": protocol.metric("copied"),
            "column": "image",
        },
        **{"better": "lower", "main": True, "stream": "image", "network": key(protocol).split("/")[1]},
        **{"dimensions": a.shape[1], "fakes": len(a), "reals": len(b)},
    }
    return {f"{protocol.metric('copied')}_image": entry}


def picture(
    protocol: Protocol,
    generator: Generator,
    poses: np.ndarray,
    data: list[Path],
    features: tuple[Features, Features],
    batch: int,
    seed: int,
) -> np.ndarray:
    """uint8 RGB: a row for each of the first generated people: the person, then the nearest training images."""
    fake, real = (part[key(protocol)] for part in features)
    shown = min(SHOWN, len(fake))
    _, indices = precision_recall.nearest(fake[:shown], real, min(NEAREST, len(real)))
    photographs = ZipDataset(data, generator.settings.image_resolution, cache_bytes=0)
    people = [
        image
        for part in generated(generator, poses, protocol.source, batch, seed, range(shown))
        for image in part.image
    ]
    rows = []
    for person, near in zip(people, indices, strict=True):
        beside = [np.ascontiguousarray(photographs[int(k)].image.transpose(1, 2, 0)) for k in near]
        tiles = [enlarge(tile, SIDE) for tile in beside]
        rows.append(
            [cv2.copyMakeBorder(enlarge(person, SIDE), 0, 0, 0, GAP, cv2.BORDER_CONSTANT, value=(255,) * 3), *tiles]
        )
    half = (len(rows) + 1) // 2
    left, right = grid(rows[:half]), grid(rows[half:]) if rows[half:] else None
    if right is None:
        return left
    right = np.pad(right, ((0, left.shape[0] - right.shape[0]), (3 * GAP, 0), (0, 0)), constant_values=255)
    return np.concatenate([left, right], axis=1)
