"""The landmark network: symmetric, bounded, indifferent to place and size; its training and its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from ag3d.core.camera import project
from ag3d.core.errors import UserError
from ag3d.core.landmarks import MIRRORED_LANDMARKS
from ag3d.model.body.body import Body
from ag3d.preprocessing.fitting import landmark_model
from ag3d.preprocessing.fitting.landmark_model import INPUTS, LARGEST, USED, LandmarkNetwork
from ag3d.preprocessing.fitting.objective import hip_centre
from ag3d.preprocessing.fitting.reduced_body import reduce_body
from ag3d.preprocessing.helpers_training import landmark_training
from ag3d.preprocessing.helpers_training.landmark_training import Examples


@pytest.fixture(scope="module")
def landmarks(body_file: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of six people in poses near the usual one, upright in the picture, 200 pixels a metre."""
    random = torch.Generator().manual_seed(0)
    points = reduce_body(Body.load(body_file), samples=10)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(6, 3, 3)
    pose = 0.1 * torch.randn(6, 69, generator=random)
    points_3d, _ = points(torch.zeros(6, 10), upright, pose, 33)
    pixels = project(points_3d, torch.full((6,), 200.0), torch.tensor([[240.0, 320.0]]).expand(6, 2))
    return pixels, points_3d - hip_centre(points_3d), torch.rand(6, 33, generator=random)


def test_a_person_in_a_mirror_is_read_as_the_mirrored_person(landmarks) -> None:
    network = landmark_model.load()
    here = landmark_model.estimate(network, *landmarks)
    there = landmark_model.estimate(network, *landmark_model.mirrored(*landmarks))
    other = MIRRORED_LANDMARKS
    torch.testing.assert_close(
        there.offsets, (here.offsets * torch.tensor([-1.0, 1.0]))[:, other], atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(there.landmark_std, here.landmark_std[:, other], atol=1e-5, rtol=1e-4)
    bones, signs = landmark_model.mirrored_bones()
    assert sorted(bones) == list(range(len(landmark_model.BONES)))
    torch.testing.assert_close(
        there.bone_depths, here.bone_depths[:, bones] * torch.tensor(signs), atol=1e-5, rtol=1e-4
    )


def test_place_and_size_in_the_photograph_do_not_matter(landmarks) -> None:
    flat, solid, visibility = landmarks
    network = landmark_model.load()
    here = landmark_model.estimate(network, flat, solid, visibility)
    there = landmark_model.estimate(network, 3 * flat + 1000, solid, visibility)
    torch.testing.assert_close(there.offsets, here.offsets, atol=1e-5, rtol=1e-3)
    _, scale = landmark_model.network_inputs(flat, solid, visibility)
    torch.testing.assert_close(scale, torch.full((6,), 200.0), atol=2.0, rtol=0)


def test_corrections_of_nonsense_stay_small_and_finite(landmarks) -> None:
    flat, solid, visibility = landmarks
    random = torch.Generator().manual_seed(1)
    network = landmark_model.load()
    for wrong in (1e4 * torch.randn(flat.shape, generator=random), torch.zeros_like(flat)):
        estimate = landmark_model.estimate(network, wrong, solid, visibility)
        assert all(value.isfinite().all() for value in vars(estimate).values())
        assert estimate.offsets.abs().max() <= LARGEST
        assert (estimate.landmark_std[:, USED] >= 0.003).all()
        assert (estimate.bone_depth_std >= 0.009).all()


def test_it_learns_what_depends_on_the_person() -> None:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, INPUTS, generator=random)
    offsets = 0.02 * inputs[:, :1, None].expand(-1, len(USED), 2)
    depths = 0.05 * inputs[:, 1:2].expand(-1, len(landmark_model.BONES))
    examples, held_out_people = (Examples(inputs[k], offsets[k], depths[k]) for k in (slice(0, 320), slice(320, 400)))
    network = landmark_training.train(examples, steps=250, batch=32, rate=2e-3, seed=0)
    before, after = landmark_training.score(None, held_out_people), landmark_training.score(network, held_out_people)
    assert after["landmarks"] < 0.6 * before["landmarks"]
    assert after["depths"] < 0.6 * before["depths"]
    again = landmark_training.train(examples, steps=20, batch=32, rate=2e-3, seed=0)
    same = landmark_training.train(examples, steps=20, batch=32, rate=2e-3, seed=0)
    torch.testing.assert_close(again.layers[0].weight, same.layers[0].weight)


def test_what_comes_with_the_project_is_small_and_better_than_nothing() -> None:
    path = landmark_model.WEIGHTS_FILE
    assert path.stat().st_size < 200_000
    card = json.loads(path.with_suffix(".json").read_text())
    held_out = card["held_out"]
    assert held_out["data_set"] not in card["trained_on"]["data_sets"]
    for name in ("landmarks", "depths"):
        assert held_out["network"][name] < held_out["blazepose"][name]


def test_files_that_are_none_of_its_own_are_refused(tmp_path: Path) -> None:
    shutil.copy(landmark_model.WEIGHTS_FILE, tmp_path / "other.safetensors")
    (tmp_path / "other.json").write_text('{"format": "something else"}')
    with pytest.raises(UserError, match=r"other\.json is no card of a landmark network"):
        landmark_model.load(tmp_path / "other.safetensors")
    landmark_model.save(LandmarkNetwork(), {}, tmp_path / "new.safetensors")
    assert isinstance(landmark_model.load(tmp_path / "new.safetensors"), LandmarkNetwork)


def test_training_wants_a_truth_and_somebody_to_judge_by(tmp_path: Path, body_file: Path, monkeypatch) -> None:
    options = ["--body", str(body_file), "--output", str(tmp_path / "w.safetensors")]
    monkeypatch.setattr("sys.argv", ["train", str(tmp_path), *options])
    with pytest.raises(UserError, match="at least two data sets"):
        landmark_training.main()
    monkeypatch.setattr("sys.argv", ["train", str(tmp_path), str(tmp_path), *options])
    with pytest.raises(UserError, match="has no truth"):
        landmark_training.main()
