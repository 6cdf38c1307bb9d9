from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from ag3d.core.errors import UserError
from ag3d.evaluation.metrics import fid_math
from ag3d.evaluation.metrics.feature_extraction import EMBEDDINGS, EmbeddedFeatures


def people(count: int, seed: int) -> list[np.ndarray]:
    """Coloured upright figures on white."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        image = np.full((64, 64, 3), 255, np.uint8)
        color, x, width = random.integers(0, 200, 3).tolist(), int(random.integers(26, 38)), int(random.integers(5, 10))
        cv2.ellipse(image, (x, 38), (width, 20), 0, 0, 360, color, -1, cv2.LINE_AA)
        cv2.circle(image, (x, 13), 5, random.integers(120, 230, 3).tolist(), -1, cv2.LINE_AA)
        images.append(image)
    return images


@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=lambda e: e.name)
def test_distances_order_damage(blazepose_folder, embedding):
    network = EmbeddedFeatures(embedding, blazepose_folder)
    real = network(people(60, 0))
    same = fid_math.frechet_distance(real, network(people(60, 1)))
    blurred = fid_math.frechet_distance(real, network([cv2.GaussianBlur(i, (0, 0), 3) for i in people(60, 1)]))
    turned = fid_math.frechet_distance(real, network([i[::-1].copy() for i in people(60, 1)]))
    collapsed = fid_math.frechet_distance(real, network(people(3, 1) * 20))
    assert real.shape == (60, embedding.dimensions)
    assert same < 0.5 * min(blurred, turned, collapsed)


def test_features_repeat(blazepose_folder):
    first, second = (EmbeddedFeatures(EMBEDDINGS[0], blazepose_folder)(people(2, 5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_threads_do_not_mix_pictures_up(blazepose_folder):
    network, images = EmbeddedFeatures(EMBEDDINGS[0], blazepose_folder), people(24, 6)
    together = network(images)
    np.testing.assert_array_equal(together, np.concatenate([network([image]) for image in images]))
    assert len(np.unique(together, axis=0)) == 24


def test_missing_and_wrong_files_are_named(blazepose_folder, tmp_path):
    with pytest.raises(UserError, match=r"selfie_segmentation\.tflite does not exist"):
        EmbeddedFeatures(EMBEDDINGS[0], tmp_path)
    shutil.copy(blazepose_folder / EMBEDDINGS[1].file, tmp_path / EMBEDDINGS[0].file)
    with pytest.raises(UserError, match="not the version"):
        EmbeddedFeatures(EMBEDDINGS[0], tmp_path)
