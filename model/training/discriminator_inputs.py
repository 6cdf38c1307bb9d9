"""What the discriminators see, made alike from real and from generated people."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ag3d.config import Network
from ag3d.model.body.body import Body
from ag3d.model.face_crop import face_centers
from ag3d.model.training import losses
from ag3d.model.training.augment import Changes

Images = dict[str, torch.Tensor]


def normalized(images: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [-1,1]."""
    return images.float() / 127.5 - 1


class Inputs:
    """Builds the discriminators' inputs with the blur of the moment.

    The reference blurs the image alone, so that its heads judge different frequencies; here everything blurs together.
    """

    def __init__(self, settings: Network, body: Body) -> None:
        self.settings, self.body = settings, body
        neural = settings.neural_resolution or settings.image_resolution // 2
        self.share = neural / settings.image_resolution
        self.reference = settings.compatibility == "reference"

    def real(
        self,
        image: torch.Tensor,
        normal: torch.Tensor,
        label: torch.Tensor,
        sigma: float,
        changes: Changes | None = None,
    ) -> Images:
        """uint8 photographs and normal maps [B,3,R,R], labels [B,111]; `sigma`: blur in pixels of the image."""
        image, normal = normalized(image), normalized(normal)
        if not self.reference:
            image, normal = blur(image, sigma), blur(normal, sigma)
        return self._finish(losses.real_inputs(image, normal, self._centers(label), self.settings, changes), sigma)

    def fake(self, out: Images, label: torch.Tensor, sigma: float, changes: Changes | None = None) -> Images:
        """The generator's output for the labels."""
        if not self.reference and sigma > 0:
            small = {name: blur(out[name], sigma * self.share) for name in ("image_raw", "image_normal")}
            out = {"image": blur(out["image"], sigma), **small}
        return self._finish(losses.fake_inputs(out, self._centers(label), self.settings, changes), sigma)

    def _centers(self, label: torch.Tensor) -> torch.Tensor:
        return face_centers(self.body, label, ignore_scale=self.reference)

    def _finish(self, inputs: Images, sigma: float) -> Images:
        if self.reference:
            inputs["image"] = blur(inputs["image"], sigma, "zeros")
        return inputs


def blur(images: torch.Tensor, sigma: float, padding: str = "border") -> torch.Tensor:
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
