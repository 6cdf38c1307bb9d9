"""Synthetic photographs: the same whenever they are made, varied, and true to what is said about them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps

from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body.body import JOINTS, Body
from ag3d.preprocessing.photos.photo_index import photo_id
from ag3d.preprocessing.synthetic import truth
from ag3d.preprocessing.synthetic.camera import encode
from ag3d.preprocessing.synthetic.meshes import Meshes
from ag3d.preprocessing.synthetic.photograph import Photograph, make_photograph
from ag3d.preprocessing.synthetic.render import render_all

COUNT = 6


@pytest.fixture(scope="module")
def meshes(open_body: Body, open_body_path: Path) -> Meshes:
    return Meshes.load(open_body, open_body_path.with_name("garments.npz"))


@pytest.fixture(scope="module")
def photographs(open_body: Body, meshes: Meshes) -> list[Photograph]:
    return [make_photograph(open_body, meshes, 5, number) for number in range(COUNT)]


def test_a_photograph_depends_on_seed_and_number_only(
    open_body: Body, meshes: Meshes, photographs: list[Photograph]
) -> None:
    again = make_photograph(open_body, meshes, 5, 3)
    assert again.jpeg == photographs[3].jpeg
    assert np.array_equal(again.normals, photographs[3].normals)
    other = make_photograph(open_body, meshes, 6, 3)
    assert not np.array_equal(other.truth["betas"], again.truth["betas"])


def test_vertices_of_the_label_fall_where_the_person_is(open_body: Body, photographs: list[Photograph]) -> None:
    for photograph in photographs:
        t = photograph.truth
        parts = [torch.as_tensor(t[k]).reshape(1, -1) for k in ("betas", "body_pose", "global_orient", "transl")]
        out = open_body(*parts)
        place = t["centre"] + t["half"] * out.vertices[0, :, :2].numpy()
        column, row = place.astype(int).T
        grown = cv2.dilate(photograph.mask, np.ones((7, 7), np.uint8))
        inside = grown[row.clip(0, t["height"] - 1), column.clip(0, t["width"] - 1)] > 100
        assert inside.mean() > 0.995
        assert np.abs(out.joints[0].numpy() - t["joints_3d"]).max() < 1e-5
        assert np.abs(t["joints_2d"] - (t["centre"] + t["half"] * t["joints_3d"][:, :2])).max() < 1e-3


def test_the_mask_is_one_upright_person(photographs: list[Photograph]) -> None:
    for photograph in photographs:
        t = photograph.truth
        mask = photograph.mask > 127
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        assert stats[1:, cv2.CC_STAT_AREA].max() > 0.97 * mask.sum(), count
        joints = t["joints_2d"]
        height = np.ptp(np.flatnonzero(mask.any(1)))
        assert 0.4 * t["height"] < height < 0.97 * t["height"]
        head, feet = joints[JOINTS.index("head"), 1], joints[[JOINTS.index("left_foot"), JOINTS.index("right_foot")], 1]
        assert (head < feet).all()
        # a joint lies inside the body, so the mask is solid there
        row, column = joints[:16, 1].astype(int), joints[:16, 0].astype(int)
        assert mask[row, column].all()
        # both soles are near the ground
        soles = np.array([joints[JOINTS.index(f"{side}_foot"), 1] for side in ("left", "right")])
        bottom = np.flatnonzero(mask.any(1)).max()
        assert (bottom - soles < 0.16 * height).all()


def test_normals_are_unit_vectors_toward_the_viewer(photographs: list[Photograph]) -> None:
    for photograph in photographs:
        inside = photograph.mask > 200
        normals = photograph.normals[inside] / 127.5 - 1
        assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 0.02
        assert (normals[:, 2] > -0.02).all()
        assert normals[:, 2].mean() > 0.5
        assert (photograph.normals[photograph.mask == 0] == 255).all()
        # the outline's left side looks left, the top looks up
        column = np.nonzero(inside)[1]
        middle = np.median(column)
        assert normals[column < middle - 15, 0].mean() < normals[column > middle + 15, 0].mean() - 0.2
        top = np.flatnonzero(inside.any(1))[0]
        crown = photograph.normals[top : top + 6][inside[top : top + 6]] / 127.5 - 1
        assert crown[:, 1].mean() > 0.3


def test_left_and_right_are_not_swapped(open_body: Body, meshes: Meshes, photographs: list[Photograph]) -> None:
    facing = [p.truth for p in photographs if abs(p.truth["yaw"]) < 40]
    away = [p.truth for p in photographs if abs(p.truth["yaw"]) > 140]
    assert facing
    left, right = JOINTS.index("left_shoulder"), JOINTS.index("right_shoulder")
    assert all(t["joints_2d"][left, 0] > t["joints_2d"][right, 0] for t in facing)
    assert all(t["joints_2d"][left, 0] < t["joints_2d"][right, 0] for t in away)
    for t in facing:  # the nose is nearer than the ears, the right eye is on the picture's left
        assert t["landmarks_3d"][0, 2] < t["landmarks_3d"][3:, 2].min()
        assert t["landmarks_2d"][1, 0] < t["landmarks_2d"][2, 0]


def test_jpegs_carry_exif_and_turn_upright(open_body: Body, meshes: Meshes, photographs: list[Photograph]) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for number in range(40):
        data, orientation, quality = encode(photographs[0].upright, rng)
        image = Image.open(io.BytesIO(data))
        exif = image.getexif()
        assert exif[0x0112] == orientation
        assert exif[0x010F]
        assert exif[0x0132]
        assert 80 <= quality <= 95
        upright = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        assert upright.shape == photographs[0].upright.shape
        assert np.abs(upright - photographs[0].upright).mean() < 8, number
        seen.add(orientation)
    assert {1, 6, 8} <= seen


def test_files_and_table(open_body_path: Path, tmp_path: Path) -> None:
    garments = str(open_body_path.with_name("garments.npz"))
    results = list(render_all(str(open_body_path), garments, seed=1, count=2, workers=2))
    alone = next(iter(render_all(str(open_body_path), garments, seed=1, count=1, workers=1)))
    assert alone[1] == results[0][1]
    with write_shard(tmp_path / "truth.zip", {}) as archive:
        for number, _, maps, _ in results:
            truth.write_maps(archive, truth.file_name(number), maps)
    truth.write_truth(tmp_path / "truth.parquet", [row for *_, row in results], {})
    table, shard = pd.read_parquet(tmp_path / "truth.parquet"), ShardReader(tmp_path / "truth.zip")
    assert list(table["photo_id"]) == [photo_id(name) for name in table["photo"]]
    sizes = {"betas": 10, "body_pose": 69, "global_orient": 3, "transl": 3, "joints_2d": 48, "joints_3d": 72}
    for _, row in table.iterrows():
        assert {name: len(row[name]) for name in sizes} == sizes
        mask = shard.image(row["photo_id"] + truth.MASK)
        assert mask.shape == (row["height"], row["width"])
        assert shard.image(row["photo_id"] + truth.NORMAL).shape == (*mask.shape, 3)
