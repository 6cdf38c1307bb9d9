"""Smooth the fits of a video's frames: one person, one shape, and movements without jitter."""

from __future__ import annotations

import re
from collections import defaultdict

import pandas as pd
import torch
from torch import Tensor

from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from ag3d.preprocessing.fitting.optimise import FitResult
from ag3d.preprocessing.photos.video import is_video


def smooth(fits: FitResult, people: pd.DataFrame, sigma: float) -> FitResult:
    """`fits`, with the frames of each video of `people` (a row each) averaged under a Gaussian of a standard deviation of
    `sigma` sampled frames. The shape becomes the video's median."""
    smoothed = fits.map(Tensor.clone)
    for rows, times in videos(people):
        video = fits[rows]
        kernel = torch.exp(-0.5 * ((times[:, None] - times) / sigma).square()).to(video.scale)
        kernel = kernel / kernel.sum(1, keepdim=True)
        for target, turns in ((smoothed.global_orient, video.global_orient), (smoothed.body_pose, video.body_pose)):
            rotations = axis_angle_to_matrix(turns.unflatten(1, (-1, 3)))
            target[rows] = matrix_to_axis_angle(mean_rotation(kernel, rotations)).flatten(1)
        smoothed.scale[rows] = (kernel @ video.scale.log()).exp()
        smoothed.origin[rows] = kernel @ video.origin
        smoothed.betas[rows] = video.betas.median(0).values
    return smoothed


def videos(people: pd.DataFrame) -> list[tuple[Tensor, Tensor]]:
    """Of each video with several frames: its rows, and when they were taken (sampled frames)."""
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, (path, name) in enumerate(zip(people["path"], people["photo_id"], strict=True)):
        frame = re.search(r"-f(\d+)$", name)
        if is_video(path) and frame:
            groups[path].append((row, int(frame.group(1))))
    frames = []
    for group in groups.values():
        if len(group) > 1:
            rows, numbers = (torch.tensor(part) for part in zip(*group, strict=True))
            step = numbers.sort().values.diff().min().clamp_min(1)
            frames.append((rows, numbers / step))
    return frames


def mean_rotation(kernel: Tensor, rotations: Tensor) -> Tensor:
    """Weighted means [F,J,3,3] of `rotations` [F,J,3,3] over frames, `kernel` [F,F]: the nearest rotations to the means of
    the matrices."""
    mean = torch.einsum("fg,gjkl->fjkl", kernel, rotations)
    u, _, vt = torch.linalg.svd(mean)
    proper = torch.linalg.det(u @ vt).sign()
    u = torch.cat([u[..., :2], u[..., 2:] * proper[..., None, None]], dim=-1)
    return u @ vt
