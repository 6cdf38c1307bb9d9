"""Fitting recovers bodies from their own landmarks and mattes, and rejects what does not match."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from support.stage_tables import by_person, write_verdicts

from ag3d.config.data import Fitting
from ag3d.core.camera import project
from ag3d.core.files import read_record, read_table, write_table
from ag3d.core.landmarks import HIPS
from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.preprocessing import schemas
from ag3d.preprocessing.fitting import pose_prior
from ag3d.preprocessing.fitting import stage as fitting
from ag3d.preprocessing.fitting.crop_frame import crop_frame, pelvis_height
from ag3d.preprocessing.fitting.landmark_model import calibration
from ag3d.preprocessing.fitting.objective import FitObjective, FitParams, overlap
from ag3d.preprocessing.fitting.observations import Observations
from ag3d.preprocessing.fitting.optimise import FitResult, fit_bodies, minimise
from ag3d.preprocessing.fitting.reduced_body import PointBody, reduce_body
from ag3d.preprocessing.stage import read_verdicts, to_table

WIDTH, HEIGHT = 480, 600


@pytest.fixture(scope="module")
def body(body_file: Path) -> Body:
    return Body.load(body_file)


@pytest.fixture(scope="module")
def points(body: Body) -> PointBody:
    return reduce_body(body, samples=300)


def people(number: int, seed: int = 0) -> FitResult:
    """Upright people in ordinary poses, facing every way, at 200 to 240 pixels a metre."""
    random = torch.Generator().manual_seed(seed)
    pose = pose_prior.USUAL + 0.25 * torch.randn(number, 69, generator=random) / (1 + pose_prior.STRENGTH)
    yaw = torch.arange(number) * 2 * math.pi / number
    upright = axis_angle_to_matrix(torch.tensor([math.pi, 0, 0]))
    turned = upright @ axis_angle_to_matrix(torch.stack([0 * yaw, yaw, 0 * yaw], 1))
    return FitResult(
        betas=0.5 * torch.randn(number, 10, generator=random),
        body_pose=pose_prior.clamp(pose),
        global_orient=matrix_to_axis_angle(turned),
        scale=200 + 40 * torch.rand(number, generator=random),
        origin=torch.tensor([WIDTH / 2, 260.0]) + 20 * torch.randn(number, 2, generator=random),
        uncertainty=torch.full((number, 24), torch.nan),
    )


def pose_points(points: PointBody, truth: FitResult) -> tuple[torch.Tensor, torch.Tensor]:
    return points(truth.betas, axis_angle_to_matrix(truth.global_orient), truth.body_pose)


def observe(points: PointBody, truth: FitResult, noise: float = 0.0) -> Observations:
    points_3d, _ = pose_points(points, truth)
    landmarks = points_3d[:, :33] - points_3d[:, HIPS].mean(1, keepdim=True)
    random = torch.Generator().manual_seed(1)
    wrong = noise * torch.randn(landmarks.shape, generator=random)
    pixels = project(points_3d[:, :33], truth.scale, truth.origin) + wrong[..., :2] * truth.scale[:, None, None]
    return Observations.from_landmarks(pixels, landmarks + wrong, torch.ones(len(landmarks), 33))


def test_exact_landmarks_give_back_the_joints_of_people_facing_every_way(points: PointBody) -> None:
    truth = people(8)
    fits = fit_bodies(points, observe(points, truth), iterations=1)
    points_3d, joints = pose_points(points, fits)
    _, true_joints = pose_points(points, truth)
    used = points.landmark_weights > 0
    observed = project(pose_points(points, truth)[0][:, :33], truth.scale, truth.origin)
    miss = (project(points_3d[:, :33], fits.scale, fits.origin) - observed).norm(dim=2)[:, used]
    assert miss.mean() < 2.0  # pixels, of people some 350 tall
    error = ((joints - joints[:, :1]) - (true_joints - true_joints[:, :1])).norm(dim=2)
    assert error.mean() < 0.03
    apart = axis_angle_to_matrix(fits.global_orient).transpose(1, 2) @ axis_angle_to_matrix(truth.global_orient)
    cosine = (apart.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert (cosine > math.cos(math.radians(25))).all()  # nobody is turned around


def test_noisy_landmarks_give_joints_within_their_noise_and_the_limits(points: PointBody) -> None:
    truth = people(6, seed=3)
    fits = fit_bodies(points, observe(points, truth, noise=0.02), iterations=1)
    error = project(pose_points(points, fits)[1], fits.scale, fits.origin) - project(
        pose_points(points, truth)[1], truth.scale, truth.origin
    )
    assert (error.norm(dim=2).mean(1) / truth.scale < 0.04).all()
    assert pose_prior.limit_violation(fits.body_pose).max() < 0.1


def test_people_are_fitted_independently_of_who_shares_their_batch(points: PointBody) -> None:
    truth = people(4, seed=5)
    together = fit_bodies(points, observe(points, truth), iterations=1, first_iterations=15)
    first = truth[:1]
    alone = fit_bodies(points, observe(points, first), iterations=1, first_iterations=15)
    torch.testing.assert_close(alone.body_pose, together.body_pose[:1], atol=2e-3, rtol=0)


def test_the_point_body_agrees_with_the_whole_body(body: Body, points: PointBody) -> None:
    truth = people(3, seed=7)
    points_3d, joints = pose_points(points, truth)
    whole = body(truth.betas, truth.body_pose, truth.global_orient, torch.zeros(3, 3))
    torch.testing.assert_close(joints, whole.joints, atol=1e-5, rtol=0)
    nearest = torch.cdist(points_3d[:, points.surface], whole.vertices).amin(2)
    assert nearest.max() < 2e-3  # the distance itself is computed with squares
    apart = (points_3d[:, 0] - whole.landmarks[:, 0]).norm(dim=1)  # BlazePose's nose lies off the body's
    torch.testing.assert_close(apart, calibration().offsets[0].norm().expand(3), atol=1e-4, rtol=0)


def test_prior_is_symmetric_and_knows_which_way_knees_and_elbows_bend() -> None:
    low, high = pose_prior.LOW.view(23, 3), pose_prior.HIGH.view(23, 3)
    assert (low <= high).all()
    for left, right in ((0, 1), (3, 4), (15, 16), (17, 18)):
        assert low[left, 0] == low[right, 0]
        assert low[left, 1] == -high[right, 1]
        assert low[left, 2] == -high[right, 2]
    bent, wrong = torch.zeros(1, 69), torch.zeros(1, 69)
    bent[0, 3 * 3], wrong[0, 3 * 3] = 1.0, -1.0  # left knee, about x
    assert pose_prior.limit_violation(bent) == 0
    assert pose_prior.limit_violation(wrong) > 0.5


def test_frame_centres_an_upright_body_and_keeps_its_pixels(body: Body) -> None:
    truth = people(4, seed=2)
    window = crop_frame(body, truth)
    posed = body(truth.betas, truth.body_pose, truth.global_orient, torch.zeros(4, 3))
    expected = project(posed.vertices, truth.scale, truth.origin)
    assert (
        project(window.vertices, window.half, window.centre) - expected
    ).abs().max() < 0.3  # perspective of a camera 100 m away
    assert window.reach().max() <= 1
    torch.testing.assert_close(window.joints[:, 0, 0], torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(window.joints[:, 0, 1], torch.full((4,), pelvis_height(body)), atol=1e-5, rtol=0)
    assert window.vertices[..., 2].mean(1).abs().max() < 1e-5  # in the middle of the slab that the network renders


def write_inputs(folder: Path, body: Body, points: PointBody, truth: FitResult) -> tuple[Path, Path]:
    """Files of the stages before: table of people and mattes, as if seen by perfect detectors. The last person's
    landmarks are another's."""
    observed = observe(points, truth)
    posed = body(truth.betas, truth.body_pose, truth.global_orient, torch.zeros(len(truth.betas), 3))
    pixels = project(posed.vertices, truth.scale, truth.origin)
    rows, status = [], {}
    with write_shard(folder / "mattes.zip", {}) as shard:
        for k in range(len(truth.betas)):
            name = f"person-{k}"
            screen = torch.cat([pixels[k], posed.vertices[k, :, 2:]], dim=1)
            hit = (rasterize(screen, body.faces, HEIGHT, WIDTH).face_index >= 0).numpy().astype(np.uint8) * 255
            shard.add_image(f"{name}.png", cv2.resize(hit, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA))
            status[name] = {"status": "ok", "reason": "", "value": None}
            rows.append(
                {
                    **{"person_id": name, "photo_id": name, "path": f"{name}.jpg", "width": WIDTH, "height": HEIGHT},
                    "landmarks_2d": observed.landmarks_2d[k].flatten().tolist(),
                    "landmarks_3d": observed.landmarks_3d[k].flatten().tolist(),
                    "visibility": [1.0] * 33,
                    "status": "ok",
                }
            )
    write_verdicts(folder / "mattes.zip", schemas.MATTES, status)
    rows[-1]["landmarks_2d"] = (observed.landmarks_2d[-1].flip(0)).flatten().tolist()
    rows.append({**rows[0], "person_id": "nobody", "status": "rejected"})
    write_table(folder / "people.parquet", to_table(rows, schemas.PEOPLE), {}, schemas.PEOPLE)
    return folder / "people.parquet", folder / "mattes.zip"


def test_command_fits_the_good_and_rejects_the_bad(
    tmp_path: Path, body_file: Path, body: Body, points: PointBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    people_file, mattes = write_inputs(tmp_path, body, points, people(4, seed=4))
    output = tmp_path / "fits.parquet"
    options = ["--people", people_file, "--mattes", mattes, "--body", body_file, "--output", output]
    monkeypatch.setattr("sys.argv", ["fitting", *map(str, options), "--iterations", "40", "--device", "cpu"])
    fitting.main()
    table = read_table(output).set_index("person_id")
    assert "nobody" not in table.index
    good = table.loc[["person-0", "person-1", "person-2"]]
    assert (good["status"] == "ok").all()
    assert good["silhouette_iou"].min() > 0.75
    assert good["reprojection"].max() < 0.02
    assert (good["scale"] == 1).all()
    assert [len(good.iloc[0][k]) for k in ("transl", "global_orient", "body_pose", "betas")] == [3, 3, 69, 10]
    bad = table.loc["person-3"]
    assert bad["status"] == "rejected"
    assert "landmarks" in bad["reason"]
    assert bad["value"] > Fitting().max_reprojection
    assert read_record(output)["settings"]["iterations"] == 40


def test_broken_measurements_reject_their_person_and_nobody_else(tmp_path: Path, body: Body, points: PointBody) -> None:
    people_file, mattes = write_inputs(tmp_path, body, points, people(4, seed=4))
    table = read_table(people_file).iloc[:3].copy()
    table.at[0, "landmarks_2d"] = np.full(66, np.nan)
    with write_shard(tmp_path / "empty.zip", {}) as shard:
        old = ShardReader(mattes)
        shard.add("person-0.png", old.read("person-0.png"))
        shard.add_image("person-1.png", np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8))
        shard.add("person-2.png", old.read("person-2.png"))
    write_verdicts(tmp_path / "empty.zip", schemas.MATTES, by_person(read_verdicts(mattes)))
    fits = to_table(
        fitting.fit_shard(table, ShardReader(tmp_path / "empty.zip"), body, Fitting(iterations=20, device="cpu")),
        schemas.FITS,
    )
    assert list(fits["status"]) == ["rejected", "rejected", "ok"]
    assert "landmarks" in fits["reason"][0]
    assert "matte" in fits["reason"][1]
    assert np.isfinite(fits["silhouette_iou"][2])


def test_a_shard_without_people_gives_an_empty_table(
    tmp_path: Path, body_file: Path, body: Body, points: PointBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    people_file, mattes = write_inputs(tmp_path, body, points, people(1))
    write_table(people_file, read_table(people_file).query("status == 'rejected'"), {})
    output = tmp_path / "fits.parquet"
    options = ["--people", people_file, "--mattes", mattes, "--body", body_file, "--output", output]
    monkeypatch.setattr("sys.argv", ["fitting", *map(str, options)])
    fitting.main()
    assert list(read_table(output).columns) == schemas.FITS.names
    assert len(read_table(output)) == 0


def test_the_calibration_is_the_same_for_both_sides() -> None:
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    for left, right in ((2, 5), (7, 8), (11, 12), (23, 24), (31, 32)):
        torch.testing.assert_close(calibration().offsets[left] * mirror, calibration().offsets[right])
        assert calibration().landmark_std[left] == calibration().landmark_std[right] < 0.03


def test_bones_count_as_their_least_known_end(points: PointBody) -> None:
    truth = people(2)
    exact = observe(points, truth)
    weights = torch.ones(2, 33)
    weights[0, 13] = 0.1  # the left elbow
    observed = Observations.from_landmarks(exact.landmarks_2d, exact.landmarks_3d, weights)
    assert (observed.bone_depth_std[0] > exact.bone_depth_std[0]).sum() == 2  # upper arm and forearm
    assert (observed.bone_depth_std[1] == exact.bone_depth_std[1]).all()
    assert observed.landmark_std[0, 13] > 2 * exact.landmark_std[0, 13]
    farther = Observations.from_landmarks(
        exact.landmarks_2d, exact.landmarks_3d + torch.tensor([0.0, 0.0, 3.0]), weights
    )
    torch.testing.assert_close(farther.bone_depths, observed.bone_depths)  # of a bone, not from the camera


def test_what_is_seen_badly_is_uncertain(points: PointBody) -> None:
    truth = people(3)
    observed = observe(points, truth)
    weights = torch.ones(3, 33)
    weights[1, [13, 15, 17, 19]] = 0.02  # the second person's left arm is hidden
    spread = fit_bodies(
        points,
        Observations.from_landmarks(observed.landmarks_2d, observed.landmarks_3d, weights),
        iterations=40,
        samples=4,
    ).uncertainty
    assert spread.shape == (3, 24)
    assert (spread[:, 0] == 0).all()  # the pelvis is where it is measured from
    assert (spread[0, [7, 20]] > 0.01).all()
    assert spread[1, 20] > 1.5 * spread[1, 21]
    assert spread[0].max() < 0.5
    assert fit_bodies(points, observed, iterations=1).uncertainty.isnan().all()


@pytest.mark.slow
def test_frames_of_a_video_share_their_shape_across_batches(tmp_path: Path, body: Body, points: PointBody) -> None:
    people_file, mattes = write_inputs(tmp_path, body, points, people(4, seed=4))
    table = read_table(people_file).iloc[:3].copy()
    settings = Fitting(iterations=15, batch=2, uncertainty_samples=0, device="cpu")
    alone = to_table(fitting.fit_shard(table, ShardReader(mattes), body, settings), schemas.FITS)
    settings.temporal_sigma = 0.5
    photographs = to_table(fitting.fit_shard(table, ShardReader(mattes), body, settings), schemas.FITS)
    pd.testing.assert_frame_equal(alone, photographs)  # nothing to smooth
    table["path"], table["photo_id"] = "walk.mp4", [f"walk-1-f{10 * k:06d}" for k in range(3)]
    video = to_table(fitting.fit_shard(table, ShardReader(mattes), body, settings), schemas.FITS)
    shapes = np.stack(video["betas"])
    np.testing.assert_allclose(shapes, shapes[[0, 0, 0]])
    np.testing.assert_allclose(shapes[0], np.median(np.stack(alone["betas"]), axis=0), atol=1e-6)
    assert (video["status"] == "ok").sum() <= 3
    assert np.abs(np.stack(video["body_pose"]) - np.stack(alone["body_pose"])).max() > 1e-3


def crossed_arms() -> FitResult:
    """Somebody whose forearms lie in each other before the belly."""
    pose = pose_prior.USUAL.clone().view(23, 3)
    pose[15], pose[16] = torch.tensor([0.0, -0.9, -1.1]), torch.tensor([0.02, 0.9, 1.1])
    pose[17], pose[18] = torch.tensor([0.0, -1.6, 0.0]), torch.tensor([0.0, 1.6, 0.0])
    return replace(people(1), body_pose=pose.view(1, 69), betas=torch.zeros(1, 10))


def deepest(points: PointBody, fitted: FitResult) -> torch.Tensor:
    """How deep parts of the body lie in each other (metres), [B]."""
    points_3d, _ = pose_points(points, fitted)
    return overlap(points_3d[:, points.centres], points.min_distance).amax((1, 2))


def test_arms_that_pass_through_each_other_are_pushed_apart(open_body: Body) -> None:
    points, truth = reduce_body(open_body, samples=50), crossed_arms()
    assert deepest(points, truth) > 0.02
    observed = observe(points, truth)
    orient = axis_angle_to_matrix(truth.global_orient)
    objective, zero = FitObjective(points, observed, orient, truth.scale, truth.origin), torch.zeros(1)
    params = FitParams(truth.betas, truth.body_pose, torch.zeros(1, 3), zero, torch.zeros(1, 2), zero)
    params = minimise(objective, params, 80)
    turned, scale, origin = objective.camera(params)
    apart = replace(truth, body_pose=params.body_pose, betas=params.betas, scale=scale, origin=origin)
    apart = replace(apart, global_orient=matrix_to_axis_angle(turned))
    assert deepest(points, apart) < 0.5 * deepest(points, truth)
    moved = project(pose_points(points, apart)[1], scale, origin) - project(
        pose_points(points, truth)[1], truth.scale, truth.origin
    )
    assert moved.norm(dim=2).mean() < 0.02 * float(truth.scale)  # in depth, not in the picture


def test_people_at_ease_are_not_touched_by_what_keeps_parts_apart(open_body: Body) -> None:
    points = reduce_body(open_body, samples=50)
    rest = replace(people(1), body_pose=torch.zeros(1, 69), betas=torch.zeros(1, 10))
    walking = pose_prior.USUAL.clone().view(23, 3)
    walking[0], walking[1] = torch.tensor([-0.5, 0.0, 0.0]), torch.tensor([0.3, 0.0, 0.0])
    akimbo = pose_prior.USUAL.clone().view(23, 3)
    akimbo[15], akimbo[17] = torch.tensor([0.0, 0.2, -0.9]), torch.tensor([0.0, -1.2, 0.0])
    usual = pose_prior.USUAL.view(23, 3)
    for pose in (usual, walking, akimbo):
        truth = replace(rest, body_pose=pose.reshape(1, 69).clone().requires_grad_(True))
        depth = deepest(points, truth)
        assert depth == 0
        (slope,) = torch.autograd.grad(depth.sum(), truth.body_pose)
        assert (slope == 0).all()
    assert deepest(points, rest) == 0
