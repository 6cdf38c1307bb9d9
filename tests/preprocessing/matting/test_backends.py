"""Mattes from a network of the user's own lie where the person is, whatever the network's size and shape."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper
from support.onnx_files import brightness, colours, save

from ag3d.config.data import Matting, OnnxMatting
from ag3d.core.errors import UserError
from ag3d.preprocessing.matting import stage as matting
from ag3d.preprocessing.matting.backends import OnnxBackend
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.read_image import Photo, PhotoError

HEIGHT, WIDTH = 300, 420


def white_person() -> tuple[np.ndarray, np.ndarray]:
    """A white figure before black, and its mask."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (250, 150), (40, 110), 10, 0, 360, 255, -1)
    return np.repeat(mask[..., None], 3, 2), mask > 0


def overlap(alpha: np.ndarray, mask: np.ndarray) -> float:
    return float(((alpha > 127) & mask).sum() / ((alpha > 127) | mask).sum())


@pytest.mark.parametrize(("shape", "angle"), [([1, 3, 96, 96], 0.0), ([1, 3, 96, 64], 0.3), ([1, 3, 64, 96], -1.2)])
def test_the_matte_lies_on_the_person(tmp_path: Path, shape: list[int], angle: float) -> None:
    rgb, mask = white_person()
    path = brightness(tmp_path / "net.onnx", shape, 1)
    alpha = OnnxBackend(OnnxMatting(str(path)))(rgb, RotatedBox(250, 150, 240, angle))
    assert alpha.shape == mask.shape
    assert overlap(alpha, mask) > 0.93


def test_refinement_finds_the_edges_that_a_coarse_mask_misses(tmp_path: Path) -> None:
    rgb, mask = white_person()
    path, region = brightness(tmp_path / "net.onnx", [1, 3, 24, 24], 1), RotatedBox(250, 150, 240)
    coarse, fine = (OnnxBackend(OnnxMatting(str(path), refine=flag))(rgb, region) for flag in (False, True))
    error = [np.abs(alpha.astype(float) - 255 * mask).sum() / (255 * mask.sum()) for alpha in (coarse, fine)]
    assert error[1] < 0.5 * error[0]
    assert overlap(fine, mask) > 0.98


def test_two_classes_and_logits(tmp_path: Path) -> None:
    rgb, mask = white_person()
    region = RotatedBox(250, 150, 240)
    classes = str(colours(tmp_path / "two.onnx", [1, 3, 96, 96], [[-8.0, 0, 0], [8.0, 0, 0]]))
    settings = OnnxMatting(classes, activation="softmax", range=[-1, 1])
    assert overlap(OnnxBackend(settings)(rgb, region), mask) > 0.93
    settings.channel = 0
    square = np.s_[40:260, 140:360]  # the background, as far as the network sees it
    assert overlap(OnnxBackend(settings)(rgb, region)[square], ~mask[square]) > 0.93
    logits = str(colours(tmp_path / "logits.onnx", [1, 3, 96, 96], [[9.0, 0, 0]]))
    assert overlap(OnnxBackend(OnnxMatting(logits, activation="sigmoid", range=[-1, 1]))(rgb, region), mask) > 0.93
    with pytest.raises(UserError, match=r"reaches 9, so it is no share .* set 'matting.onnx.activation'"):
        OnnxBackend(OnnxMatting(logits))(rgb, region)
    with pytest.raises(UserError, match=r"'matting.onnx.channel' is 4, but the network's output has 2 channels"):
        OnnxBackend(OnnxMatting(classes, channel=4))(rgb, region)


def test_the_stage_uses_the_network_and_needs_no_other(tmp_path: Path) -> None:
    rgb, mask = white_person()
    settings = Matting(method="onnx", onnx=OnnxMatting(str(brightness(tmp_path / "net.onnx", [1, 3, 96, 96], 1))))
    cut, files = matting.choose_backend(settings, tmp_path / "no models", 1)
    assert files == [tmp_path / "net.onnx"]
    joints, region = np.array([[250.0, 70.0], [250.0, 230.0]]), RotatedBox(250, 150, 240)
    alpha = matting.matte(Photo(rgb, None, (WIDTH, HEIGHT)), region, joints, cut)
    assert overlap(alpha, mask) > 0.93
    assert matting.check_matte(matting.matte_quality(alpha, region, joints, settings), settings).ok


def test_a_network_that_fails_on_a_photograph_rejects_it(tmp_path: Path) -> None:
    path = save(tmp_path / "log.onnx", [helper.make_node("Log", ["picture"], ["out"])], [1, 3, 32, 32])
    with pytest.raises(PhotoError, match="not finite"):
        OnnxBackend(OnnxMatting(str(path), range=[-1, 1]))(white_person()[0], RotatedBox(250, 150, 240))
