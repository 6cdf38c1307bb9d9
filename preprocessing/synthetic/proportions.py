"""What a shape's proportions suggest, for choosing hair, beards and skirts in believable shares."""

from __future__ import annotations

import numpy as np
import torch

from ag3d.model.body.body import JOINTS, Body

_REFERENCE = 256  # random shapes that the proportions are compared with


def _ratio(body: Body, betas: torch.Tensor) -> np.ndarray:
    joints = body.rest_joints(betas)
    left, right = (joints[:, JOINTS.index(f"{side}_shoulder"), 0] for side in ("left", "right"))
    hips = joints[:, JOINTS.index("left_hip"), 0] - joints[:, JOINTS.index("right_hip"), 0]
    return ((left - right) / hips).numpy()


def femininity(body: Body, betas: np.ndarray) -> float:
    """0 (broad shoulders, narrow hips) … 1, relative to random shapes of the same body."""
    reference = _ratio(body, torch.randn(_REFERENCE, 10, generator=torch.Generator().manual_seed(0)))
    ratio = _ratio(body, torch.as_tensor(betas)[None])[0]
    return float(1 / (1 + np.exp(2.5 * (ratio - reference.mean()) / max(reference.std(), 1e-6))))
