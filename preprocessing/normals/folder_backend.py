"""Normal maps made elsewhere: a folder with a picture, <person_id>.png, for each aligned crop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ag3d.core.errors import UserError
from ag3d.preprocessing.normals.inpainting import unit


class NormalFolder:
    """`of(person, side)`: unit normals [side,side,3] of the person's crop."""

    def __init__(self, folder: str) -> None:
        """Raises UserError where there is no such folder."""
        self.root = Path(folder).expanduser()
        if not folder or not self.root.is_dir():
            raise UserError(
                f"'normals.folder' is '{folder}', which is no folder; name the one that holds the normal maps"
            )

    def of(self, person: str, side: int) -> np.ndarray:
        """Raises ValueError where there is no map, or none that can be used."""
        image = cv2.imread(str(self.root / f"{person}.png"), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"there is no normal map of its name in {self.root}")
        if image.shape[0] != image.shape[1]:
            raise ValueError(f"its normal map is not square ({image.shape[1]} × {image.shape[0]} pixels)")
        vectors = image[..., ::-1].astype(np.float32) / 127.5 - 1
        if len(image) == side:
            return unit(vectors)
        flags = cv2.INTER_AREA if len(image) > side else cv2.INTER_LINEAR
        return unit(cv2.resize(vectors, (side, side), interpolation=flags))
