"""Do generated people do what their labels say: landmarks found in the pictures against the label's body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from ag3d.evaluation.metrics.camera import project
from ag3d.evaluation.truth import pose_metrics
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.preprocessing.fitting.crop_frame import height
from ag3d.preprocessing.people.blazepose import BlazePose
from ag3d.preprocessing.people.person_search import find_people

NEAR = 0.05  # of the standing height: what counts as found in its place
DETECTED_FROM = 256  # pictures smaller than this are enlarged for the detector
MIN_SCORE = 0.5


@dataclass
class PoseErrors:
    """Errors of the people seen so far. Whose landmarks are not found counts for `near` alone, as 0."""

    pixels: list[float] = field(default_factory=list)  # mean over 17 landmarks
    share: list[float] = field(default_factory=list)  # the same as a share of the standing height
    near: list[float] = field(default_factory=list)  # share of landmarks within NEAR: PCK
    people: int = 0


def pose_errors(net: BlazePose, body: Body, images: Iterable[np.ndarray], label: torch.Tensor) -> PoseErrors:
    """Errors of pictures uint8 [R,R,3] whose people should be posed as label [n,111]."""
    errors = PoseErrors()
    for image, row in zip(images, label, strict=True):
        joints, face, tall = expected(body, row.cpu(), len(image))
        errors.people += 1
        found = find_landmarks(net, image)
        if found is None:
            errors.near.append(0.0)
            continue
        distances = pose_metrics.landmark_errors(found, joints, face)
        errors.pixels.append(float(distances.mean()))
        errors.share.append(float(distances.mean() / tall))
        errors.near.append(float((distances < NEAR * tall).mean()))
    return errors


def expected(body: Body, label: torch.Tensor, side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Joints [24,2] and face landmarks [5,2] of a label [111] in pixels of a picture, and the standing height there."""
    posed = body.from_label(label[None])
    points, _ = project(torch.cat([posed.joints, posed.landmarks], dim=1), label[None])
    parts = labels.split(label[None])
    # The camera shows x and y of [-1,1], so that a unit of the world is half a side.
    tall = float(height(body, parts.betas)[0] * parts.scale[0]) * side / 2
    pixels = points[0].numpy().astype(np.float64) * side
    return pixels[:24], pixels[24:], tall


def find_landmarks(net: BlazePose, image: np.ndarray) -> np.ndarray | None:
    """The main person's 33 landmarks [33,2] in pixels; None where nobody is found."""
    factor = max(1.0, DETECTED_FROM / len(image))
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    people = find_people(net, image, MIN_SCORE).people
    return people[0].landmarks_2d.astype(np.float64) / factor if people else None
