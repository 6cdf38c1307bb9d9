"""Normal maps: unit vectors with the right signs, over the whole matte, white outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.stage_tables import write_verdicts

from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body.body import Body
from ag3d.model.body.label import canonical_label
from ag3d.preprocessing import schemas
from ag3d.preprocessing.normals import inpainting
from ag3d.preprocessing.normals import stage as normals
from ag3d.preprocessing.stage import read_verdicts


@pytest.fixture(scope="module")
def body(body_file: Path) -> Body:
    return Body.load(body_file)


def decode(image: np.ndarray) -> np.ndarray:
    return image.astype(float) / 127.5 - 1


def front(body: Body, alpha: np.ndarray) -> np.ndarray:
    crop = np.dstack([np.full((*alpha.shape, 3), 90, np.uint8), alpha])
    vectors = normals.body_backend(crop, *normals.body_normals(body, canonical_label()[0].tolist(), len(alpha)))
    return normals.encode(vectors, normals.on_person(crop))


def test_background_is_exactly_white_and_the_person_has_unit_normals_everywhere(body: Body) -> None:
    alpha = np.zeros((96, 96), np.uint8)
    alpha[5:90, 20:76] = 255  # far wider than the body, as a coat is
    alpha[5:90, 16:20] = 70  # below 0.3
    image = front(body, alpha)
    person = alpha > 76
    assert (image[~person] == 255).all()
    assert not (image[person] == 255).all(-1).any()
    assert np.abs(np.linalg.norm(decode(image[person]), axis=-1) - 1).max() < 0.02


def test_signs_x_right_y_up_z_to_the_viewer(body: Body) -> None:
    from ag3d.model.rendering.rasterizer import silhouette

    vertices = body.from_label(canonical_label()).vertices[0]
    mask = silhouette(vertices, body.faces, 128).numpy()
    vectors = decode(front(body, mask.astype(np.uint8) * 255))
    assert vectors[mask][:, 2].min() > 0  # what is seen faces the viewer
    arm = np.flatnonzero(mask[:, 24])  # the arm on the image's left is a horizontal tube
    assert vectors[arm[0], 24, 1] > 0.5  # its upper rim looks up
    assert vectors[arm[-1], 24, 1] < -0.5
    hips = int(0.55 * 128)
    row = np.flatnonzero(mask[hips])
    assert vectors[hips, row[0], 0] < -0.5  # the left rim looks left
    assert vectors[hips, row[-1], 0] > 0.5


def test_cloth_between_body_and_outline_turns_smoothly_from_one_to_the_other() -> None:
    side = np.arange(64) - 31.5
    covered = np.abs(side)[None].repeat(64, 0) < 12  # an upright bar …
    person = np.abs(side)[None].repeat(64, 0) < 26  # … in a wide coat
    x = np.clip(side / 12, -0.99, 0.99)[None].repeat(64, 0)
    known = np.where(covered[..., None], np.dstack([x, 0 * x, np.sqrt(1 - x**2)]), 0)
    whole = inpainting.inpaint_normals(known, covered, person)
    row = whole[32]
    assert np.abs(np.linalg.norm(whole[person], axis=-1) - 1).max() < 1e-5
    assert (whole[~person] == 0).all()
    inside = row[person[32]]
    assert inside[0, 0] < -0.7  # the outline looks outwards
    assert inside[-1, 0] > 0.7
    assert (np.diff(inside[:, 0]) > -0.12).all()  # and in between x grows, without the bar's own edges
    np.testing.assert_allclose(row[30], known[32, 30], atol=0.01)  # the bar's middle is kept


def test_spreading_a_constant_gives_the_constant() -> None:
    weights = np.zeros((37, 50), np.float32)
    weights[10:12, 5:9] = 1
    values = np.full((37, 50, 3), 0.7, np.float32) * weights[..., None]
    np.testing.assert_allclose(inpainting.push_pull(values, weights), 0.7, atol=1e-5)


def test_a_body_outside_its_matte_is_rejected_with_a_reason(body: Body, tmp_path: Path) -> None:
    label = canonical_label()[0].tolist()
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :3] = 255
    with write_shard(tmp_path / "aligned.zip", {}) as shard:
        shard.add_image("good.png", np.full((64, 64, 4), 255, np.uint8))
        shard.add_image("bad.png", np.dstack([np.zeros((64, 64, 3), np.uint8), alpha]))
    write_verdicts(tmp_path / "aligned.zip", schemas.ALIGNED, {"good": {"label": label}, "bad": {"label": label}})
    people, crops = read_verdicts(tmp_path / "aligned.zip"), ShardReader(tmp_path / "aligned.zip")
    with torch.no_grad(), write_shard(tmp_path / "normals.zip", {}) as output:
        rows = list(normals.normals_of_shard(people, crops, body, normals.body_backend, output))
    status = {row["person_id"]: row for row in rows}
    shard = ShardReader(tmp_path / "normals.zip")
    assert status["good"]["status"] == "ok"
    assert status["bad"]["status"] == "rejected"
    assert status["bad"]["reason"]
    assert shard.image("good.png").shape == (64, 64, 3)
    assert "bad.png" not in shard
