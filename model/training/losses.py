"""The losses, as pure functions (AG3D section 3.4; the reference's weights and its quirks are arguments)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ag3d.model.generator import Generator

# Which head sees an input.
HEAD_OF = {"image": "full", "image_raw": "full", "image_normal": "normal", "face": "face", "face_normal": "normal_face"}
BODY_POINTS = 1000  # of a person, at or near the canonical body's vertices
PRIOR_STD = 0.05  # metres, of the body prior's points around the body's surface
PRIOR_SCALE = 0.05  # metres: a residual that counts as one
MIN_COLOR_DIFFERENCE = 0.01  # of colours in [0,1]: below it the diversity loss hardly grows


def head_weights(
    normal_weight: float = 1.0, face_weight: float = 1.0, face_normal_weight: float = -1.0
) -> dict[str, float]:
    """The heads' weights. The faces' normals have normal_weight · face_weight where `face_normal_weight` < 0."""
    both = face_normal_weight if face_normal_weight >= 0 else normal_weight * face_weight
    return {"full": 1.0, "normal": normal_weight, "face": face_weight, "normal_face": both}


def total_logit(logits: dict[str, Tensor], weights: dict[str, float] | None = None) -> Tensor:
    """The sum [B,1] of the heads' logits, each times its weight (see `head_weights`; without, all of them one)."""
    return torch.stack([(weights[key] if weights else 1.0) * value for key, value in logits.items()]).sum(0)


def adversarial(
    loss: Callable[[Tensor], Tensor], logits: dict[str, Tensor], weights: dict[str, float], apart: bool
) -> Tensor:
    """`loss` [B,1] of the heads' logits [B,1]: of their weighted sum, or with `apart` the weighted sum of each head's.

    In a sum one head that is sure silences the others: softplus is flat where the sum is large, so they learn no more
    and have nothing to teach.
    """
    if apart:
        return total_logit({key: loss(value) for key, value in logits.items()}, weights)
    return loss(total_logit(logits, weights))


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating: softplus(-logit), [B,1]."""
    return F.softplus(-fake)


def discriminator_fake_loss(fake: Tensor) -> Tensor:
    return F.softplus(fake)


def discriminator_real_loss(real: Tensor) -> Tensor:
    return F.softplus(-real)


def r1_penalty(real: Tensor, inputs: dict[str, Tensor], weights: dict[str, float] | None = None) -> Tensor:
    """Squared gradient norm [B] of the real logits by everything that the discriminators see; differentiable.

    `weights`: the heads', by which the squares of the inputs that each sees count.
    """
    gradients = torch.autograd.grad(real.sum(), list(inputs.values()), create_graph=True, allow_unused=True)
    share = {name: 1.0 if weights is None else weights[HEAD_OF[name]] for name in inputs}
    squares = [share[name] * g.square().flatten(1).sum(1) for name, g in zip(inputs, gradients) if g is not None]
    return torch.stack(squares).sum(0)


def eikonal(gradient: Tensor, empty: Tensor | int = 0) -> Tensor:
    """Mean of (|∇s| - 1)² over packed gradients [n,3] and `empty` further samples, whose gradient counts as zero."""
    if len(gradient) == 0:
        return gradient.sum()
    # The norm's derivative at zero is not defined; a sample there pushes in no direction.
    error = (torch.linalg.vector_norm(gradient, dim=1) - 1).square()
    return (error.sum() + empty) / (len(gradient) + empty)


def density_points(batch: int, points: int, jitter: float, device: torch.device) -> Tensor:
    """Random canonical points [B,2·points,3]: uniform in [-1,1]³, and each again beside itself."""
    first = torch.rand(batch, points, 3, device=device) * 2 - 1
    return torch.cat([first, first + torch.randn_like(first) * jitter], dim=1)


def density_variation(generator: Generator, ws: Tensor, points: Tensor, planes: Tensor | None = None) -> Tensor:
    """Mean difference of the density at neighbouring points, as `density_points` gives them."""
    density = generator.field(points, ws, planes=planes, sdf_only=True)["density"]
    first, second = density.chunk(2, dim=1)
    return (first - second).abs().mean()


def minimal_surface(sdf: Tensor, sharpness: float = 100.0) -> Tensor:
    """Mean of exp(-sharpness·|s|): discourages zero crossings that no image asks for (StyleSDF)."""
    return torch.exp(-sharpness * sdf.abs()).mean()


def body_sdf_prior(generator: Generator, ws: Tensor, planes: Tensor | None = None) -> Tensor:
    """Mean of (residual / 0.05 m)² at random points around the canonical body's vertices.

    A prior that the clothed surface is near the body's: without it, short trainings wear limbs away.
    """
    vertices = generator.deformer.vertices
    index = torch.randint(len(vertices), (len(ws), BODY_POINTS), device=ws.device)
    points = vertices[index] + PRIOR_STD * torch.randn(len(ws), BODY_POINTS, 3, device=ws.device)
    distance, _ = generator.deformer.body_sdf(points.reshape(-1, 3), gradient=False)
    signed = generator.field(points, ws, planes=planes, sdf_only=True)["sdf"]
    return ((signed - distance.view_as(signed)) / PRIOR_SCALE).square().mean()


def color_differences(generator: Generator, planes: Tensor, others: Tensor) -> Tensor:
    """Mean absolute difference [B] of colours between planes [B,3,C,P,P] and others, at random vertices of the canonical body."""
    vertices = generator.deformer.vertices
    count = len(planes)
    points = vertices[torch.randint(len(vertices), (count, BODY_POINTS), device=planes.device)].flatten(0, 1)
    batch_index = torch.arange(count, device=planes.device).repeat_interleave(BODY_POINTS)
    first, second = (
        generator.canonical_field(each).residual(points, batch_index, gradient=False).color[:, :3]
        for each in (planes, others)
    )
    return (first - second).abs().view(count, -1).mean(dim=1)


def diversity(generator: Generator, planes: Tensor, others: Tensor) -> Tensor:
    """-log [B] of `color_differences`: keeps different latent codes apart while the discriminators are young.

    What the mode-seeking loss does (Mao et al., CVPR 2019), here for colours on the canonical body, where a pose changes
    nothing.
    """
    return -torch.log(color_differences(generator, planes, others) + MIN_COLOR_DIFFERENCE)
