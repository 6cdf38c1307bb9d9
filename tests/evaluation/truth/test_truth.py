from __future__ import annotations

import shutil
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.small_results import PHOTO, person_labels

from ag3d.core.camera import CAMERA_DISTANCE
from ag3d.core.errors import UserError
from ag3d.core.files import read_json, read_table, write_table
from ag3d.core.shards import ShardReader, write_shard
from ag3d.evaluation.truth import stage as truth
from ag3d.model.body import label as labels

HALF = 140.0


@pytest.fixture
def folder(small_results, tiny_body, tmp_path):
    """The small data set with its truth: everything found is exact."""
    root = tmp_path / "data"
    shutil.copytree(small_results / "data", root)
    count = 6
    label = person_labels(count)
    with torch.no_grad():
        out = tiny_body.from_label(label)
    parts = labels.split(label)
    names = sorted(read_table(root / "rejected.parquet")["photo_id"]) + [f"person-{k:02d}" for k in range(count)]
    rows, mattes, maps = [], ShardReader(root / "matting" / "00000.zip"), ShardReader(root / "normals" / "00000.zip")
    with write_shard(root / "truth" / "truth.zip", {}) as shard:
        for name in names:
            k = int(name[-2:]) if name.startswith("person") else 0
            centre = np.array(PHOTO) / 2
            joints, face = out.joints[k].numpy(), out.landmarks[k].numpy()
            flat = [p[:, :2] / (1 + p[:, 2:] / CAMERA_DISTANCE) for p in (joints, face)]
            rows.append(
                {
                    **{"photo_id": name, "width": PHOTO[0], "height": PHOTO[1], "half": HALF},
                    **{"centre_x": centre[0], "centre_y": centre[1]},
                    **{f: getattr(parts, f)[k].tolist() for f in ("betas", "body_pose", "global_orient", "transl")},
                    **{"joints_2d": (centre + HALF * flat[0]).ravel(), "joints_3d": joints.ravel()},
                    **{"landmarks_2d": (centre + HALF * flat[1]).ravel(), "landmarks_3d": face.ravel()},
                }
            )
            if f"{name}.png" in mattes:
                shard.add_image(f"{name}-mask.png", mattes.image(f"{name}.png"))
            if f"{name}.png" in maps:
                crop = cv2.resize(maps.image(f"{name}.png"), (int(2 * HALF),) * 2, interpolation=cv2.INTER_LINEAR)
                canvas = np.full((PHOTO[1], PHOTO[0], 3), 255, np.uint8)
                x, y = int(centre[0] - HALF), int(centre[1] - HALF)
                canvas[y : y + len(crop)] = crop[:, -x : -x + PHOTO[0]]
                shard.add_image(f"{name}-normal.png", canvas)
    write_table(root / "truth" / "truth.parquet", pd.DataFrame(rows), {})
    return root


def measures(folder, body) -> dict[tuple[str, str], dict]:
    found = truth.compare(folder, folder / "truth", body)["stages"]
    return {(stage, m["key"]): m for stage, entries in found.items() for m in entries}


def test_exact_results_have_no_error(folder, tiny_body):
    found = measures(folder, tiny_body)
    assert {stage for stage, _ in found} == set(truth.MEASURES)
    assert found["photos", "readable"]["mean"] == pytest.approx(8 / 9)
    assert found["photos", "reached"]["mean"] == pytest.approx(6 / 9)
    assert found["people", "detected"]["mean"] == pytest.approx(7 / 9)
    assert found["matting", "overlap"]["mean"] == 1
    for key in ("reprojection", "mpjpe", "pa_mpjpe", "orientation", "flipped", "height"):
        assert found["fitting", key]["mean"] == pytest.approx(0, abs=0.05), key
    assert found["fitting", "silhouette"]["mean"] > 0.9
    assert found["alignment", "joints"]["mean"] < 0.01
    assert found["alignment", "overlap"]["mean"] > 0.9
    assert found["normals", "angle"]["mean"] < 12  # small pictures: resampling at creases


def test_errors_are_measured(folder, tiny_body):
    exact = measures(folder, tiny_body)
    path = folder / "fitting" / "00000.parquet"
    fits = read_table(path)
    half_turn = Rotation.from_rotvec([0, np.pi, 0])
    fits["global_orient"] = [
        (half_turn * Rotation.from_rotvec(np.array(orient))).as_rotvec().tolist() for orient in fits["global_orient"]
    ]
    write_table(path, fits, {"folder": "../synthetic/photos", "settings": {"max_pixels": 10**7}})
    people = read_table(folder / "people" / "00000.parquet")
    people["landmarks_2d"] = [None if p is None else np.asarray(p) + 10 for p in people["landmarks_2d"]]
    write_table(folder / "people" / "00000.parquet", people, {})
    found = measures(folder, tiny_body)
    assert found["fitting", "flipped"]["mean"] == 1
    assert found["fitting", "orientation"]["mean"] == pytest.approx(180, abs=1)
    assert found["fitting", "pa_mpjpe"]["mean"] == pytest.approx(0, abs=0.1)
    # body joints were exact and are off by 14 pixels now; the face's five stood on the head's joint before
    tall = HALF * float(tiny_body.v_template[:, 1].max() - tiny_body.v_template[:, 1].min())
    assert found["people", "landmarks"]["mean"] - exact["people", "landmarks"]["mean"] > 12 / 17 * 10 / tall
    assert found["people", "near"]["mean"] < exact["people", "near"]["mean"] - 0.5


def test_command(folder, tiny_body_path, monkeypatch):
    out = folder / "truth.json"
    options = ["--folder", folder, "--truth", folder / "truth", "--body", tiny_body_path, "--output", out]
    monkeypatch.setattr(sys, "argv", ["truth", *map(str, options)])
    truth.main()
    assert read_json(out)["photographs"] == 9


def test_without_truth_there_is_an_error(small_results, tiny_body):
    with pytest.raises(UserError, match="only synthetic photographs"):
        truth.compare(small_results / "data", small_results / "data" / "truth", tiny_body)
