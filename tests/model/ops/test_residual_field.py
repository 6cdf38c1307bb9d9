"""The residual field and its written-out backward pass against autograd through grid sampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ag3d.model.networks.decoder import Decoder
from ag3d.model.ops import residual_field as fields
from ag3d.model.ops import triplane
from ag3d.model.ops.residual_field import residual_field
from ag3d.model.ops.triplane import texel_table


def plain(tri: torch.Tensor, points: torch.Tensor, image: torch.Tensor, decoder: Decoder):
    """The twin: grid sampling, the decoder as a module, the gradient by autograd and differentiable once more."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        found = []
        for plane, axes in enumerate(triplane.AXES):
            at = points[:, axes]
            value, jacobian = _bilinear(tri[:, plane], at, image)
            found.append((value, jacobian, axes))
        mean = sum(value for value, _, _ in found) / 3
        residual, color = decoder(mean)
        (slope,) = torch.autograd.grad(residual.sum(), mean, create_graph=True)
        gradient = torch.zeros(len(points), 3, dtype=tri.dtype)
        for _, jacobian, axes in found:
            along = torch.einsum("nac,nc->na", jacobian, slope) / 3
            gradient = gradient.index_add(1, torch.tensor(axes), along)
    return residual, color, gradient


def _bilinear(plane: torch.Tensor, at: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [n,C] and their jacobian [n,2,C] by exact differences: a bilinear function is linear along each axis."""
    side, tiny = plane.shape[-1], 1e-4

    def look(where: torch.Tensor) -> torch.Tensor:
        grid = where[:, None, None]
        return F.grid_sample(plane[image], grid, align_corners=False)[:, :, 0, 0]

    steps = [torch.tensor([tiny, 0.0], dtype=at.dtype), torch.tensor([0.0, tiny], dtype=at.dtype)]
    assert side * tiny < 0.1
    jacobian = torch.stack([(look(at + step) - look(at - step)) / (2 * tiny) for step in steps], dim=1)
    return look(at), jacobian


def inside_cells(count: int, side: int) -> torch.Tensor:
    """Points [n,3] in [-1.2,1.2], away from the cells' edges, where the derivative jumps."""
    cell = torch.randint(-2, side + 1, (count, 3)).double()
    return (cell + 0.5 + 0.1 + 0.8 * torch.rand(count, 3, dtype=torch.float64)) * 2 / side - 1


@pytest.mark.parametrize("chunk", [7, 1000])
def test_values_and_gradients_equal_the_plain_twin(monkeypatch, chunk):
    monkeypatch.setattr(fields, "_CHUNK", chunk)
    torch.manual_seed(0)
    tri = torch.randn(2, 3, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    decoder = Decoder(5, 16, 6).double()
    points, image = inside_cells(60, 8), torch.randint(0, 2, (60,))
    ours = residual_field(texel_table(tri), decoder.weights(), points, image)
    expected = plain(tri, points, image, decoder)
    for mine, theirs in zip(ours, expected):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    weights = [torch.randn_like(value) for value in expected]
    tensors = [tri, *decoder.parameters()]

    def gradients(values):
        return torch.autograd.grad(sum((w * v).sum() for w, v in zip(weights, values)), tensors)

    for mine, theirs in zip(gradients(ours), gradients(expected)):
        assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("color", "gradient"), [(False, False), (True, False), (False, True)])
def test_what_is_not_asked_for_is_left_out(color, gradient):
    torch.manual_seed(0)
    tri = torch.randn(1, 3, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    decoder = Decoder(5, 16, 6).double()
    points, image = inside_cells(20, 8), torch.zeros(20, dtype=torch.long)
    whole = residual_field(texel_table(tri), decoder.weights(), points, image)
    part = residual_field(texel_table(tri), decoder.weights(), points, image, color, gradient)
    assert_close(part.value, whole.value)
    assert part.color.shape == (20, 6 if color else 0)
    assert part.gradient.shape == (20, 3 if gradient else 0)
    (mine,) = torch.autograd.grad(part.value.sum(), tri)
    (theirs,) = torch.autograd.grad(whole.value.sum(), tri)
    assert_close(mine, theirs)
