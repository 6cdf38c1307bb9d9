"""Frames of a video lose their jitter, not their movement; photographs and other videos do not matter."""

from __future__ import annotations

import pandas as pd
import torch

from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting.optimise import FitResult
from ag3d.preprocessing.fitting.temporal_smoothing import mean_rotation, smooth, videos
from ag3d.preprocessing.photos.photo_index import frame_id

FRAMES = 21


def walk(jitter: float) -> tuple[FitResult, pd.DataFrame]:
    """Somebody who turns by 4° a frame and grows in the picture, then a photograph."""
    random = torch.Generator().manual_seed(0)
    time = torch.arange(FRAMES + 1.0)
    turn = torch.stack([0 * time, 0.07 * time, 0 * time], 1)

    def noise(*shape: int) -> torch.Tensor:
        return jitter * torch.randn(FRAMES + 1, *shape, generator=random)

    fits = FitResult(
        betas=noise(10),
        body_pose=0.3 + noise(69),
        global_orient=turn + noise(3),
        scale=200 * (1 + 0.01 * time) * noise().exp(),
        origin=torch.stack([100 + 3 * time, 0 * time], 1) + 20 * noise(2),
        uncertainty=torch.full((FRAMES + 1, 24), torch.nan),
    )
    names = [frame_id("a-1", 10 * k) for k in range(FRAMES)] + ["photo-2"]
    return fits, pd.DataFrame({"photo_id": names, "path": ["a.mp4"] * FRAMES + ["photo.jpg"]})


def angles(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    relative = axis_angle_to_matrix(a).mT @ axis_angle_to_matrix(b)
    return torch.rad2deg(torch.arccos(((relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)))


def test_jitter_goes_and_movement_stays() -> None:
    (still, people), (shaky, _) = walk(0), walk(0.1)
    fits = smooth(shaky, people, 1.5)
    inner = slice(4, FRAMES - 4)
    for name in ("global_orient", "body_pose"):
        true, before, after = (getattr(f, name)[inner].reshape(-1, 3) for f in (still, shaky, fits))
        assert angles(after, true).mean() < 0.65 * angles(before, true).mean()
    assert (fits.origin - still.origin)[inner].abs().mean() < 0.6 * (shaky.origin - still.origin)[inner].abs().mean()
    assert (fits.scale / still.scale - 1)[inner].abs().mean() < 0.05
    assert (fits.betas[:FRAMES] == fits.betas[0]).all()
    for name, value in vars(fits).items():  # the photograph is as it was
        torch.testing.assert_close(value[-1], getattr(shaky, name)[-1], equal_nan=True)


def test_missing_frames_keep_their_time() -> None:
    _, people = walk(0)
    rows, times = videos(people.drop([3, 4]).reset_index(drop=True))[0]
    assert times.tolist() == [0, 1, 2, *range(5, FRAMES)]
    assert rows.tolist() == list(range(FRAMES - 2))


def test_the_mean_of_half_turns_is_a_rotation() -> None:
    turns = axis_angle_to_matrix(torch.tensor([[0.0, 3.1, 0.0], [0.0, -3.1, 0.0]]))[:, None]
    mean = mean_rotation(torch.full((2, 2), 0.5), turns)[0, 0]
    torch.testing.assert_close(mean @ mean.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(mean, axis_angle_to_matrix(torch.tensor([0.0, torch.pi, 0.0])), atol=1e-4, rtol=0)
