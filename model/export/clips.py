"""Motions as a rigged avatar plays them: turns of its joints and places of its pelvis over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ag3d.core.errors import printable
from ag3d.model.avatars.motion import Motion
from ag3d.model.avatars.motion_sources import BUILT_IN, named_motion
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_quaternion

# AMASS's world (z up, an upright body faces -y) to the avatar's (y up, facing +z).
_TO_AVATAR = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass
class Clip:
    """Frame f is shown at second f / fps."""

    name: str
    rotations: torch.Tensor  # [F,24,3,3] of each joint in its parent's frame
    pelvis: torch.Tensor  # [F,3] metres
    fps: float

    def __len__(self) -> int:
        return len(self.rotations)

    def quaternions(self) -> np.ndarray:
        """float32 [F,24,4] (x, y, z, w); neighbours in time have the sign that makes the shorter way between them."""
        real_first = matrix_to_quaternion(self.rotations.double()).numpy()
        out = real_first[..., [1, 2, 3, 0]]
        flips = np.where((out[1:] * out[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        out[1:] *= np.cumprod(flips, axis=0)
        return out.astype(np.float32)


def make_clip(motion: Motion, name: str, fps: float, travel: bool = False, closed: bool = False) -> Clip:
    """A motion at `fps` frames per second. Its pelvis stays over one place unless it may `travel`.

    With `closed`, the first frame is added at the end, so that a motion that repeats has no gap.
    """
    motion = motion.resampled(fps)
    rotations = axis_angle_to_matrix(torch.cat([motion.global_orient, motion.body_pose], 1).unflatten(1, (24, 3)))
    rotations[:, 0] = _TO_AVATAR @ rotations[:, 0]
    pelvis = (motion.trans - motion.trans[0]) @ _TO_AVATAR.T
    if not travel:
        pelvis[:, [0, 2]] = 0
    if closed:
        rotations, pelvis = torch.cat([rotations, rotations[:1]]), torch.cat([pelvis, pelvis[:1]])
    return Clip(name, rotations, pelvis, fps)


def read_clips(names: list[str], fps: float, travel: bool = False) -> list[Clip]:
    """Clips of motion files, fits of videos, and built-in motions by name. Raises UserError."""
    clips: list[Clip] = []
    for name in names:
        known = name in BUILT_IN
        short = name if known else printable(Path(name.rpartition("#")[2]).stem)
        same = sum(clip.name.split("#")[0] == short for clip in clips)
        clips.append(make_clip(named_motion(name), f"{short}#{same + 1}" if same else short, fps, travel, closed=known))
    return clips


def pose_transforms(clip: Clip, body: Body, rest: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Transforms [n,24,4,4] from a standing avatar whose joints are at `rest` [24,3] to the clip's frames [n]."""
    rotations, shift = clip.rotations[frames], clip.pelvis[frames]
    return body.forward_kinematics(rotations, rest[None].expand(len(frames), 24, 3), shift)[0]


def grounded(clip: Clip, body: Body, rest: torch.Tensor, points: torch.Tensor, weights: torch.Tensor) -> Clip:
    """The clip raised or lowered as a whole so that the lowest of the points [n,3] ever is on the ground (y = 0).

    rest: [24,3] joints; weights: [n,24] of the points, both of the standing avatar.
    """
    sampled = torch.linspace(0, len(clip) - 1, min(len(clip), 120)).round().long()
    transforms = pose_transforms(clip, body, rest, sampled)
    rows = weights @ transforms[:, :, 1].transpose(0, 1).flatten(1)  # of all frames in one product: [n,frames·4]
    lowest = float((rows.unflatten(1, (-1, 4)) * homogeneous(points)[:, None]).sum(2).amin())
    return Clip(clip.name, clip.rotations, clip.pelvis - torch.tensor([0.0, lowest, 0.0]), clip.fps)


def homogeneous(points: torch.Tensor) -> torch.Tensor:
    """[n,3] to [n,4]"""
    return torch.nn.functional.pad(points, (0, 1), value=1.0)
