"""The 111 numbers that label an image: camera and body (AG3D's layout)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ag3d.core.camera import CAMERA_DISTANCE, FOCAL
from ag3d.core.dataset_format import LABEL_LENGTH
from ag3d.core.landmarks import MIRRORED_JOINTS

LENGTH = LABEL_LENGTH
_SIZES = {"cam2world": 16, "intrinsics": 9, "scale": 1, "transl": 3, "global_orient": 3, "body_pose": 69, "betas": 10}


@dataclass
class CameraAndSmpl:
    """Parts of labels [B,111]. World: x right, y down, z away from the camera; the image shows x, y in [-1,1]."""

    cam2world: Tensor  # [B,4,4], OpenCV axes
    intrinsics: Tensor  # [B,3,3], in units of the image's size
    scale: Tensor  # [B]
    transl: Tensor  # [B,3] metres
    global_orient: Tensor  # [B,3] axis-angle
    body_pose: Tensor  # [B,69] axis-angle of 23 joints
    betas: Tensor  # [B,10]

    def pack(self) -> Tensor:
        """[B,111]"""
        batch = len(self.transl)
        return torch.cat([getattr(self, name).reshape(batch, size) for name, size in _SIZES.items()], dim=1)


def split(label: Tensor) -> CameraAndSmpl:
    """Labels [B,111] into their parts (views of the same memory)."""
    if label.ndim != 2 or label.shape[1] != LENGTH:
        raise ValueError(f"a label has {LENGTH} numbers: expected [B,{LENGTH}], got {list(label.shape)}")
    cam2world, intrinsics, scale, *rest = label.split(list(_SIZES.values()), dim=1)
    return CameraAndSmpl(cam2world.reshape(-1, 4, 4), intrinsics.reshape(-1, 3, 3), scale[:, 0], *rest)


def camera(batch: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """The data's camera: cam2world [B,4,4] at z = -100 looking along +z, and intrinsics [B,3,3] that show x, y in [-1,1]."""
    cam2world = torch.eye(4, device=device).repeat(batch, 1, 1)
    cam2world[:, 2, 3] = -CAMERA_DISTANCE
    intrinsics = torch.tensor([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]], device=device).repeat(batch, 1, 1)
    return cam2world, intrinsics


def pack(transl: Tensor, global_orient: Tensor, body_pose: Tensor, betas: Tensor) -> Tensor:
    """Labels [B,111] of bodies of scale 1 seen by the data's camera."""
    view, scale = camera(len(transl), transl.device), transl.new_ones(len(transl))
    return CameraAndSmpl(*view, scale, transl, global_orient, body_pose, betas).pack().float()


def canonical_label(batch: int = 1, betas: Tensor | None = None) -> Tensor:
    """The body in its zero pose (arms out), upright, facing the camera: [B,111]."""
    orient = torch.tensor([[math.pi, 0, 0]]).repeat(batch, 1)
    transl = torch.tensor([[0, 0.15, 0]]).repeat(batch, 1)
    return pack(transl, orient, torch.zeros(batch, 69), torch.zeros(batch, 10) if betas is None else betas)


# Joints of body_pose (the root is not among them), exchanged by a reflection.
_MIRRORED_POSE = [joint - 1 for joint in MIRRORED_JOINTS[1:]]


def mirror(label: Tensor) -> Tensor:
    """The labels [B,111] of the images flipped left to right (cameras that look along z only)."""
    parts = split(label)
    flip = label.new_tensor([1.0, -1.0, -1.0])
    pose = parts.body_pose.view(-1, 23, 3)[:, _MIRRORED_POSE] * flip
    transl = parts.transl * label.new_tensor([-1.0, 1.0, 1.0])
    orient = parts.global_orient * flip
    return replace(parts, transl=transl, global_orient=orient, body_pose=pose.flatten(1)).pack()
