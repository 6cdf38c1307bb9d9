"""Layers with equalised learning rates and modulated convolutions (Karras et al., StyleGAN2)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ag3d.model.networks.filters import filter2d

Activation = Literal["linear", "lrelu"]
NoiseMode = Literal["random", "const", "none"]


def normalize_second_moment(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def activate(
    x: torch.Tensor, bias: torch.Tensor | None, activation: Activation, gain: float = 1.0, clamp: float = 0.0
) -> torch.Tensor:
    """Add `bias` per channel (axis 1), activate, scale; clamp to ±clamp·gain if clamp > 0. lrelu carries a gain of √2."""
    if bias is not None:
        x = x + bias.to(x.dtype).view(1, -1, *([1] * (x.ndim - 2)))
    scale = gain
    if activation == "lrelu":
        x = F.leaky_relu(x, 0.2)
        scale = gain * math.sqrt(2)
    if scale != 1:
        x = x * scale
    return x.clamp(-clamp * gain, clamp * gain) if clamp > 0 else x


class FullyConnected(nn.Module):
    """y = act(x (W·lr/√in)ᵀ + b·lr); W is initialised with standard deviation 1/lr."""

    def __init__(
        self, in_features: int, out_features: int, activation: Activation = "linear", lr: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias)))
        self.activation: Activation = activation
        self.lr = lr

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to(x.dtype) * (self.lr / math.sqrt(self.weight.shape[1]))
        bias = self.bias.to(x.dtype) * self.lr
        return activate(F.linear(x, weight, bias), None, self.activation)


class Convolution(nn.Module):
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

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        weight = self.weight.to(x.dtype) / math.sqrt(self.weight[0].numel())
        kernel = weight.shape[-1]
        if not self.down:
            x = F.conv2d(x, weight, padding=kernel // 2)
        elif kernel == 1:
            x = F.conv2d(filter2d(x, down=2, pad=(1, 1)), weight)
        else:
            x = F.conv2d(filter2d(x, pad=(2, 2)), weight, stride=2)
        return activate(x, self.bias, self.activation, gain, self.clamp)


def modulated_convolution(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulate: bool = True, up: bool = False
) -> torch.Tensor:
    """Scale the input channels by `styles`, convolve, and (demodulate) scale the output channels to unit weight norm.

    x: [B,I,H,W]; weight: [O,I,k,k]; styles: [B,I]. With `up`, a transposed convolution doubles the resolution.
    """
    x = x * styles.to(x.dtype)[:, :, None, None]
    if up:
        x = F.conv_transpose2d(x, weight.to(x.dtype).transpose(0, 1), stride=2)
        x = filter2d(x, pad=(1, 1), gain=4)
    else:
        x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[-1] // 2)
    if demodulate:
        # Σ (w·s)² over inputs and taps is a matrix product of squares.
        squares = styles.square() @ weight.square().sum(dim=(2, 3)).t()
        x = x * (squares + 1e-8).rsqrt().to(x.dtype)[:, :, None, None]
    return x


class SynthesisLayer(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, resolution: int, up: bool = False, clamp: float = 0.0
    ) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, bias=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.noise_const: torch.Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution, self.up, self.clamp = resolution, up, clamp

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise_mode: NoiseMode) -> torch.Tensor:
        x = modulated_convolution(x, self.weight, self.affine(w), up=self.up)
        if noise_mode == "random":
            noise = torch.randn(len(x), 1, self.resolution, self.resolution, device=x.device)
            x = x + (noise * self.noise_strength).to(x.dtype)
        elif noise_mode == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        return activate(x, self.bias, "lrelu", clamp=self.clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution without demodulation, in float32."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float = 0.0) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, bias=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp = clamp

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])
        x = modulated_convolution(x, self.weight, styles, demodulate=False)
        return activate(x, self.bias, "linear", clamp=self.clamp).float()
