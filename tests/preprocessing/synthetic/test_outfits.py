"""Who is photographed and how they stand: variety, believable joints, feet on the ground."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.model.body.body import JOINTS, Body
from ag3d.preprocessing.synthetic.clip import clip
from ag3d.preprocessing.synthetic.meshes import Meshes
from ag3d.preprocessing.synthetic.outfits import sample_outfit
from ag3d.preprocessing.synthetic.pose_sampler import plant_feet, sample_pose


def _outfits(count: int) -> list:
    return [sample_outfit(np.random.default_rng(n), np.zeros(10, np.float32), n % 3 / 2) for n in range(count)]


def test_clothes_hair_and_skin_vary() -> None:
    outfits = _outfits(300)
    kinds = Counter(garment.kind for outfit in outfits for garment in outfit.garments)
    expected = {"tshirt", "longsleeve", "blouse", "jeans", "trousers", "wide trousers", "shorts", "skirt", "dress top"}
    assert expected | {"jacket", "blazer", "coat"} <= set(kinds)
    for key, least in (("hair", 6), ("hair_colour", 6), ("skin", 6), ("style", 4), ("hat", 3)):
        assert len({outfit.attributes[key] for outfit in outfits}) >= least, key
    patterns = Counter(word for outfit in outfits for word in outfit.attributes["patterns"].split())
    assert {"plain", "stripes", "checks", "dots", "flowers", "logo", "mottled"} <= set(patterns)
    # nobody goes without: everyone wears something above and below
    for outfit in outfits:
        assert any(g.sleeve for g in outfit.garments)
        assert any(not g.sleeve for g in outfit.garments)


def test_half_of_the_people_face_the_camera_and_all_directions_occur() -> None:
    yaw = np.degrees([sample_pose(np.random.default_rng(n)).yaw for n in range(600)])
    yaw = (yaw + 180) % 360 - 180
    assert 0.45 < (np.abs(yaw) <= 45).mean() < 0.68
    counts, _ = np.histogram(yaw, bins=8, range=(-180, 180))
    assert counts.min() >= 600 * 0.03


def test_knees_and_elbows_bend_the_right_way(open_body: Body) -> None:
    for n in range(60):
        rng = np.random.default_rng(n)
        pose = sample_pose(rng)
        betas = rng.normal(0, 0.9, 10).astype(np.float32)
        plant_feet(open_body, betas, pose)
        knee, elbow = (
            pose.body_pose[[JOINTS.index(f"{s}_{name}") - 1 for s in ("left", "right")]] for name in ("knee", "elbow")
        )
        assert (knee[:, 0] >= 0).all()
        assert (knee[:, 0] < 1.8).all()
        assert np.abs(knee[:, 1:]).max() < 0.05
        assert elbow[0, 1] <= 0 <= elbow[1, 1]
        assert np.abs(pose.body_pose).max() < 2.5


def test_both_feet_reach_the_floor(open_body: Body) -> None:
    apart = []
    for n in range(60):
        rng = np.random.default_rng(n)
        pose = sample_pose(rng)
        plant_feet(open_body, np.zeros(10, np.float32), pose)
        out = open_body(
            torch.zeros(1, 10),
            torch.as_tensor(pose.body_pose).reshape(1, 69),
            torch.as_tensor(pose.lean).float()[None],
            torch.zeros(1, 3),
        )
        vertices = out.vertices[0].numpy()
        left, right = (
            vertices[
                (open_body.weights[:, [JOINTS.index(f"{s}_ankle"), JOINTS.index(f"{s}_foot")]].sum(1) > 0.9).numpy(), 1
            ].min()
            for s in ("left", "right")
        )
        apart.append(abs(left - right))
    assert np.median(apart) < 0.012
    assert np.max(apart) < 0.06


def test_clipping_keeps_the_positive_side_exactly() -> None:
    vertices = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    cut = clip(faces, vertices[:, 0] - 0.25)
    corners = cut.extend(vertices)[cut.faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert (area > 0).all()  # the winding is kept
    assert abs(area.sum() - 0.75) < 1e-6
    assert corners[..., 0].min() == pytest.approx(0.25)


def test_garments_of_another_body_are_refused(open_body: Body, tmp_path: Path) -> None:
    np.savez(tmp_path / "garments.npz", nothing=np.zeros(3))
    with pytest.raises(UserError, match="tights_v_template"):
        Meshes.load(open_body, tmp_path / "garments.npz")
    with pytest.raises(UserError, match="does not exist"):
        Meshes.load(open_body, tmp_path / "missing.npz")
