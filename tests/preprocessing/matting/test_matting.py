from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.figure import Figure, draw
from support.stage_tables import by_person, manifest_table, people_table

from ag3d.config.data import Matting, Photos
from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader
from ag3d.model.body.body import Body
from ag3d.preprocessing.matting import refine
from ag3d.preprocessing.matting import stage as matting
from ag3d.preprocessing.matting.refine import guided_filter
from ag3d.preprocessing.people.blazepose import BlazePose
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.manifest import recorded_folder
from ag3d.preprocessing.photos.read_image import Photo
from ag3d.preprocessing.stage import read_verdicts


def overlap(alpha: np.ndarray, truth: np.ndarray) -> float:
    found = alpha > 127
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(("height", "turn"), [(640, 0.0), (640, 2.4), (2400, 0.7)])
def test_matte_agrees_with_the_truth(blazepose: BlazePose, open_body: Body, height: int, turn: float) -> None:
    figure = draw(open_body, height, height * 7 // 10, turn=turn, seed=1)
    pose = blazepose.track(figure.rgb, blazepose.detect(figure.rgb)[0].region())
    joints = pose.landmarks_2d[11:29]
    alpha = matting.matte(
        Photo(figure.rgb, None, figure.rgb.shape[1::-1]), pose.next_region, joints, matting.blazepose_backend(blazepose)
    )
    assert alpha.shape == figure.mask.shape
    coarse = pose.next_region.paste(blazepose.segment(figure.rgb, pose.next_region), figure.mask.shape) * 255
    assert overlap(alpha, figure.mask) > 0.97
    assert overlap(alpha, figure.mask) > overlap(coarse, figure.mask)  # what the refinement is for
    assert matting.check_matte(matting.matte_quality(alpha, pose.next_region, joints, Matting()), Matting()).ok


def test_own_alpha_wins_where_it_holds_the_person(blazepose: BlazePose, standing: Figure) -> None:
    region = blazepose.detect(standing.rgb)[0].region()
    joints = standing.joints[[16, 17, 4, 5, 7, 8]]
    own = np.where(standing.mask, 255, 0).astype(np.uint8)
    size = standing.rgb.shape[1::-1]
    assert (
        matting.matte(Photo(standing.rgb, own, size), region, joints, matting.blazepose_backend(blazepose)) == own
    ).all()
    elsewhere = np.zeros_like(own)
    elsewhere[:40, :40] = 255
    alpha = matting.matte(Photo(standing.rgb, elsewhere, size), region, joints, matting.blazepose_backend(blazepose))
    assert overlap(alpha, standing.mask) > 0.97


def test_a_matte_that_misses_the_person_is_rejected() -> None:
    region, joints = RotatedBox(50, 50, 100), np.array([[50.0, 20.0], [50.0, 80.0]])
    alpha = np.zeros((100, 100), np.uint8)
    verdict = matting.check_matte(matting.matte_quality(alpha, region, joints, Matting()), Matting())
    assert "empty" in verdict.reason
    assert verdict.value == 0
    alpha[10:40, 30:70] = 255
    verdict = matting.check_matte(matting.matte_quality(alpha, region, joints, Matting()), Matting())
    assert "joints" in verdict.reason
    assert verdict.value == 0.5
    assert matting.check_matte(matting.matte_quality(alpha, region, joints, Matting()), Matting(min_joints=0.5)).ok


def test_only_parts_of_the_person_stay() -> None:
    alpha = np.zeros((100, 100), np.uint8)
    alpha[20:80, 20:60] = 255  # body
    alpha[40, 40] = 0  # a pinhole
    alpha[55:65, 30:40] = 0  # a gap at the waist
    alpha[5:15, 20:30] = 255  # a hand beyond the gap of a sleeve
    alpha[70:90, 80:95] = 255  # somebody else
    kept = refine.keep_person(alpha, np.array([[40.0, 30.0], [25.0, 10.0], [-3.0, 500.0]]))
    assert kept[40, 40] == 255
    assert (kept[55:65, 30:40] == 0).all()
    assert (kept[5:15, 20:30] == 255).all()
    assert (kept[:, 75:] == 0).all()


def test_guided_filter_moves_an_edge_to_the_colour_edge() -> None:
    guide = np.full((60, 80, 3), (0.2, 0.5, 0.3), np.float32)
    guide[:, 40:] = (0.3, 0.4, 0.8)
    mask = np.zeros((60, 80), np.float32)
    mask[:, 37:] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), 2)
    fine = guided_filter(guide, mask, 8, 1e-4)
    assert fine[30, 38] < 0.45
    assert fine[30, 41] > 0.9
    assert fine[30, 41] - fine[30, 38] > 2 * (mask[30, 41] - mask[30, 38])


def test_guided_filter_of_a_flat_picture_averages() -> None:
    values = np.random.default_rng(0).uniform(size=(40, 40)).astype(np.float32)
    fine = guided_filter(np.full((40, 40, 3), 0.5, np.float32), values, 3, 1e-3)
    mean = cv2.boxFilter(cv2.boxFilter(values, -1, (7, 7)), -1, (7, 7))
    np.testing.assert_allclose(fine[8:-8, 8:-8], mean[8:-8, 8:-8], atol=1e-4)


def test_guided_filter_is_the_local_linear_fit() -> None:
    """At a pixel whose neighbours agree, slope and offset solve the window's ridge regression."""
    rng = np.random.default_rng(1)
    guide = rng.uniform(size=(9, 9, 3)).astype(np.float32)
    values = (guide @ np.array([0.5, -0.2, 0.7], np.float32) + 0.1).astype(np.float32)
    np.testing.assert_allclose(guided_filter(guide, values, 2, 1e-9), values, atol=2e-3)


def test_command_writes_mattes_and_status(
    tmp_path: Path, blazepose_folder: Path, standing: Figure, monkeypatch
) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    Image.fromarray(standing.rgb).save(place / "a.jpg", quality=95)
    Image.fromarray(standing.rgb[:, ::-1]).save(place / "gone.jpg", quality=95)
    Image.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(place / "nobody.jpg")
    manifest = tmp_path / "photos" / "00000.parquet"
    record = {"settings": {"max_pixels": 10**7}, "folder": recorded_folder(place, manifest)}
    write_table(manifest, manifest_table(place, 0, Photos(shards=1)), record)
    table = people_table(manifest, BlazePose(blazepose_folder))
    write_table(tmp_path / "people.parquet", table, {})
    (place / "gone.jpg").unlink()
    output = tmp_path / "matting" / "00000.zip"
    options = ["--manifest", manifest, "--people", tmp_path / "people.parquet", "--models", blazepose_folder]
    monkeypatch.setattr("sys.argv", ["matting", *map(str, [*options, "--output", output])])
    matting.main()
    shard = ShardReader(output)
    status = by_person(read_verdicts(output))
    name = {path: table.set_index("path").loc[path, "person_id"] for path in ("a.jpg", "gone.jpg", "nobody.jpg")}
    assert status[name["a.jpg"]].items() >= {"status": "ok", "reason": "", "path": "a.jpg"}.items()
    assert np.isnan(status[name["a.jpg"]]["value"])
    assert status[name["a.jpg"]]["joints"] > 0.9
    assert status[name["gone.jpg"]]["reason"] == "the file is missing"
    assert name["nobody.jpg"] not in status
    assert overlap(shard.image(f"{name['a.jpg']}.png"), standing.mask) > 0.97
    assert [entry for entry in shard.names if entry.endswith(".png")] == [f"{name['a.jpg']}.png"]
    assert shard.record()["stage"] == "matting"
