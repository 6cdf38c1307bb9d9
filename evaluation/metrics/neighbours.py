"""The training images that are nearest to generated ones: are they people of their own, or learnt by heart?"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from ag3d.evaluation.metrics import precision_recall
from ag3d.evaluation.metrics.distances import Entry, described
from ag3d.evaluation.metrics.feature_extraction import Features
from ag3d.evaluation.metrics.image_sets import channels_last, generated_images
from ag3d.evaluation.metrics.protocols import MAIN_NETWORK, Protocol
from ag3d.model.generator import Generator
from ag3d.model.imaging import grid, resize_square
from ag3d.model.training.data import ZipDataset

ROWS, NEIGHBOURS = 8, 4  # generated people, and training images beside each
SIDE = 128  # of a tile (pixels)
GAP = 6  # white pixels between the generated people and the training images


def feature_key(protocol: Protocol) -> str:
    """Which features say what is near."""
    network = {"embedded": MAIN_NETWORK}.get(protocol.network, f"inception_{protocol.network}")
    return f"image/{network}"


def copied_images(protocol: Protocol, fake: Features, real: Features, device: torch.device) -> dict[str, Entry]:
    """How many generated images look learnt by heart."""
    key, name = feature_key(protocol), protocol.metric_name("copied")
    if len(real[key]) < 2:
        return {}
    share = precision_recall.copied_share(fake[key], real[key], device)
    interval = precision_recall.wilson_interval(share, len(fake[key]))
    return {f"{name}_image": {"value": share, **interval, "table": name, **described(key, fake, real)}}


def neighbour_picture(
    protocol: Protocol,
    generator: Generator,
    poses: np.ndarray,
    data: list[Path],
    features: tuple[Features, Features],
    batch_size: int,
    seed: int,
) -> np.ndarray:
    """uint8 RGB: a row for each of the first generated people: the person, then the nearest training images."""
    fake, real = (of_set[feature_key(protocol)] for of_set in features)
    count = min(ROWS, len(fake))
    _, indices = precision_recall.nearest_reals(fake[:count], real, min(NEIGHBOURS, len(real)))
    dataset = ZipDataset(data, generator.settings.image_resolution, cache_bytes=0)
    batches = generated_images(generator, poses, protocol.source, batch_size, seed, range(count))
    people = [image for batch in batches for image in batch.image]
    rows = []
    for person, nearest in zip(people, indices, strict=True):
        tile = cv2.copyMakeBorder(resize_square(person, SIDE), 0, 0, 0, GAP, cv2.BORDER_CONSTANT, value=(255,) * 3)
        rows.append([tile, *(resize_square(channels_last(dataset[int(k)].image), SIDE) for k in nearest)])
    half = (len(rows) + 1) // 2
    left = grid(rows[:half])
    if not rows[half:]:
        return left
    right = grid(rows[half:])
    right = np.pad(right, ((0, left.shape[0] - right.shape[0]), (3 * GAP, 0), (0, 0)), constant_values=255)
    return np.concatenate([left, right], axis=1)
