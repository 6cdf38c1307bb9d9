"""Rotations as axis-angle vectors (radians) and matrices."""

from __future__ import annotations

import torch


def axis_angle_to_matrix(rotation: torch.Tensor) -> torch.Tensor:
    """[...,3] to [...,3,3] by Rodrigues' formula. As in SMPL, 1e-8 is added before the norm, which keeps zero differentiable."""
    angle = torch.linalg.vector_norm(rotation + 1e-8, dim=-1, keepdim=True)
    x, y, z = (rotation / angle).unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(*rotation.shape[:-1], 3, 3)
    angle = angle[..., None]
    return (
        torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        + angle.sin() * skew
        + (1 - angle.cos()) * skew @ skew
    )


def matrix_to_axis_angle(matrix: torch.Tensor) -> torch.Tensor:
    """[...,3,3] to [...,3], exact near 0 and near π, through the unit quaternion."""
    quaternion = matrix_to_quaternion(matrix)
    vector = quaternion[..., 1:]
    sine = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    return vector * torch.where(sine > 1e-7, angle / sine.clamp_min(1e-12), torch.full_like(sine, 2.0))


def matrix_to_quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """[...,3,3] to unit quaternions [...,4] (real part first, not negative)."""
    m = matrix
    trace = torch.stack(
        [
            m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2],
            m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2],
            m[..., 1, 1] - m[..., 0, 0] - m[..., 2, 2],
            m[..., 2, 2] - m[..., 0, 0] - m[..., 1, 1],
        ],
        dim=-1,
    )
    scale = (1 + trace).clamp_min(1e-12).sqrt()  # 2|w|, 2|x|, 2|y|, 2|z|
    w, x, y, z = scale.unbind(-1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([w * w, a, b, c], dim=-1) / w[..., None],
            torch.stack([a, x * x, d, e], dim=-1) / x[..., None],
            torch.stack([b, d, y * y, f], dim=-1) / y[..., None],
            torch.stack([c, e, f, z * z], dim=-1) / z[..., None],
        ],
        dim=-2,
    )
    # The largest of the four is the best conditioned.
    best = trace.argmax(dim=-1, keepdim=True)[..., None].expand(*trace.shape[:-1], 1, 4)
    quaternion = torch.nn.functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def slerp(first: torch.Tensor, second: torch.Tensor, share: float | torch.Tensor) -> torch.Tensor:
    """Axis-angle [...,3] a share of the shorter way from `first` to `second`."""
    return compose_axis_angles(first, compose_axis_angles(-first, second) * share)


def compose_axis_angles(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Axis-angle [...,3] of the rotation `second` followed by `first`."""
    return matrix_to_axis_angle(axis_angle_to_matrix(first) @ axis_angle_to_matrix(second))


def rotation_between(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The least rotation [...,3,3] that takes unit vectors `first` to `second` [...,3]."""
    axis = torch.linalg.cross(first, second)
    sine = axis.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, (first * second).sum(-1, keepdim=True))
    return axis_angle_to_matrix(axis / sine.clamp_min(1e-8) * angle)


def inverse_3x3(matrix: torch.Tensor) -> torch.Tensor:
    """[…,3,3] to its inverse, without the check of torch.linalg.inv, for which the processor would wait for a GPU."""
    a, b, c = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-2)
    return rows / (a * rows[..., 0, :]).sum(-1)[..., None, None]


def batched_matvec(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Matrices [n,r,3] times vectors [n,3], as each device does many small products fastest: [n,r]."""
    if matrix.is_cuda:
        return (matrix * vector[:, None, :]).sum(2)
    return torch.bmm(matrix, vector[:, :, None]).squeeze(2)
