"""BlazePose: where people are, their 33 landmarks in 2D and 3D, and their segmentation; and BlazeFace's short-range detector.

The networks are Google's (Apache-2.0), run through LiteRT; what happens around them follows MediaPipe's public
description of its pose graph: https://github.com/google-ai-edge/mediapipe/blob/v0.10.21/docs/solutions/pose.md
and the graphs under mediapipe/modules/pose_detection and mediapipe/modules/pose_landmark.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ag3d.core.errors import UserError
from ag3d.core.landmarks import MIRRORED_LANDMARKS
from ag3d.preprocessing.people.rotated_box import RotatedBox

DETECTOR, LANDMARKS, FACES = "pose_detection.tflite", "pose_landmark_full.tflite", "face_detection_short_range.tflite"
DETECTOR_SIDE, LANDMARK_SIDE, FACE_SIDE = 224, 256, 128
ENLARGE = 1.25  # the region around a person, relative to the circle that the networks predict
MIRROR = [*MIRRORED_LANDMARKS, *range(33, 39)]  # with the 6 auxiliary landmarks of the network
_LAYERS = ((28, 2), (14, 2), (7, 6))  # the detector's feature maps: side, boxes a cell


@dataclass(frozen=True)
class Detection:
    """A person that the detector found. Pixels of the photograph."""

    box: np.ndarray  # [4] x0, y0, x1, y1 of the head and chest
    centre: np.ndarray  # [2] middle of the hips
    rim: np.ndarray  # [2] a point of the circle around the whole body
    score: float

    def region(self) -> RotatedBox:
        return roi_around(self.centre, self.rim)


@dataclass(frozen=True)
class Pose:
    """One person. Pixels of the photograph, pixel centres at k + 0.5."""

    landmarks_2d: np.ndarray  # float32 [33,2]
    landmarks_3d: np.ndarray  # float32 [33,3] metres from the hips' middle: x right, y down, z away from the camera
    visibility: np.ndarray  # float32 [33] probability of being in the picture and not hidden
    presence: np.ndarray  # float32 [33] probability of being in the picture
    score: float  # probability that there is a person in the region
    region: RotatedBox  # that the networks saw
    next_region: RotatedBox  # around the landmarks: the region for a second pass
    mask: np.ndarray  # float32 [256,256] probability of being the person, in `region`


class BlazePose:
    """The detector and the landmark network. One photograph at a time; not to be shared between threads."""

    def __init__(self, folder: str | os.PathLike[str], threads: int = 1) -> None:
        """`folder` holds the .tflite files. Raises UserError if one is missing or damaged."""
        self.files = [Path(folder) / DETECTOR, Path(folder) / LANDMARKS]
        self._detector, self._landmarks = (TfliteNetwork(path, threads) for path in self.files)
        self._anchors = anchors()

    def detect(self, rgb: np.ndarray, window: RotatedBox | None = None, threshold: float = 0.5) -> list[Detection]:
        """People in `rgb` (uint8 [H,W,3]), best first; only inside `window` if one is given."""
        height, width = rgb.shape[:2]
        window = window or RotatedBox(width / 2, height / 2, max(width, height), 0.0)
        out = self._detector(window.warp(rgb, DETECTOR_SIDE).astype(np.float32) / 127.5 - 1)
        scores = sigmoid(out[(2254, 1)][:, 0])
        chosen = np.flatnonzero(scores >= threshold)
        raw = out[(2254, 12)][chosen].reshape(-1, 6, 2) / DETECTOR_SIDE
        anchor = self._anchors[chosen]
        middle, size, points = raw[:, 0] + anchor, raw[:, 1], raw[:, 2:4] + anchor[:, None]
        corners = np.stack([middle - size / 2, middle + size / 2, points[:, 0], points[:, 1]], axis=1)
        pixels = window.to_photo(corners.reshape(-1, 2) * DETECTOR_SIDE, DETECTOR_SIDE).reshape(-1, 4, 2)
        return weighted_nms(pixels, scores[chosen])

    def predict(self, rgb: np.ndarray, region: RotatedBox, mirrored: bool = False) -> Pose:
        """Landmarks and mask of the person that fills `region`; `mirrored`: as the networks see it in a mirror."""
        crop = region.warp(rgb, LANDMARK_SIDE).astype(np.float32) / 255
        out = self._landmarks(np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop)
        raw = out[(195,)].reshape(39, 5)
        points = refine_by_heatmaps(raw[:, :2], out[(64, 64, 39)])
        metres = out[(117,)].reshape(39, 3)[:33].copy()
        mask = out[(256, 256, 1)][..., 0]
        if mirrored:
            raw, metres, mask = raw[MIRROR], metres[MIRROR[:33]] * (-1, 1, 1), mask[:, ::-1]
            points = points[MIRROR] * (-1, 1) + (LANDMARK_SIDE, 0)
        pixels = region.to_photo(points, LANDMARK_SIDE).astype(np.float32)
        metres[:, :2] = region.rotate_vectors(metres[:, :2])
        return Pose(
            landmarks_2d=pixels[:33],
            landmarks_3d=metres.astype(np.float32),
            visibility=sigmoid(raw[:33, 3]),
            presence=sigmoid(raw[:33, 4]),
            score=float(out[(1,)][0]),
            region=region,
            next_region=roi_around(pixels[33], pixels[34]),
            mask=sigmoid(mask),
        )

    def segment(self, rgb: np.ndarray, region: RotatedBox) -> np.ndarray:
        """float32 [256,256]: probability of being the person that fills `region`; the mean of two passes, one mirrored."""
        crop = region.warp(rgb, LANDMARK_SIDE).astype(np.float32) / 255
        plain = self._landmarks(crop)[(256, 256, 1)][..., 0]
        mirrored = self._landmarks(np.ascontiguousarray(crop[:, ::-1]))[(256, 256, 1)][:, ::-1, 0]
        return (sigmoid(plain) + sigmoid(mirrored)) / 2

    def track(self, rgb: np.ndarray, region: RotatedBox) -> Pose:
        """Predict twice: the second region is taken from the first landmarks, as in a video, which centres it better."""
        first = self.predict(rgb, region)
        if first.score < 0.2 or first.next_region.side < 8:
            return first
        second = self.predict(rgb, first.next_region)
        return second if second.score >= 0.5 * first.score else first


class FaceDetector:
    """Scores a region. Measured on synthetic people's heads: from the front 0.86 and more, from behind 0.8 and less."""

    def __init__(self, folder: str | os.PathLike[str], threads: int = 1) -> None:
        """`folder` holds the .tflite file. Raises UserError if it is missing or damaged."""
        self.file = Path(folder) / FACES
        self._network = TfliteNetwork(self.file, threads)

    def score(self, rgb: np.ndarray, region: RotatedBox) -> float:
        """Probability, by the best of all 896 boxes, of a face in `region` of `rgb` (uint8 [H,W,3])."""
        crop = region.warp(rgb, FACE_SIDE, border=128).astype(np.float32) / 127.5 - 1
        return float(sigmoid(self._network(crop)[(896, 1)]).max())


class TfliteNetwork:
    """A .tflite file with one input; outputs by shape."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise UserError(
                f"{path} does not exist; fetch it with: python -m ag3d.preprocessing.models --output {path.parent}"
            )
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{path} is not a whole model file ({error}); delete it and fetch it again") from error
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [(tuple(o["shape"][1:].tolist()), o["index"]) for o in self._interpreter.get_output_details()]

    def __call__(self, image: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return {shape: self._interpreter.get_tensor(index)[0] for shape, index in self._outputs}


def anchors() -> np.ndarray:
    """Centres [2254,2] of the detector's boxes, as shares of its input's side."""
    parts = []
    for side, boxes in _LAYERS:
        y, x = np.mgrid[0:side, 0:side]
        parts.append(np.repeat(np.stack([(x + 0.5) / side, (y + 0.5) / side], -1).reshape(-1, 2), boxes, axis=0))
    return np.concatenate(parts)


def roi_around(centre: np.ndarray, rim: np.ndarray) -> RotatedBox:
    """The upright square around the circle about `centre` through `rim`, which lies above the centre of an upright
    person: the region turns with it."""
    towards = np.asarray(rim, np.float64) - centre
    angle = np.arctan2(towards[0], -towards[1])
    return RotatedBox(float(centre[0]), float(centre[1]), float(2 * ENLARGE * np.hypot(*towards)), float(angle))


def weighted_nms(points: np.ndarray, scores: np.ndarray, overlap: float = 0.5) -> list[Detection]:
    """Merge boxes that overlap into their mean, weighted by score. `points` [n,4,2]: two corners, centre, rim.

    MediaPipe merges from an overlap of 0.3 on; that makes one person out of two who stand close.
    """
    remaining = np.argsort(-scores, kind="stable")
    detections = []
    while len(remaining):
        overlaps = iou(points[remaining[0], :2].reshape(4), points[remaining, :2].reshape(-1, 4)) > overlap
        overlaps[0] = True
        group = remaining[overlaps]
        mean = np.average(points[group], axis=0, weights=scores[group])
        detections.append(Detection(mean[:2].reshape(4), mean[2], mean[3], float(scores[remaining[0]])))
        remaining = remaining[~overlaps]
    return detections


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of `box` [4] with each of `boxes` [n,4] (x0, y0, x1, y1)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return common / np.maximum(areas + np.clip(box[2:] - box[:2], 0, None).prod() - common, 1e-9)


def refine_by_heatmaps(points: np.ndarray, heatmaps: np.ndarray, reach: int = 3, least: float = 0.5) -> np.ndarray:
    """Landmarks [n,2] moved to the centre of mass of their heatmap [h,w,n] nearby, where the heatmap is sure of one."""
    side = heatmaps.shape[0]
    step = LANDMARK_SIDE / side
    refined = points.astype(np.float64).copy()
    for k, (x, y) in enumerate(points / step):
        if not (0 <= x < side and 0 <= y < side):
            continue
        x0, x1 = max(0, int(x) - reach), min(side, int(x) + reach + 1)
        y0, y1 = max(0, int(y) - reach), min(side, int(y) + reach + 1)
        weight = sigmoid(heatmaps[y0:y1, x0:x1, k])
        if weight.max() >= least:
            total = weight.sum()
            refined[k, 0] = (weight.sum(0) @ np.arange(x0, x1)) / total * step
            refined[k, 1] = (weight.sum(1) @ np.arange(y0, y1)) / total * step
    return refined


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))
