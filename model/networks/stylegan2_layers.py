"""Layers with equalised learning rates and modulated convolutions (Karras et al., StyleGAN2)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ag3d.model.networks.bias_act import Activation, activate_, gain_of
from ag3d.model.networks.conv2d_gradfix import convolve
from ag3d.model.networks.upfirdn2d import filter2d
from ag3d.model.ops import image_ops

NoiseMode = Literal["random", "const", "none"]


def normalize_second_moment(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


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

    def effective(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [out,in] and bias [out] as they act, the activation's gain included: it passes through a leaky ReLU."""
        gain = self.lr * gain_of(self.activation)
        return self.weight * (gain / math.sqrt(self.weight.shape[1])), self.bias * gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return activate_(F.linear(x, *self.effective()), self.activation)


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
        """In the precision of `x`. The gains act on weight and bias, which is the same and spares a pass."""
        total = gain * gain_of(self.activation)
        weight = (self.weight * (total / math.sqrt(self.weight[0].numel()))).to(x.dtype)
        bias = None if self.bias is None else self.bias * total
        late = image_ops.fast(x)  # where PyTorch would add the bias in a pass of its own
        early = None if bias is None or late else bias.to(x.dtype)
        kernel = weight.shape[-1]
        parts = 1
        if not self.down:
            parts = parts_of(x) if kernel == 1 else 1
            x = convolve(divided(x, parts), weight, early, padding=kernel // 2)
        elif kernel == 1:
            x = convolve(filter2d(x, down=2, pad=1), weight, early)
        else:
            x = convolve(filter2d(x, pad=2), weight, early, stride=2)
        return united(activate_(x, self.activation, self.clamp * gain, bias if late else None), parts)


def parts_of(x: torch.Tensor) -> int:
    """Into how many parts to divide each of the pictures [B,C,H,W] before a 1×1 convolution.

    With one thread of a processor PyTorch takes a slower way for fewer than 16 large pictures.
    """
    return 1 if x.is_cuda or len(x) >= 16 or x[0, 0].numel() < 1024 else math.gcd(x.shape[2], 16)


def divided(x: torch.Tensor, parts: int) -> torch.Tensor:
    """[B,C,H,W] to [B·parts,C,H/parts,W], without a copy where x is channels-last."""
    if parts == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(1, (parts, -1)).flatten(0, 1)
    return rows.permute(0, 3, 1, 2)


def united(x: torch.Tensor, parts: int) -> torch.Tensor:
    """What `divided` divided."""
    if parts == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(0, (-1, parts)).flatten(1, 2)
    return rows.permute(0, 3, 1, 2)


def modulated_convolution(
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
        x = filter2d(x, pad=1, gain=4)
    else:
        x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[-1] // 2)
    return torch.addcmul((bias * gain).to(x.dtype)[:, None, None], x, scale[:, :, None, None])


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
        gain = gain_of("lrelu")
        x = modulated_convolution(x, self.weight, self.affine(w), self.bias, self.up, gain)
        if noise_mode == "random":
            noise = torch.randn(len(x), 1, self.resolution, self.resolution, device=x.device)
            x = x.add_((noise * (self.noise_strength * gain)).to(x.dtype))
        elif noise_mode == "const":
            x = x.add_((self.noise_const * (self.noise_strength * gain)).to(x.dtype))
        return activate_(x, "lrelu", self.clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution without demodulation; its result is float32.

    A 1×1 convolution with weights of each sample's own is a batched matrix product over the pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float = 0.0) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, bias=1)
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
        drawn = activate_(drawn.contiguous(), "linear", self.clamp).float()
        return drawn.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
