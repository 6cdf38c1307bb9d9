"""The four conditional discriminators: image pair, normal map, face, face normals (StyleGAN2, residual)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ag3d.config import Network
from ag3d.model.networks.backbone import channels_at
from ag3d.model.networks.mapping import MappingNetwork
from ag3d.model.networks.stylegan2_layers import Conv2dLayer, FullyConnectedLayer
from ag3d.model.ops.resize import resize


class DiscriminatorBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, out_channels: int, clamp: float) -> None:
        super().__init__()
        if in_channels:
            self.fromrgb = Conv2dLayer(in_channels, channels, 1, clamp=clamp)
        self.conv0 = Conv2dLayer(channels, channels, 3, clamp=clamp)
        self.conv1 = Conv2dLayer(channels, out_channels, 3, down=True, clamp=clamp)
        self.skip = Conv2dLayer(channels, out_channels, 1, "linear", bias=False, down=True)
        self.first = in_channels > 0

    def forward(self, x: Tensor, double_backward: bool = False) -> Tensor:
        if self.first:
            x = self.fromrgb(x, double_backward=double_backward)
        skipped = self.skip(x, math.sqrt(0.5), double_backward)
        return skipped + self.conv1(self.conv0(x, double_backward=double_backward), math.sqrt(0.5), double_backward)


class DiscriminatorEpilogue(nn.Module):
    """4×4 features to a vector; one channel tells how much the samples of a group differ."""

    def __init__(self, in_channels: int, channels: int, out_features: int, group: int, clamp: float) -> None:
        super().__init__()
        if in_channels:
            self.fromrgb = Conv2dLayer(in_channels, channels, 1, clamp=clamp)
        self.conv = Conv2dLayer(channels + 1, channels, 3, clamp=clamp)
        self.fc = FullyConnectedLayer(channels * 16, channels, "lrelu")
        self.out = FullyConnectedLayer(channels, out_features)
        self.first = in_channels > 0
        self.group = group

    def forward(self, x: Tensor, batches: int, double_backward: bool = False) -> Tensor:
        if self.first:
            x = self.fromrgb(x, double_backward=double_backward)
        x = torch.cat([x, minibatch_std(x, self.group, batches)], dim=1)
        x = self.conv(x, double_backward=double_backward)
        return self.out(self.fc(x.flatten(1)))


def minibatch_std(x: Tensor, group: int, batches: int = 1) -> Tensor:
    """[B,C,H,W] to [B,1,H,W]: the mean standard deviation over groups of samples n, n + B/group, …

    `batches`: so many batches lie one after the other in B, and each has groups of its own.
    """
    each = len(x) // batches
    size = min(group, each)
    while each % size:
        size -= 1
    grouped = x.reshape(batches, size, -1, *x.shape[1:])
    # As torch.var, which takes several times as long over a dimension that is not the last.
    variance = (grouped - grouped.mean(dim=1, keepdim=True)).square().mean(dim=1)
    deviation = (variance + 1e-8).sqrt().mean(dim=(2, 3, 4))  # [batches,each/size]
    return deviation.repeat(1, size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])


class Discriminator(nn.Module):
    """images [B,C,R,R] and label [B,111] to a logit [B,1].

    The residual blocks compute in `dtype`, the last one in float32.
    """

    def __init__(self, settings: Network, in_channels: int, resolution: int, c_dim: int = 111) -> None:
        super().__init__()
        features = channels_at(4, settings)
        self.dtype = torch.float32
        self.sides = [2**power for power in range(int(math.log2(resolution)), 2, -1)]
        for side in self.sides:
            width, below = channels_at(side, settings), channels_at(side // 2, settings)
            setattr(
                self,
                f"b{side}",
                DiscriminatorBlock(in_channels if side == resolution else 0, width, below, settings.conv_clamp),
            )
        self.mapping = MappingNetwork(0, c_dim, features, settings.discriminator_mapping_layers)
        self.b4 = DiscriminatorEpilogue(
            0 if self.sides else in_channels, features, features, settings.mbstd_group_size, settings.conv_clamp
        )

    def forward(self, images: Tensor, label: Tensor, batches: int = 1, double_backward: bool = False) -> Tensor:
        """`batches`: so many batches lie one after the other; none sees the others. `double_backward`: the gradient by the images
        will be differentiated once more (R1)."""
        x = images.to(self.dtype, memory_format=torch.channels_last)
        for side in self.sides:
            x = getattr(self, f"b{side}")(x, double_backward)
        x = self.b4(x.float(), batches, double_backward)
        condition = self.mapping(None, label)
        return (x * condition).sum(dim=1, keepdim=True) / math.sqrt(condition.shape[1])


class Discriminators(nn.Module):
    """The heads that the settings ask for. Logits are keyed full, normal, face, normal_face."""

    def __init__(self, settings: Network) -> None:
        super().__init__()
        self.resolution = settings.image_resolution
        self.neural_resolution = settings.neural_resolution or settings.image_resolution // 2
        face, face_normal = face_sizes(settings)
        self.D_image = Discriminator(settings, 6, self.resolution)
        if settings.use_normal_discriminator:
            self.D_normal = Discriminator(settings, 3, self.neural_resolution)
        if settings.use_face_discriminator:
            self.D_face_image = Discriminator(settings, 3, face)
        if settings.use_face_discriminator and settings.use_normal_discriminator:
            self.D_face_normal = Discriminator(settings, 3, face_normal)
        self.heads = {"full": "D_image", "normal": "D_normal", "face": "D_face_image", "normal_face": "D_face_normal"}
        self.heads = {key: name for key, name in self.heads.items() if hasattr(self, name)}

    def set_compute_dtype(self, dtype: torch.dtype) -> None:
        """Of the residual blocks' convolutions; weights and logits stay float32."""
        for name in self.heads.values():
            getattr(self, name).dtype = dtype

    def forward(
        self, images: dict[str, Tensor], label: Tensor, batches: int = 1, double_backward: bool = False
    ) -> dict[str, Tensor]:
        """`images`: image [B,3,R,R], image_raw [B,3,r,r], image_normal [B,3,r,r], face, face_normal. Logits [B,1].

        `batches` and `double_backward` as of Discriminator.
        """
        pair = torch.cat([images["image"], resize(images["image_raw"], self.resolution)], dim=1)
        inputs = {
            "full": pair,
            "normal": images.get("image_normal"),
            "face": images.get("face"),
            "normal_face": images.get("face_normal"),
        }
        return {
            key: getattr(self, name)(inputs[key], label, batches, double_backward) for key, name in self.heads.items()
        }


def face_sizes(settings: Network) -> tuple[int, int]:
    """Sides of the crops of image and normal map."""
    neural = settings.neural_resolution or settings.image_resolution // 2
    return settings.image_resolution // settings.face_fraction, neural // settings.face_fraction
