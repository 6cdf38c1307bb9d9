"""From a fit in the photograph to the label's frame: scale 1, a square window of the photograph as world [-1,1]²."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ag3d.model.body.body import Body
from ag3d.preprocessing.fitting.objective import CAMERA_DISTANCE
from ag3d.preprocessing.fitting.optimise import Fit

EDGE = 0.98  # the body is moved inside this part of the window, where it can be


@dataclass
class Frame:
    """Windows of B people. World units are metres: `half` is also the number of pixels per metre."""

    centre: Tensor  # [B,2] pixels of the photograph
    half: Tensor  # [B] pixels
    transl: Tensor  # [B,3]
    vertices: Tensor  # [B,V,3] world
    joints: Tensor  # [B,24,3] world

    def pixels(self, points: Tensor) -> Tensor:
        """World points [B,P,3] to pixels of the photograph [B,P,2]."""
        flat = points[..., :2] / (1 + points[..., 2:] / CAMERA_DISTANCE)
        return self.centre[:, None] + self.half[:, None, None] * flat

    def reach(self) -> Tensor:
        """Largest |x| or |y| of the body in the image, [B]; above 1 it is cut off by the window."""
        flat = self.vertices[..., :2] / (1 + self.vertices[..., 2:] / CAMERA_DISTANCE)
        return flat.abs().amax((1, 2))


def frame(body: Body, fit: Fit) -> Frame:
    """Put the pelvis where that of an upright person in the middle of the image is, and no part outside where possible.

    With SMPL's rest pose that is transl = (0, 0.15, 0), as in the reference's labels. In depth the body lies around
    z = 0, since the network renders a slab about it.
    """
    none = torch.zeros(len(fit.betas), 3, device=fit.betas.device)
    posed = body(fit.betas, fit.body_pose, fit.global_orient, none)
    transl = none.clone()
    pelvis = posed.joints[:, 0]
    transl[:, 0] = -pelvis[:, 0]
    transl[:, 1] = pelvis_height(body) - pelvis[:, 1]
    transl[:, 2] = -posed.vertices[..., 2].mean(1)
    vertices = posed.vertices + transl[:, None]
    low, high = vertices[..., :2].amin(1), vertices[..., :2].amax(1)
    inward = (-EDGE - low).clamp_min(0) - (high - EDGE).clamp_min(0)
    middle = -(low + high) / 2
    inward = torch.where(high - low > 2 * EDGE, middle, inward)
    transl[:, :2] += inward
    vertices[..., :2] += inward[:, None]
    joints = posed.joints[:, :24] + transl[:, None]
    half = fit.scale * (1 + transl[:, 2] / CAMERA_DISTANCE)  # what moves away shrinks, a little
    return Frame(fit.origin - half[:, None] * transl[:, :2], half, transl, vertices, joints)


def pelvis_height(body: Body) -> float:
    """World y of the pelvis when the upright mean body is centred in the image (y down)."""
    y = body.v_template[:, 1]
    return float((y.max() + y.min()) / 2 - (body.J_regressor @ body.v_template)[0, 1])


def height(body: Body, betas: Tensor) -> Tensor:
    """Standing height [B] (metres) of shapes [B,10]."""
    y = body.v_template[:, 1] + torch.einsum("vi,bi->bv", body.shapedirs[:, 1], betas)
    return y.amax(1) - y.amin(1)
