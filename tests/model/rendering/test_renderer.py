"""Rays, sampling, compositing and tri-planes against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ag3d.model import face_crop
from ag3d.model.body import label as labels
from ag3d.model.ops import composite as compositing
from ag3d.model.ops import triplane
from ag3d.model.ops.composite import composite, interval_weights, sample_weights
from ag3d.model.ops.importance_sampling import importance
from ag3d.model.rendering.rays import camera_rays, stratified


def test_rays_hit_the_image_plane_where_labels_say():
    cam2world, intrinsics = labels.camera(2)
    origins, directions, _ = camera_rays(cam2world, intrinsics, 8)
    at = origins + directions * (-origins[..., 2:] / directions[..., 2:])  # z = 0
    centers = (torch.arange(8) + 0.5) / 8 * 2 - 1
    assert_close(at[0].view(8, 8, 3)[:, :, 0], centers.expand(8, 8), atol=1e-4, rtol=0)
    assert_close(at[1].view(8, 8, 3)[:, :, 1], centers[:, None].expand(8, 8), atol=1e-4, rtol=0)
    assert_close(directions.norm(dim=-1), torch.ones(2, 64))


def test_strata():
    start, end = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])
    middle = stratified(start, end, 5, 3, deterministic=True)
    assert_close(middle[0, 0], torch.arange(5) / 4 + 0.125)
    torch.manual_seed(0)
    drawn = stratified(start, end, 5, 3, deterministic=False)
    low = start[:, None, None] + (end - start)[:, None, None] * torch.arange(5) / 4
    assert ((drawn >= low) & (drawn <= low + (end - start)[:, None, None] / 4)).all()
    assert (drawn.diff(dim=-1) >= 0).all()


def test_importance_samples_go_where_the_weight_is():
    depths = torch.linspace(0, 1, 33).expand(2, 33)
    weights = torch.zeros(2, 32)
    weights[0, 8] = 1.0
    weights[1, 24] = 1.0
    fine = importance(depths, weights, 64, deterministic=True)
    assert abs(fine[0].median() - 0.27) < 0.06
    assert abs(fine[1].median() - 0.77) < 0.06
    assert (fine.diff(dim=-1) >= 0).all()


def test_marching_a_constant_density():
    depths = torch.linspace(0, 2, 200)[None].double()
    density = torch.full_like(depths, 1.5)
    weights = interval_weights(density, depths)
    assert_close(weights.sum(1), torch.tensor([1 - math.exp(-3.0)], dtype=torch.float64))
    seen = (weights * (depths[:, 1:] + depths[:, :-1]) / 2).sum() / weights.sum()
    expected = 1 / 1.5 - 2 * math.exp(-3) / (1 - math.exp(-3))  # mean of a truncated exponential
    assert abs(seen - expected) < 1e-4


def test_packed_compositing_equals_dense():
    torch.manual_seed(0)
    depths = torch.rand(6, 10).sort(1).values
    density, values = torch.rand(6, 10) * 5, torch.rand(6, 10, 4)
    empty = torch.rand(6, 10) < 0.5
    density, values = density.masked_fill(empty, 0), values.masked_fill(empty[..., None], 0)
    weights = interval_weights(density, depths)
    dense = (weights[..., None] * (values[:, 1:] + values[:, :-1]) / 2).sum(1)
    place = torch.nonzero(~empty.flatten()).squeeze(1)
    share = sample_weights(weights).view(-1)[place]
    assert_close(composite(values.view(-1, 4)[place], place // 10, share, 6), dense)


def test_composite_in_parts_has_the_derivatives_of_a_sum(monkeypatch):
    monkeypatch.setattr(compositing, "_CHUNK", 7)
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(40, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    share = torch.rand(40, generator=generator, dtype=torch.float64, requires_grad=True)
    ray = torch.randint(0, 6, (40,), generator=generator)
    plain = torch.zeros(6, 5, dtype=torch.float64).index_add(0, ray, values * share[:, None])
    assert_close(composite(values, ray, share, 6), plain)
    outer = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(plain, (values, share), outer)
    found = torch.autograd.grad(composite(values, ray, share, 6), (values, share), outer)
    assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda v, s: composite(v, ray, s, 6), (values, share))


def dense_features(tri: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The plain twin: three grid samplings."""
    found = [
        F.grid_sample(tri[:, plane], points[None, None, :, axes], align_corners=False)[0, :, 0].T
        for plane, axes in enumerate(triplane.AXES)
    ]
    return torch.stack(found).mean(0)


def test_plane_features_and_derivatives_equal_autograd():
    torch.manual_seed(0)
    tri = torch.randn(1, 3, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(200, 3, dtype=torch.float64) * 2.4 - 1.2).requires_grad_()
    image = torch.zeros(200, dtype=torch.long)
    expected = dense_features(tri, points)
    weights = torch.randn_like(expected)
    by_point, by_plane = torch.autograd.grad((expected * weights).sum(), (points, tri))
    rows, side = triplane.texel_table(tri)
    at = triplane.stencil(points.detach(), image, side)
    ours = triplane.gather(rows, at, at.weights())
    assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    assert_close(
        torch.einsum("ndc,nc->nd", triplane.feature_gradients(rows, at), weights), by_point, rtol=1e-5, atol=1e-5
    )
    for function in (triplane.point_gradient_cpu, triplane.point_gradient_reference):
        assert_close(function(rows, at, weights), by_point, rtol=1e-5, atol=1e-5)
    for function in (triplane.scatter_back_cpu, triplane.scatter_back_reference):
        scattered = function(len(rows), at, [(at.weights(), weights)])
        (gradient,) = torch.autograd.grad(rows, tri, scattered, retain_graph=True)
        assert_close(gradient, by_plane, rtol=1e-5, atol=1e-5)


def test_points_belong_to_their_own_image():
    tri = torch.zeros(2, 3, 4, 8, 8)
    tri[1] = 1
    rows, side = triplane.texel_table(tri)
    at = triplane.stencil(torch.zeros(4, 3), torch.tensor([0, 1, 1, 0]), side)
    found = triplane.gather(rows, at, at.weights())
    assert_close(found[:, 0], torch.tensor([0.0, 1, 1, 0]))


@pytest.mark.parametrize("size", [8, 16])
def test_face_crop_places_samples_exactly(size):
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)  # value = column
    crop = face_crop.crop(ramp, torch.tensor([[0.5, 0.5]]), size)
    expected = 32 - size // 2 + torch.arange(size) * size / (size - 1)
    assert_close(crop[0, 0, 0], expected)
    outside = face_crop.crop(ramp + 1, torch.tensor([[0.0, 0.5]]), size)
    assert (outside[0, 0, :, 0] == 0).all()


def test_face_centers_are_on_the_face(tiny_body):
    label = labels.canonical_label()
    center = face_crop.face_centers(tiny_body, label)
    landmarks = tiny_body.from_label(label).landmarks.mean(1)
    assert_close(center, landmarks[:, :2] * 0.5 + 0.5)
