"""Is there a face? BlazeFace's short-range detector (Google, Apache-2.0), run through LiteRT."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ag3d.preprocessing.people.blazepose import Network, sigmoid
from ag3d.preprocessing.people.rotated_box import Region

DETECTOR = "face_detection_short_range.tflite"
SIDE, BOXES = 128, 896


class FaceDetector:
    """Scores a region. Measured on synthetic people's heads: from the front 0.86 and more, from behind 0.8 and less."""

    def __init__(self, folder: str | os.PathLike[str], threads: int = 1) -> None:
        """`folder` holds the .tflite file. Raises UserError if it is missing or damaged."""
        self.file = Path(folder) / DETECTOR
        self._network = Network(self.file, threads)

    def score(self, rgb: np.ndarray, region: Region) -> float:
        """Probability, by the best of all boxes, of a face in `region` of `rgb` (uint8 [H,W,3])."""
        crop = region.crop(rgb, SIDE, border=128).astype(np.float32) / 127.5 - 1
        return float(sigmoid(self._network(crop)[(BOXES, 1)]).max())
