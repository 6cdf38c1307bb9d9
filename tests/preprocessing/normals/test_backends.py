"""Normals from a network of the user's own: whatever its axes and range, the maps are as ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.onnx_files import brightness, colours
from support.stage_tables import write_verdicts

from ag3d.config.data import Normals, OnnxNormals
from ag3d.core.errors import UserError
from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body.body import Body
from ag3d.model.body.label import canonical_label
from ag3d.preprocessing import schemas
from ag3d.preprocessing.normals import stage as normals
from ag3d.preprocessing.normals.backends import OnnxBackend, read_axes
from ag3d.preprocessing.stage import read_verdicts


@pytest.fixture(scope="module")
def body(body_file: Path) -> Body:
    return Body.load(body_file)


def sphere(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A crop whose colours are the normals of a sphere, and these normals."""
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, side), np.linspace(1.2, -1.2, side))
    inside = x**2 + y**2 < 1
    truth = np.dstack([x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))]) * inside[..., None]
    colour = np.rint(127.5 * (truth + 1)).astype(np.uint8)
    return np.dstack([colour, inside.astype(np.uint8) * 255]), truth


NOBODY = np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), bool)


@pytest.mark.parametrize(
    ("weights", "settings"),
    [
        (np.eye(3), {"range": [-1, 1]}),
        (np.diag([1, -1, -1]), {"range": [-1, 1], "axes": "x -y -z"}),
        (np.eye(3)[[2, 0, 1]], {"range": [-1, 1], "axes": "z x y"}),
        (np.eye(3), {"output_range": [0, 1]}),
        (np.eye(3)[::-1], {"range": [-1, 1], "colours": "bgr"}),
    ],
)
def test_axes_range_and_colour_order(tmp_path: Path, weights: np.ndarray, settings: dict) -> None:
    crop, truth = sphere()
    path = colours(tmp_path / "net.onnx", [1, 3, 64, 64], weights.tolist())
    found = OnnxBackend(OnnxNormals(str(path), **settings))(crop, *NOBODY)
    inside = crop[..., 3] > 0
    assert (found * truth).sum(2)[inside].min() > 0.999


def test_the_body_follows_the_colours(tmp_path: Path) -> None:
    crop, truth = sphere()
    weights = np.hstack([np.zeros((3, 3)), np.eye(3)])  # what comes out is the body alone
    path = colours(tmp_path / "net.onnx", [1, 6, 64, 64], weights.tolist())
    covered = crop[..., 3] > 0
    found = OnnxBackend(OnnxNormals(str(path), body=True))(crop, truth, covered)
    assert (found * truth).sum(2)[covered].min() > 0.999
    with pytest.raises(UserError, match="3 channels are put into it"):
        OnnxBackend(OnnxNormals(str(path)))


def test_crops_of_another_size_and_the_background(tmp_path: Path) -> None:
    crop, truth = sphere(96)
    path = colours(tmp_path / "net.onnx", [1, 3, 48, 48], np.eye(3).tolist())
    estimate = OnnxBackend(OnnxNormals(str(path), range=[-1, 1], background="black"))
    found = estimate(crop, *NOBODY)
    deep = (np.hypot(truth[..., 0], truth[..., 1]) < 0.8) & (crop[..., 3] > 0)
    assert (found * truth).sum(2)[deep].min() > 0.99
    np.testing.assert_allclose(found[0, 0], -np.ones(3) / np.sqrt(3), atol=1e-6)  # black is (-1, -1, -1)


def test_the_stage_uses_the_network(tmp_path: Path, body: Body) -> None:
    crop, truth = sphere()
    path = colours(tmp_path / "net.onnx", [1, 3, 64, 64], np.eye(3).tolist())
    estimate, files = normals.choose_backend(Normals(method="onnx", onnx=OnnxNormals(str(path), range=[-1, 1])), 1)
    assert files == [path]
    with write_shard(tmp_path / "aligned.zip", {}) as shard:
        shard.add_image("a.png", crop)
        shard.add_image("grey.png", np.dstack([np.full((64, 64, 3), 127, np.uint8), crop[..., 3]]))
    row = {"label": canonical_label()[0].tolist()}
    write_verdicts(tmp_path / "aligned.zip", schemas.ALIGNED, {"a": row, "grey": row})
    people, crops = read_verdicts(tmp_path / "aligned.zip"), ShardReader(tmp_path / "aligned.zip")
    with write_shard(tmp_path / "normals.zip", {}) as output:
        rows = list(normals.normals_of_shard(people, crops, body, estimate, output))
    status = {row["person_id"]: row for row in rows}
    image = ShardReader(tmp_path / "normals.zip").image("a.png")
    person = crop[..., 3] > 0
    assert (image[~person] == 255).all()
    np.testing.assert_allclose(image[person] / 127.5 - 1, truth[person], atol=0.02)
    assert status["grey"]["status"] == "ok"  # 127 is not quite zero …
    with pytest.raises(ValueError, match="no direction"):
        OnnxBackend(OnnxNormals(str(path), range=[-1, 1], mean=[-1 / 255]))(
            np.dstack([np.full((64, 64, 3), 127, np.uint8), crop[..., 3]]), *NOBODY
        )  # … here it is


def test_settings_that_do_not_fit_are_told(tmp_path: Path) -> None:
    assert read_axes("X, -Y, -Z")[1].tolist() == [1, -1, -1]
    for wrong in ("x y", "x y y", "a b c", ""):
        with pytest.raises(UserError, match=r"'normals.onnx.axes' is .*; name the three axes"):
            OnnxNormals(axes=wrong)
    one = brightness(tmp_path / "one.onnx", [1, 3, 64, 64], 1)
    with pytest.raises(UserError, match="the output has 1 channels; normals have 3"):
        OnnxBackend(OnnxNormals(str(one)))(sphere()[0], *NOBODY)
    with pytest.raises(UserError, match=r"'normals.onnx.output_range' is \[1.0, 1.0\]"):
        OnnxBackend(OnnxNormals(str(one), output_range=[1.0, 1.0]))
