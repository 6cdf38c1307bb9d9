"""Writing the photographs, and apart from them the truth.

truth.parquet has a row per photograph:

    photo             file name in the folder of photographs
    photo_id          the name that the later stages give it
    width, height     px, upright (after EXIF rotation)
    centre_x, centre_y, half   the square window that the label's world x, y in [-1,1] fills: px = centre + half * x
    betas [10], body_pose [69], global_orient [3], transl [3]   in that world (x right, y down, z away; metres, radians)
    joints_2d [48], joints_3d [72]         24 joints: px (x, y) and metres, flat
    landmarks_2d [10], landmarks_3d [15]   nose, right eye, left eye, right ear, left ear
    yaw, pitch        degrees; yaw 0 faces the camera, positive turns the front to the picture's right
    pose, style, garments, patterns, outer, hair, hair_colour, hat, skin, shoes, background, orientation, quality

truth.zip has, for each photo_id, `<photo_id>-mask.png` (8 bit, the person's share of each pixel) and
`<photo_id>-normal.png` (127.5 (n + 1), x right, y up, z to the viewer, of the clothed surface; white background).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ag3d.core.files import write_table
from ag3d.core.shards import ShardWriter, encode_png
from ag3d.preprocessing.photos.photo_index import photo_id
from ag3d.preprocessing.synthetic.photograph import Photograph

MASK, NORMAL = "-mask.png", "-normal.png"


def file_name(number: int) -> str:
    return f"person_{number:05d}.jpg"


def maps_of(photograph: Photograph) -> tuple[bytes, bytes]:
    """The mask and the normal map as PNG."""
    return encode_png(photograph.mask), encode_png(photograph.normals)


def write_maps(archive: ShardWriter, name: str, maps: tuple[bytes, bytes]) -> None:
    archive.add(photo_id(name) + MASK, maps[0])
    archive.add(photo_id(name) + NORMAL, maps[1])


def row(name: str, truth: dict[str, Any]) -> dict[str, Any]:
    """A row of the table from a photograph's truth."""
    flat: dict[str, Any] = {"photo": name, "photo_id": photo_id(name)}
    for key, value in truth.items():
        if key == "centre":
            flat["centre_x"], flat["centre_y"] = (float(v) for v in value)
        elif isinstance(value, np.ndarray):
            flat[key] = np.asarray(value, np.float32).ravel()
        else:
            flat[key] = value
    return flat


def write_truth(path: Path, rows: list[dict[str, Any]], record: dict[str, Any]) -> None:
    write_table(path, pd.DataFrame(rows), record)
