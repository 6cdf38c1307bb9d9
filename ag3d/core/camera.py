"""The data's camera, and how points of the world come onto images."""

from __future__ import annotations

from torch import Tensor

CAMERA_DISTANCE = 100.0  # world units from the camera to the world's origin, along +z
FOCAL = 50.0  # in units of the image's side: at that distance x, y in [-1,1] fill the image


def project(points: Tensor, scale: Tensor, origin: Tensor) -> Tensor:
    """Points [...,P,3] (x right, y down, z away) seen by the data's camera, nearly in weak perspective: pixels [...,P,2].

    scale [...]: pixels per world unit at z = 0; origin [...,2]: the pixel of the world's origin.
    """
    flat = scale[..., None, None] * points[..., :2] / (1 + points[..., 2:] / CAMERA_DISTANCE)
    return origin[..., None, :] + flat


def project_pinhole(points: Tensor, cam2world: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """World points [B,P,3] seen by cameras cam2world [B,4,4] (OpenCV axes), intrinsics [B,3,3]: in the cameras' axes
    [B,P,3], and on the images [B,P,2] in the intrinsics' unit."""
    local = (points - cam2world[:, None, :3, 3]) @ cam2world[:, :3, :3]
    return local, ((local / local[..., 2:]) @ intrinsics.transpose(1, 2))[..., :2]
