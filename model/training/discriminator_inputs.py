"""What the discriminators see, made alike from real and from generated people."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ag3d.config import Network
from ag3d.model.body.body import Body
from ag3d.model.face_crop import crop, face_centers
from ag3d.model.networks.discriminator import face_sizes
from ag3d.model.ops.resize import resize
from ag3d.model.training.augment import Augmentation

Images = dict[str, Tensor]  # by the names of losses.HEAD_OF, [b,3,h,w] each


class DiscriminatorBatch(NamedTuple):
    """What the discriminators are asked about."""

    images: Images
    label: Tensor  # [b,111]


class DiscriminatorInputs:
    """Builds the discriminators' inputs with the blur of the moment.

    The reference blurs the image alone, so that its heads judge different frequencies; here everything blurs together.
    """

    def __init__(self, settings: Network, body: Body) -> None:
        self.settings, self.body = settings, body
        neural = settings.neural_resolution or settings.image_resolution // 2
        self.raw_scale = neural / settings.image_resolution
        self.reference = settings.compatibility == "reference"

    def real(
        self, image: Tensor, normal: Tensor, label: Tensor, sigma: float, augmentation: Augmentation | None = None
    ) -> DiscriminatorBatch:
        """uint8 photographs and normal maps [B,3,R,R], labels [B,111]; `sigma`: blur in pixels of the image."""
        image, normal = normalized(image), normalized(normal)
        if not self.reference:
            image, normal = blur(image, sigma), blur(normal, sigma)
        images = real_inputs(image, normal, self._centers(label), self.settings, augmentation)
        return self._finish(images, label, sigma, augmentation)

    def fake(
        self, out: Images, label: Tensor, sigma: float, augmentation: Augmentation | None = None
    ) -> DiscriminatorBatch:
        """The generator's output for the labels."""
        if not self.reference and sigma > 0:
            small = {name: blur(out[name], sigma * self.raw_scale) for name in ("image_raw", "image_normal")}
            out = {"image": blur(out["image"], sigma), **small}
        images = fake_inputs(out, self._centers(label), self.settings, augmentation)
        return self._finish(images, label, sigma, augmentation)

    def _centers(self, label: Tensor) -> Tensor:
        return face_centers(self.body, label, ignore_scale=self.reference)

    def _finish(
        self, images: Images, label: Tensor, sigma: float, augmentation: Augmentation | None
    ) -> DiscriminatorBatch:
        if self.reference:
            images["image"] = blur(images["image"], sigma, "zeros")
        return DiscriminatorBatch(images, label if augmentation is None else augmentation.labels(label))


def fake_inputs(out: Images, centers: Tensor, settings: Network, augmentation: Augmentation | None = None) -> Images:
    """What the discriminators see of generated images: `out` of Generator.synthesis, face centres [B,2]."""
    return _inputs(out["image"], out["image_raw"], out["image_normal"], centers, settings, augmentation)


def real_inputs(
    image: Tensor, normal: Tensor, centers: Tensor, settings: Network, augmentation: Augmentation | None = None
) -> Images:
    """The same of photographs: image [B,3,R,R] and normal map [B,3,R,R] in [-1,1], the background +1."""
    neural = settings.neural_resolution or settings.image_resolution // 2
    return _inputs(image, resize(image, neural), resize(normal, neural), centers, settings, augmentation)


def _inputs(
    image: Tensor, raw: Tensor, normal: Tensor, centers: Tensor, settings: Network, augmentation: Augmentation | None
) -> Images:
    if augmentation is not None:
        image, raw = augmentation.images(image), augmentation.images(raw)
        normal, centers = augmentation.normals(normal), augmentation.points(centers)
    inputs = {"image": image, "image_raw": raw}
    face, face_normal = face_sizes(settings)
    if settings.use_normal_discriminator:
        inputs["image_normal"] = normal
    if settings.use_face_discriminator:
        inputs["face"] = crop(image, centers, face)
    if settings.use_face_discriminator and settings.use_normal_discriminator:
        inputs["face_normal"] = crop(normal, centers, face_normal)
    return inputs


def normalized(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1,1]."""
    return images.float() / 127.5 - 1


def blur(images: Tensor, sigma: float, padding: str = "border") -> Tensor:
    """Separable kernel 2^-(k/σ)², k = -⌊3σ⌋ … ⌊3σ⌋, normalised. Border pixels are repeated, or zero outside."""
    reach = math.floor(3 * sigma)
    if reach <= 0:
        return images
    kernel = torch.exp2(-((torch.arange(-reach, reach + 1, device=images.device) / sigma) ** 2))
    kernel = (kernel / kernel.sum()).to(images.dtype)
    padded = F.pad(images, [reach] * 4, mode="replicate" if padding == "border" else "constant")
    channels = images.shape[1]
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
