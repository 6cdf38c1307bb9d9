"""Crops show what the label says, at the right pixels, and outside the photograph they are white."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from support.stage_tables import by_person

from ag3d.config.data import Alignment
from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.preprocessing import alignment, schemas
from ag3d.preprocessing.fitting.crop_frame import crop_frame
from ag3d.preprocessing.fitting.optimise import FitResult
from ag3d.preprocessing.photos.read_image import PhotoError
from ag3d.preprocessing.stage import to_table

RESOLUTION = 128


@pytest.fixture(scope="module")
def body(body_file: Path) -> Body:
    return Body.load(body_file)


def fit_row(body: Body, scale: float, origin: tuple[float, float]) -> pd.Series:
    """A row of the table of fits: an upright body seen at `scale` pixels a metre."""
    pose = torch.zeros(1, 69)
    pose[0, [15 * 3 + 2, 16 * 3 + 2]] = torch.tensor([-0.9, 0.4])
    turned = torch.tensor([[np.pi, 0.0, 0.0]])
    none = torch.full((1, 24), torch.nan)
    found = FitResult(torch.zeros(1, 10), pose, turned, torch.tensor([scale]), torch.tensor([origin]), none)
    place = crop_frame(body, found)
    return pd.Series(
        {
            **{"person_id": "a-1", "photo_id": "a-1", "path": "a-1.jpg", "status": "ok", "scale": 1.0, "half": scale},
            **{"centre_x": float(place.centre[0, 0]), "centre_y": float(place.centre[0, 1])},
            **{"transl": place.transl[0].tolist(), "global_orient": found.global_orient[0].tolist()},
            **{"body_pose": pose[0].tolist(), "betas": [0.0] * 10},
        }
    )


def project(body: Body, label: list[float]) -> np.ndarray:
    """Pixels [24,2] of the joints by the label's camera alone."""
    row = torch.tensor([label])
    parts = labels.split(row)
    joints = body.from_label(row).joints[0].double()
    camera = torch.linalg.inv(parts.cam2world[0].double())
    seen = (joints @ camera[:3, :3].T + camera[:3, 3]) @ parts.intrinsics[0].double().T
    return (seen[:, :2] / seen[:, 2:]).numpy() * RESOLUTION


@pytest.mark.parametrize(("scale", "origin"), [(300.0, (420.0, 380.0)), (61.3, (150.2, 90.7)), (55.0, (20.0, 90.0))])
def test_the_labels_joints_land_on_the_right_pixels_of_the_crop(
    body: Body, scale: float, origin: tuple[float, float]
) -> None:
    fit = fit_row(body, scale, origin)
    posed = body(
        torch.zeros(1, 10), torch.tensor([fit["body_pose"]]), torch.tensor([[np.pi, 0.0, 0.0]]), torch.zeros(1, 3)
    )
    for joint in (15, 16, 20, 7, 8):
        x, y = np.array(origin) + scale * posed.joints[0, joint, :2].numpy()
        photo = np.zeros((900, 900, 3), np.uint8)
        radius = max(2.0, scale / 30)
        rows, columns = np.mgrid[0:900, 0:900] + 0.5
        photo[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = 255
        crop = alignment.align(photo, np.full((450, 450), 255, np.uint8), fit, RESOLUTION)
        bright = crop[..., 0].astype(float) * (crop[..., 3] > 250)
        if x - radius < 0 or y - radius < 0:
            continue
        v, u = (np.array(np.mgrid[0:RESOLUTION, 0:RESOLUTION] + 0.5) * bright).sum((1, 2)) / bright.sum()
        expected = project(body, alignment.label(fit))[joint]
        assert np.hypot(u - expected[0], v - expected[1]) < 0.6


def test_label_has_the_data_sets_camera_and_unit_scale(body: Body) -> None:
    values = alignment.label(fit_row(body, 100.0, (200.0, 200.0)))
    expected = labels.canonical_label()[0]
    assert values[:26] == expected[:26].tolist()
    assert len(values) == 111


def test_outside_of_the_photograph_is_white_and_transparent(body: Body) -> None:
    photo = np.full((60, 400, 3), 40, np.uint8)
    fit = fit_row(body, 100.0, (200.0, 30.0))
    crop = alignment.align(photo, np.full((60, 400), 255, np.uint8), fit, RESOLUTION)
    assert (crop[:20] == (255, 255, 255, 0)).all()
    assert (crop[-20:] == (255, 255, 255, 0)).all()
    assert (np.abs(crop[60:64].astype(int) - (40, 40, 40, 255)) <= 1).all()


def test_reduction_averages_and_does_not_alias() -> None:
    stripes = np.zeros((600, 600), np.uint8)
    stripes[:, ::2] = 255  # the finest pattern there is
    small = alignment.window(stripes, (300.0, 300.0), 250.0, 64, border=0)
    assert np.abs(small.astype(int) - 127).max() <= 12


def test_enlargement_and_identity_keep_the_picture() -> None:
    random = np.random.default_rng(0)
    image = cv2.GaussianBlur(random.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 3)
    same = alignment.window(image, (32.0, 32.0), 32.0, 64, border=255)
    assert np.abs(same.astype(int) - image).max() <= 1
    larger = alignment.window(image, (32.0, 32.0), 32.0, 128, border=255)
    back = cv2.resize(larger, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(back.astype(int) - image)[4:-4, 4:-4].max() <= 3


def test_a_shard_has_crops_labels_and_reasons(body: Body, tmp_path: Path) -> None:
    good, empty = fit_row(body, 100.0, (200.0, 150.0)), fit_row(body, 100.0, (200.0, 150.0))
    empty["person_id"] = empty["photo_id"] = "b-2"
    refused = good.copy()
    refused["person_id"], refused["status"] = "c-3", "rejected"
    gone = good.copy()
    gone["person_id"] = gone["photo_id"] = "d-4"
    with write_shard(tmp_path / "mattes.zip", {}) as mattes:
        mattes.add_image("a-1.png", np.full((300, 400), 255, np.uint8))
        mattes.add_image("b-2.png", np.zeros((300, 400), np.uint8))

    def read(name: str) -> np.ndarray:
        if name == "d-4":
            raise PhotoError("the file is missing")
        return photos[name]

    photos = {name: np.full((300, 400, 3), 90, np.uint8) for name in ("a-1", "b-2")}
    fits, shard_of_mattes = pd.DataFrame([good, empty, refused, gone]), ShardReader(tmp_path / "mattes.zip")
    with write_shard(tmp_path / "aligned.zip", {}) as output:
        rows = list(alignment.align_shard(fits, read, shard_of_mattes, Alignment(resolution=64), output))
    shard = ShardReader(tmp_path / "aligned.zip")
    assert shard.image("a-1.png").shape == (64, 64, 4)
    status = by_person(to_table(rows, schemas.ALIGNED))
    assert [name for name, row in status.items() if row["label"] is not None] == ["a-1"]
    assert status["a-1"]["label"].tolist() == alignment.label(good)
    assert status["a-1"]["status"] == "ok"
    assert status["b-2"]["status"] == "rejected"
    assert "no person" in status["b-2"]["reason"]
    assert (status["d-4"]["status"], status["d-4"]["reason"]) == ("rejected", "the file is missing")
    assert np.isnan(status["d-4"]["value"])
    assert "c-3" not in status


def test_soft_edges_lose_the_backgrounds_colour() -> None:
    alpha = np.clip((np.arange(64) - 28) * 32, 0, 255).astype(np.uint8)[None].repeat(64, 0)
    share = alpha[..., None] / 255
    photo = np.rint(share * (30, 60, 200) + (1 - share) * (20, 230, 20)).astype(np.uint8)
    clean = alignment.foreground(photo, alpha)
    edge = (alpha > 60) & (alpha < 255)
    assert np.abs(clean[edge].astype(int) - (30, 60, 200)).max() < 35
    assert np.abs(photo[edge].astype(int) - (30, 60, 200)).max() > 90
    assert (clean[alpha == 255] == photo[alpha == 255]).all()


def test_nothing_of_the_background_is_kept() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    matte = np.zeros((64, 64), np.uint8)
    matte[16:48, 24:40] = 255
    crop = alignment.align(photo, matte, pd.Series({"centre_x": 32.0, "centre_y": 32.0, "half": 32.0}), 64)
    assert np.array_equal(crop[16:48, 24:40, :3], photo[16:48, 24:40])
    assert (crop[..., :3][crop[..., 3] == 0] == 255).all()


def test_blurred_people_are_left_out_with_their_sharpness(body: Body, tmp_path: Path) -> None:
    fit = fit_row(body, 120.0, (200.0, 150.0))
    random = np.random.default_rng(0)
    blocks = random.uniform(30, 225, (15, 20, 3)).repeat(20, 0).repeat(20, 1)
    sharp = (blocks + random.normal(0, 8, blocks.shape)).clip(0, 255).astype(np.uint8)
    photos = {"a-1": sharp, "b-2": cv2.GaussianBlur(sharp, (0, 0), 4)}
    rows = [fit, fit.copy()]
    rows[1]["person_id"] = rows[1]["photo_id"] = "b-2"
    with write_shard(tmp_path / "mattes.zip", {}) as mattes:
        for name in photos:
            mattes.add_image(f"{name}.png", np.full((300, 400), 255, np.uint8))
    fits, reader = pd.DataFrame(rows), ShardReader(tmp_path / "mattes.zip")
    with write_shard(tmp_path / "aligned.zip", {}) as output:
        made = list(alignment.align_shard(fits, photos.__getitem__, reader, Alignment(resolution=256), output))
    status = by_person(to_table(made, schemas.ALIGNED))
    assert status["a-1"]["status"] == "ok"
    assert status["b-2"]["status"] == "rejected"
    assert status["b-2"]["reason"].startswith("blurred")
    assert status["b-2"]["value"] < Alignment().min_sharpness < status["a-1"]["sharpness"]
    assert [name for name, row in status.items() if row["label"] is not None] == ["a-1"]
