"""Each kernel against its plain twin: on the processor through a C++ compiler, and on a GPU where there is one."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from support.compiled_kernels import on_the_processor
from torch.testing import assert_close

from ag3d.config import Network
from ag3d.model.body import label as labels
from ag3d.model.field.posed_field import PosedField
from ag3d.model.generator import Generator
from ag3d.model.networks.decoder import Decoder
from ag3d.model.networks.stylegan2_layers import Conv2dLayer
from ag3d.model.ops import compiler, cuda_kernels, residual_field
from ag3d.model.ops.bias_act import bias_act_
from ag3d.model.ops.composite import composite, interval_weights, sample_weights, visible_samples
from ag3d.model.ops.importance_sampling import resample
from ag3d.model.ops.triplane import texel_table
from ag3d.model.ops.upfirdn2d import upfirdn2d, upsample2d

SMALL = Network(
    image_resolution=32, plane_resolution=32, channel_base=512, channel_max=16, z_dim=16, w_dim=16, depth_resolution=8, depth_resolution_importance=8, decoder_hidden=16, face_fraction=4
)  # fmt: skip
WHERE = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=WHERE)
def device(request, monkeypatch) -> torch.device:
    """Where the kernels run."""
    if request.param == "cpu":
        on_the_processor(monkeypatch)
    elif not compiler.available():
        pytest.skip("no CUDA device, or no cuda-core")
    return torch.device(request.param)


def people(number: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    pose = 0.3 * torch.randn(number, 69, generator=g)
    orient = torch.tensor([[torch.pi, 0.0, 0.0]]).expand(number, 3)
    return labels.pack(
        torch.tensor([[0.0, 0.15, 0.0]]).expand(number, 3), orient, pose, torch.randn(number, 10, generator=g)
    )


def test_the_search_finds_what_the_plain_one_finds(device, tiny_body):
    torch.manual_seed(0)
    generator = Generator(SMALL, tiny_body).to(device)
    label = people(2).to(device)
    vertices = generator.body.from_label(label).vertices
    chosen = torch.randint(vertices.shape[1], (2, 3000), device=device)
    points = vertices.gather(1, chosen[..., None].expand(-1, -1, 3)) + 0.04 * torch.randn(2, 3000, 3, device=device)
    field = generator.canonical_field(torch.randn(2, 3, 32, 32, 32, device=device))

    def search():
        return PosedField(field, generator.deformer.pose(label)).search(points)

    fast = search()
    with cuda_kernels(False):
        plain = search()
    both = sorted(set(fast.flat.tolist()) & set(plain.flat.tolist()))
    assert len(both) > 0.99 * max(len(fast.flat), len(plain.flat))
    mine = {place: k for k, place in enumerate(fast.flat.tolist())}
    theirs = {place: k for k, place in enumerate(plain.flat.tolist())}
    a, b = [mine[place] for place in both], [theirs[place] for place in both]
    same = (fast.points[a] - plain.points[b]).norm(dim=1) < 2e-3
    assert same.float().mean() > 0.99  # elsewhere another root of almost the same value was found
    assert (fast.sdf[a] - plain.sdf[b])[same].abs().max() < 0.02
    assert (fast.sdf[a] - plain.sdf[b]).abs().mean() < 1e-3


def test_the_body_around_canonical_points(device, tiny_body):
    torch.manual_seed(0)
    deformer = Generator(SMALL, tiny_body).to(device).deformer
    points = deformer.vertices[torch.randint(len(deformer.vertices), (500,), device=device)]
    points = points + 0.2 * torch.randn(500, 3, device=device)
    gradient, image = torch.randn(500, 3, device=device), torch.arange(500, device=device) % 2
    posed = deformer.pose(people(2).to(device))
    found = (*deformer.body_sdf(points), posed.carry_gradient(gradient, points, image))
    with cuda_kernels(False):
        expected = (*deformer.body_sdf(points), posed.carry_gradient(gradient, points, image))
    for mine, theirs in zip(found, expected):
        assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("color", "gradient"), [(True, True), (False, False), (True, False), (False, True)])
def test_the_field_and_its_gradients(device, monkeypatch, color, gradient):
    monkeypatch.setattr(residual_field, "_CHUNK", 150)
    monkeypatch.setattr(residual_field, "_PARTS", 16)
    torch.manual_seed(0)
    tri = torch.randn(2, 3, 8, 16, 16, device=device, requires_grad=True)
    decoder = Decoder(8, 16, 8).to(device)
    points = torch.rand(400, 3, device=device) * 2.4 - 1.2
    image = torch.randint(0, 2, (400,), device=device)
    tensors = [tri, *decoder.parameters()]

    def run():
        found = residual_field.residual_field(texel_table(tri), decoder.weights(), points, image, color, gradient)
        g = torch.Generator().manual_seed(1)
        weights = [torch.randn(value.shape, generator=g).to(device) for value in found]
        loss = sum((w * v).sum() for w, v in zip(weights, found))
        return [*found, *torch.autograd.grad(loss, tensors)]

    fast = run()
    with cuda_kernels(False):
        expected_values = run()
    for mine, theirs in zip(fast, expected_values):
        assert mine.shape == theirs.shape
        assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * float(theirs.detach().abs().amax()) if theirs.numel() else 0)


def test_pictures_and_their_gradients(device, tiny_body):
    torch.manual_seed(0)
    generator = Generator(SMALL, tiny_body).to(device)
    ws = generator.mapping(torch.randn(2, 16, device=device)).detach()
    label = people(2).to(device)

    def run():
        generator.zero_grad()
        out = generator.synthesis(ws, label)
        (out["image"].mean() + out["image_normal"].square().mean() + out["gradient"].norm(dim=1).mean()).backward()
        weight = generator.backbone.synthesis.b32.torgb.weight.grad
        return out, torch.cat([weight.flatten(), generator.decoder.net[0].weight.grad.flatten()])

    fast, gradient = run()
    with cuda_kernels(False):
        plain, expected = run()
    for name in ("image", "image_raw", "image_normal", "opacity"):
        assert (fast[name] - plain[name]).abs().mean() < 1e-2, name
    assert (gradient - expected).norm() < 0.05 * expected.norm()


def test_pictures_without_gradients_are_the_same(device, tiny_body):
    """In a handful of kernels, in which no count comes back to the processor."""
    torch.manual_seed(0)
    generator = Generator(dataclasses.replace(SMALL, beta_min=0.01), tiny_body).to(device)
    generator.decoder.layers[1].weight.data[1:] *= 5
    ws = generator.mapping(torch.randn(2, 16, device=device)).detach()
    label = people(2).to(device)
    label = torch.cat([label[:1], turned(label[1:], 0.7)])
    with torch.no_grad():
        shown = generator.synthesis(ws, label)
        again = generator.synthesis(ws, label)
    packed = generator.synthesis(ws, label)
    with cuda_kernels(False):
        plain = generator.synthesis(ws, label)
    assert "gradient" not in shown
    for name, values in shown.items():
        torch.testing.assert_close(values, again[name], rtol=0, atol=0)  # whatever the order of the sums
        assert (values - packed[name]).abs().mean() < 1e-4, name  # the same samples, shaded by other kernels
        assert (values - packed[name]).abs().amax() < 2e-2, name
        assert (values - plain[name]).abs().mean() < 1e-2, name
    assert shown["opacity"].amax() > 0.9
    assert shown["image_normal"].std() > 0.1


def turned(label: torch.Tensor, angle: float) -> torch.Tensor:
    """The camera goes round the body's place."""
    parts = labels.split(label)
    turn = torch.eye(4, device=label.device)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    return dataclasses.replace(parts, cam2world=turn @ parts.cam2world).pack()


@pytest.mark.parametrize("channels", [3, 8])
def test_the_way_back_through_sums_along_rays(device, channels):
    g = torch.Generator().manual_seed(0)
    values, share, outer = (
        torch.randn(size, generator=g).to(device) for size in ((40, channels), (40,), (9, channels))
    )
    ray = torch.randint(9, (40,), generator=g).to(device)

    def gradients():
        inputs = values.clone().requires_grad_(), share.clone().requires_grad_()
        return torch.autograd.grad(composite(inputs[0], ray, inputs[1], 9), inputs, outer)

    ours = gradients()
    with cuda_kernels(False):
        expected_values = gradients()
    for found, expected in zip(ours, expected_values):
        assert_close(found, expected)


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_second_pass_looks_where_the_plain_code_looks(device, deterministic):
    torch.manual_seed(0)
    coarse = torch.rand(200, 12, device=device).sort(1).values
    density = torch.rand(200, 12, device=device) * 20 * (torch.rand(200, 12, device=device) < 0.3)

    def run():
        torch.manual_seed(1)
        return resample(coarse, density, 9, deterministic)

    fine, depths, rank = run()
    with cuda_kernels(False):
        expected, _, _ = run()
    assert_close(fine, expected, rtol=1e-4, atol=1e-4)
    assert (depths.diff(dim=1) >= 0).all()
    assert_close(depths.gather(1, rank.long()), torch.cat([coarse, fine], dim=1), rtol=0, atol=0)
    assert (rank.long().sort(1).values == torch.arange(21, device=device)).all()


def test_the_visible_samples_are_those_with_a_weight(device):
    torch.manual_seed(0)
    empty, sharpness = -100.0, torch.tensor([20.0], device=device)
    coarse = torch.rand(200, 12, device=device).sort(1).values
    sdf = torch.randn(200, 21, device=device).sub_(0.5) * 0.1
    sdf[torch.rand(200, 21, device=device) < 0.3] = empty
    sdf[:5] = empty
    density = (sharpness * torch.sigmoid(sharpness * sdf)).masked_fill(sdf == empty, 0.0)
    _, depths, rank = resample(coarse, density[:, :12], 9, True)
    first, second = sdf.split([12, 9], dim=1)
    samples = visible_samples(depths, rank, first.contiguous(), second.contiguous(), sharpness, empty)
    intervals = interval_weights(torch.zeros_like(depths).scatter(1, rank.long(), density), depths)
    share = sample_weights(intervals).gather(1, rank.long()).masked_fill(sdf == empty, 0.0)
    number = int(samples.number)
    found = torch.zeros(sdf.numel(), device=device)
    found[samples.chosen[:number]] = samples.share[:number]
    assert len(torch.unique(samples.chosen[:number])) == number > 500
    assert_close(found.view_as(share), share, rtol=1e-4, atol=2e-6)
    assert_close(samples.opacity, intervals.sum(1), rtol=1e-4, atol=1e-5)
    seen = samples.opacity > 0.01
    depth = (intervals * (depths[:, 1:] + depths[:, :-1]) / 2).sum(1) / intervals.sum(1)
    assert_close(samples.depth[seen], depth[seen], rtol=1e-4, atol=1e-4)
    assert (samples.depth[:5] > 1e3).all()


def compare_derivatives(function, x: torch.Tensor, power: int) -> None:
    """Values of `function`, and first and second derivatives of a power of them by `x`, with the kernels and plainly."""
    weight = torch.randn_like(function())

    def run():
        out = function()
        (first,) = torch.autograd.grad((out**power * weight).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        return out, first, second

    fast = run()
    with cuda_kernels(False):
        expected_values = run()
    for mine, theirs in zip(fast, expected_values):
        assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize(
    "options", [{"up": 2, "pad": 2, "gain": 4.0}, {"down": 2, "pad": 1}, {"pad": 2}, {"pad": 1, "gain": 4.0}]
)
def test_the_filter_and_its_gradients(device, options, channels, layout):
    x = torch.randn(2, channels, 10, 12, device=device).to(memory_format=layout).requires_grad_()
    compare_derivatives(lambda: upfirdn2d(x, **options), x, power=2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("clamp", [0.0, 1.5])
@pytest.mark.parametrize("channels", [0, 3, 8])
def test_the_activation_and_its_gradients(device, clamp, layout, channels):
    """With as many channels' biases."""
    x = 2 * torch.randn(2, channels or 3, 5, 6, device=device).to(memory_format=layout).requires_grad_()
    bias = torch.randn(channels, device=device) if channels else None
    compare_derivatives(lambda: bias_act_(x * 1.0, bias, "lrelu", clamp), x, power=3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_bias_of_an_activation(device, layout):
    x = torch.randn(2, 8, 5, 6, device=device).to(memory_format=layout)
    bias = torch.randn(8, device=device, requires_grad=True)
    weight = torch.randn_like(x)

    def gradient():
        return torch.autograd.grad((bias_act_(x * 1.0, bias, "lrelu", 1.0) * weight).sum(), bias)[0]

    ours = gradient()
    with cuda_kernels(False):
        assert_close(ours, gradient(), rtol=1e-4, atol=1e-4)
    assert_close(ours, torch.autograd.grad((F.leaky_relu(x + bias[:, None, None], 0.2).clamp(-1, 1) * weight).sum(), bias)[0], rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("down", [False, True])
def test_a_convolution_whose_bias_is_added_late(device, down, layout):
    torch.manual_seed(0)
    layer = Conv2dLayer(4, 8, 3, down=down, clamp=2.0).to(device)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 8, 8, device=device).to(memory_format=layout).requires_grad_()
    wanted = (x, layer.weight, layer.bias)

    def run():
        out = layer(x, gain=0.5)
        return out, *torch.autograd.grad(out.pow(3).sum(), wanted)

    ours = run()
    with cuda_kernels(False):
        expected_values = run()
    for found, expected in zip(ours, expected_values):
        assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_half_precision_of_the_image_kernels(dtype, tolerance):
    if not compiler.available():
        pytest.skip("no CUDA device, or no cuda-core")
    x = torch.randn(2, 16, 9, 9, device="cuda").to(memory_format=torch.channels_last)
    for run in (upsample2d, lambda t: upfirdn2d(t, down=2, pad=1), lambda t: bias_act_(t * 1.0, None, "lrelu", 1.0)):
        assert_close(run(x.to(dtype)).float(), run(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["search", "field", "images0", "images1", "images2", "march", "composite"])
def test_kernels_compile_without_a_gpu(name, arch):
    pytest.importorskip("cuda.core")
    sizes = {
        "CHANNELS": 32,
        "COLORS": 32,
        "HIDDEN": 64,
        "VEC": 4,
        "UP": 1,
        "DOWN": 2,
        "PARTS": 15,
        "FIRST": 36,
        "SECOND": 36,
        "TYPE": int(name[-1]) if name[-1].isdigit() else 0,
    }
    try:
        code = compiler.compile_cubin(name.rstrip("012"), arch, tuple(sizes.items())).code
    except Exception as problem:
        if "nvrtc" in str(problem).lower() and "not" in str(problem).lower():
            pytest.skip(f"no NVRTC here: {problem}")
        raise
    assert code[:4] == b"\x7fELF"
