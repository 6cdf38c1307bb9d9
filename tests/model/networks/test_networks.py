"""The networks' building blocks against naive or closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ag3d.config import Network
from ag3d.model.networks.decoder import Decoder
from ag3d.model.networks.discriminator import Discriminators, minibatch_std
from ag3d.model.networks.mapping import MappingNetwork
from ag3d.model.networks.stylegan2_layers import (
    Conv2dLayer,
    FullyConnectedLayer,
    SynthesisLayer,
    ToRGBLayer,
    modulated_conv2d,
)
from ag3d.model.ops.bias_act import bias_act_
from ag3d.model.ops.conv2d_bias_act import parts_of
from ag3d.model.ops.conv2d_gradfix import conv2d
from ag3d.model.ops.upfirdn2d import upfirdn2d, upsample2d

SMALL = Network(
    image_resolution=32, plane_resolution=32, channel_base=256, channel_max=8, z_dim=8, w_dim=8, mbstd_group_size=2, discriminator_mapping_layers=2, face_fraction=4
)  # fmt: skip

WHERE = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def naive_filter(x: torch.Tensor, up: int, down: int, pad: tuple[int, int], gain: float) -> torch.Tensor:
    """Insert zeros, pad, correlate with the outer product, decimate: as the definition says."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = torch.outer(taps, taps) / 64 * gain
    b, c, h, w = x.shape
    spread = x.new_zeros(b, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    spread = F.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    return F.conv2d(spread.flatten(0, 1)[:, None], kernel[None, None]).view(b, c, *[n - 3 for n in spread.shape[2:]])[
        :, :, ::down, ::down
    ]


@pytest.mark.parametrize(("down", "pad", "gain"), [(1, 2, 1), (2, 1, 1), (1, 1, 4)])
def test_filter(down, pad, gain):
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    assert_close(upfirdn2d(x, down=down, pad=pad, gain=gain), naive_filter(x, 1, down, (pad, pad), gain))


def test_upsampling_and_downsampling():
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    assert_close(upsample2d(x), naive_filter(x, 2, 1, (2, 1), 4))
    assert_close(upfirdn2d(x, down=2, pad=1), naive_filter(x, 1, 2, (1, 1), 1))


def test_resampling_keeps_constants_inside():
    x = torch.ones(1, 1, 8, 8)
    assert_close(upsample2d(x)[:, :, 2:-2, 2:-2], torch.ones(1, 1, 12, 12))
    assert_close(upfirdn2d(x, down=2, pad=1)[:, :, 1:-1, 1:-1], torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize(
    "options", [{"up": 2, "pad": 2, "gain": 4.0}, {"down": 2, "pad": 1}, {"pad": 2}, {"pad": 1, "gain": 4}]
)
@pytest.mark.parametrize("double_backward", [False, True])
def test_derivatives_of_resampling(options, side, double_backward):
    x = torch.randn(1, 2, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)  # fmt: skip

    def run(x):
        return upfirdn2d(x, double_backward=double_backward, **options)

    assert_close(run(x), upfirdn2d(x, **options), rtol=0, atol=0)
    assert torch.autograd.gradcheck(run, x)
    assert torch.autograd.gradgradcheck(run, x)


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "frozen"), [(3, 1, 1, False), (3, 2, 0, False), (1, 1, 0, True)]
)
def test_a_convolution_differentiated_twice(device, kernel, stride, padding, frozen):
    g = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(size, dtype=torch.float64, generator=g).to(device).requires_grad_()
        for size in ((2, 3, 7, 9), (4, 3, kernel, kernel), (4,))
    )
    wanted = (x, bias) if frozen else (x, weight, bias)
    weight.requires_grad_(not frozen)

    def penalty_and_gradients(run):
        y = run(x, weight, bias, stride=stride, padding=padding)
        first = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)[0]
        return first, *torch.autograd.grad(first.square().sum(), wanted)

    def ours(*arguments, **options):
        return conv2d(*arguments, **options, double_backward=True)

    for found, expected in zip(penalty_and_gradients(ours), penalty_and_gradients(F.conv2d), strict=True):
        assert_close(found, expected)


def test_large_pictures_are_convolved_in_parts_with_the_same_result():
    torch.manual_seed(0)
    layer = Conv2dLayer(3, 5, 1, clamp=2.0)
    x = torch.randn(2, 3, 32, 48).to(memory_format=torch.channels_last).requires_grad_()
    assert parts_of(x) == 16
    weight, bias = layer.weight * math.sqrt(2 / 3), layer.bias * math.sqrt(2)
    expected = F.leaky_relu(F.conv2d(x, weight, bias), 0.2).clamp(-2, 2)
    found, seed = layer(x), torch.randn_like(expected)
    assert_close(found, expected)
    wanted = (x, layer.weight, layer.bias)
    for ours, theirs in zip(
        *(torch.autograd.grad(value, wanted, seed, retain_graph=True) for value in (found, expected))
    ):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [0.5, 3.0])
def test_activation_clamps_where_there_is_something_to_clamp(size):
    x = size * torch.linspace(-20, 1, 40, dtype=torch.float64)
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, expected = bias_act_(first * 1, activation="lrelu", clamp=2.5), F.leaky_relu(second, 0.2).clamp(-2.5, 2.5)
    assert_close(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    assert_close(first.grad, second.grad)


def test_fully_connected_scales_at_run_time():
    layer = FullyConnectedLayer(5, 3, "lrelu", lr=0.01, bias=2.0)
    x = torch.randn(4, 5)
    expected = math.sqrt(2) * F.leaky_relu(x @ (layer.weight * 0.01 / math.sqrt(5)).T + layer.bias * 0.01, 0.2)
    assert_close(layer(x), expected)


@pytest.mark.parametrize("up", [False, True])
def test_modulation_equals_weights_made_for_each_sample(up):
    x, weight, styles, bias = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3), torch.randn(2, 3), torch.randn(4)
    for index in range(2):
        own = weight * styles[index][None, :, None, None]
        own = own * (own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        if up:
            expected = naive_filter(
                F.conv_transpose2d(x[index : index + 1], own.transpose(0, 1), stride=2), 1, 1, (1, 1), 4
            )
        else:
            expected = F.conv2d(x[index : index + 1], own, padding=1)
        ours = modulated_conv2d(x, weight, styles, bias, up, gain=1.5)[index : index + 1]
        assert_close(ours, 1.5 * (expected + bias[:, None, None]), rtol=1e-4, atol=1e-4)


def test_modulation_in_half_precision_keeps_its_range():
    x, weight, bias = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3), torch.randn(4)
    styles = torch.randn(2, 3) * 3e4
    full = modulated_conv2d(x, weight, styles, bias)
    half = modulated_conv2d(x.half(), weight, styles, bias)
    assert half.dtype == torch.float16
    assert_close(half.float(), full, rtol=1e-2, atol=1e-2)


def test_to_rgb_equals_a_modulated_conv2d():
    layer = ToRGBLayer(6, 3, 8)
    layer.bias.data.normal_()
    x, w = torch.randn(2, 6, 5, 7), torch.randn(2, 8)
    styles = layer.affine(w) / math.sqrt(6)
    expected = torch.stack(
        [F.conv2d(x[k], layer.weight * styles[k][None, :, None, None], layer.bias) for k in range(2)]
    )
    assert_close(layer(x, w), expected)


def test_the_derivative_of_the_activation_is_differentiable():
    x = 3 * torch.randn(50, dtype=torch.float64, requires_grad=True)

    def ours(values):
        return bias_act_(values * 1.0, activation="lrelu", clamp=2.0)

    assert_close(ours(x), F.leaky_relu(x, 0.2).clamp(-2, 2))
    assert torch.autograd.gradcheck(ours, x)
    assert torch.autograd.gradgradcheck(ours, x)


def test_synthesis_noise_modes():
    layer = SynthesisLayer(3, 4, 8, 6)
    layer.noise_strength.data.fill_(0.5)
    x, w = torch.randn(2, 3, 6, 6), torch.randn(2, 8)
    assert_close(layer(x, w, "const"), layer(x, w, "const"))
    assert not torch.equal(layer(x, w, "random"), layer(x, w, "random"))
    assert not torch.equal(layer(x, w, "none"), layer(x, w, "const"))


def test_clamp_bounds_activations():
    layer = Conv2dLayer(2, 2, 3, clamp=1.0)
    out = layer(torch.randn(1, 2, 8, 8) * 100, gain=0.5)
    assert out.abs().max() <= 0.5
    assert (out.abs() == 0.5).any()


def test_mapping_truncates_towards_the_average():
    mapping = MappingNetwork(8, 111, 8, 2, num_ws=5)
    z, condition = torch.randn(64, 8), torch.zeros(64, 111)
    ws = mapping(z, condition, update_average=True)
    assert ws.shape == (64, 5, 8)
    assert_close(mapping.w_avg, ws[:, 0].mean(0) * 0.002)
    half = mapping(z, condition, truncation=0.5)
    assert_close(half[:, 0], mapping.w_avg + 0.5 * (ws[:, 0] - mapping.w_avg))
    assert_close(mapping(z, condition, truncation=0.0)[3, 2], mapping.w_avg)


def test_minibatch_std():
    x = torch.randn(4, 3, 4, 4)
    deviation = minibatch_std(x, 2)
    pair = x[[0, 2]]
    assert_close(deviation[0, 0, 0, 0], (pair.var(0, unbiased=False) + 1e-8).sqrt().mean())
    assert_close(deviation[0], deviation[2])
    assert minibatch_std(torch.ones(4, 3, 4, 4), 4).max() < 1e-3
    assert minibatch_std(torch.randn(3, 1, 4, 4), 2).shape == (3, 1, 4, 4)  # a group that does not divide


@pytest.mark.parametrize(
    ("normal", "face", "keys"), [(True, True, 4), (True, False, 2), (False, True, 2), (False, False, 1)]
)
def test_heads_follow_the_settings(normal, face, keys):
    settings = Network(**{**vars(SMALL), "use_normal_discriminator": normal, "use_face_discriminator": face})
    heads = Discriminators(settings)
    images = {"image": torch.randn(2, 3, 32, 32), "image_raw": torch.randn(2, 3, 16, 16), "image_normal": torch.randn(2, 3, 16, 16), "face": torch.randn(2, 3, 8, 8), "face_normal": torch.randn(2, 3, 4, 4)}  # fmt: skip
    logits = heads(images, torch.randn(2, 111))
    assert len(logits) == keys
    assert all(value.shape == (2, 1) for value in logits.values())


def test_batches_one_after_the_other_do_not_see_each_other():
    heads = Discriminators(SMALL)
    sizes = {"image": 32, "image_raw": 16, "image_normal": 16, "face": 8, "face_normal": 4}
    first, second = ({name: torch.randn(4, 3, side, side) for name, side in sizes.items()} for _ in range(2))
    label = torch.randn(8, 111)
    together = heads({name: torch.cat([first[name], second[name]]) for name in sizes}, label, batches=2)
    for images, part in ((first, slice(0, 4)), (second, slice(4, 8))):
        for head, logit in heads(images, label[part]).items():
            assert_close(logit, together[head][part])


def test_colours_reach_a_little_beyond_their_range():
    residual, color = Decoder(6, 16, 6)(100 * torch.randn(50, 6))
    assert residual.shape == (50,)
    assert -0.0011 < color.min() < 0
    assert 1 < color.max() < 1.0011
