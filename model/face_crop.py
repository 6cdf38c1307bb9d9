"""Face crops: squares around the projected face landmarks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ag3d.model.body import label as labels
from ag3d.model.body.body import Body


@torch.no_grad()
def face_centers(body: Body, label: torch.Tensor, ignore_scale: bool = False) -> torch.Tensor:
    """Centres [B,2] (x, y) of the faces in units of the image's side; the camera is the data's.

    `ignore_scale`: as in the reference, which poses the body for this without its scale.
    """
    parts = labels.split(label)
    head = body.head
    joint_pose = head(
        parts.betas, parts.body_pose, parts.global_orient, parts.transl, None if ignore_scale else parts.scale
    )
    return joint_pose.vertices.mean(1)[:, :2] * 0.5 + 0.5


def crop(images: torch.Tensor, centers: torch.Tensor, size: int) -> torch.Tensor:
    """Squares [B,C,size,size] of images [B,C,H,W] around centers [B,2], bilinear, zero outside.

    The first and last sample lie exactly ± size/2 pixels from the centre, integer coordinates being pixel centres.
    """
    height, width = images.shape[-2:]
    half = size // 2
    offset = torch.arange(size, device=images.device, dtype=torch.float32) * (2 * half / max(2 * half - 1, 1)) - half
    x = centers[:, :1] * height + offset
    y = centers[:, 1:] * height + offset
    grid = torch.stack(
        [
            (2 * x / (width - 1) - 1)[:, None, :].expand(-1, size, -1),
            (2 * y / (height - 1) - 1)[:, :, None].expand(-1, -1, size),
        ],
        dim=-1,
    )
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=True)
