"""Layers with equalised learning rates and modulated convolutions (Karras et al., StyleGAN2)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ag3d.model.ops.bias_act import Activation, activation_gain, bias_act_
from ag3d.model.ops.conv2d_bias_act import conv2d_bias_act
from ag3d.model.ops.upfirdn2d import upfirdn2d

NoiseMode = Literal["random", "const", "none"]


def normalize_second_moment(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnectedLayer(nn.Module):
    """y = act(x (W·lr/√in)ᵀ + b·lr); W is initialised with standard deviation 1/lr."""

    def __init__(
        self, in_features: int, out_features: int, activation: Activation = "linear", lr: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias)))
        self.activation: Activation = activation
        self.lr = lr

    def effective_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [out,in] and bias [out] as they act, the activation's gain included: it passes through a leaky ReLU."""
        gain = self.lr * activation_gain(self.activation)
        return self.weight * (gain / math.sqrt(self.weight.shape[1])), self.bias * gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return bias_act_(F.linear(x, *self.effective_parameters()), activation=self.activation)


class Conv2dLayer(nn.Module):
    """Equalised convolution of the discriminators, optionally halving the resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        activation: Activation = "lrelu",
        bias: bool = True,
        down: bool = False,
        clamp: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.activation: Activation = activation
        self.down = down
        self.clamp = clamp

    def forward(self, x: torch.Tensor, gain: float = 1.0, double_backward: bool = False) -> torch.Tensor:
        """In the precision of `x`. The gains act on weight and bias, which is the same and spares a pass."""
        total = gain * activation_gain(self.activation)
        weight = (self.weight * (total / math.sqrt(self.weight[0].numel()))).to(x.dtype)
        bias = None if self.bias is None else self.bias * total
        return conv2d_bias_act(x, weight, bias, self.activation, self.clamp * gain, self.down, double_backward)


def modulated_conv2d(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, bias: torch.Tensor, up: bool = False, gain: float = 1.0
) -> torch.Tensor:
    """Scale the input channels by `styles`, convolve, scale the output channels to unit weight norm, add `bias`; all times `gain`.

    x: [B,I,H,W]; weight: [O,I,k,k]; styles: [B,I]; bias: [O]. With `up`, a transposed convolution doubles the resolution.
    """
    if x.dtype == torch.float16:  # whose range is small; the scaling of the outputs takes it back
        weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True) / math.sqrt(weight[0].numel())
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    # Σ (w·s)² over inputs and taps is a matrix product of squares.
    norm = styles.square() @ weight.square().sum(dim=(2, 3)).t()
    scale = ((norm + 1e-8).rsqrt() * gain).to(x.dtype)
    x = x * styles.to(x.dtype)[:, :, None, None]
    if up:
        x = F.conv_transpose2d(x, weight.to(x.dtype).transpose(0, 1), stride=2)
        x = upfirdn2d(x, pad=1, gain=4)
    else:
        x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[-1] // 2)
    return torch.addcmul((bias * gain).to(x.dtype)[:, None, None], x, scale[:, :, None, None])


class SynthesisLayer(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, resolution: int, up: bool = False, clamp: float = 0.0
    ) -> None:
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.noise_const: torch.Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution, self.up, self.clamp = resolution, up, clamp

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise_mode: NoiseMode) -> torch.Tensor:
        gain = activation_gain("lrelu")
        x = modulated_conv2d(x, self.weight, self.affine(w), self.bias, self.up, gain)
        if noise_mode == "random":
            noise = torch.randn(len(x), 1, self.resolution, self.resolution, device=x.device)
            x = x.add_((noise * (self.noise_strength * gain)).to(x.dtype))
        elif noise_mode == "const":
            x = x.add_((self.noise_const * (self.noise_strength * gain)).to(x.dtype))
        return bias_act_(x, activation="lrelu", clamp=self.clamp)


class ToRGBLayer(nn.Module):
    """Modulated 1×1 convolution without demodulation; its result is float32.

    A 1×1 convolution with weights of each sample's own is a batched matrix product over the pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float = 0.0) -> None:
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp = clamp

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])
        count = len(self.weight)
        spare = -count % 8 if x.is_cuda else 0  # matrix units want multiples of eight
        own = F.pad(self.weight[:, :, 0, 0].t() * styles[:, :, None], (0, spare)).to(x.dtype)  # [B,I,O]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B,H·W,I], in place where x is channels-last
        drawn = torch.baddbmm(F.pad(self.bias, (0, spare)).to(x.dtype), pixels, own)[..., :count]
        drawn = bias_act_(drawn.contiguous(), clamp=self.clamp).float()
        return drawn.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
