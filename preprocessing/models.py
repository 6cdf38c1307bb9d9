"""Take the BlazePose, BlazeFace and selfie segmentation models (Apache-2.0) out of the mediapipe package.

Writes pose_detection.tflite, pose_landmark_full.tflite, face_detection_short_range.tflite and selfie_segmentation.tflite.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.core.files import atomic
from ag3d.preprocessing.fetch import MEDIAPIPE, fetch

MODELS = {  # files of the folder mediapipe/modules, and their SHA-256
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "face_detection/face_detection_short_range.tflite": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "selfie_segmentation/selfie_segmentation.tflite": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}


def extract(folder: Path) -> list[Path]:
    """Write the models into `folder`. Raises UserError."""
    written = []
    with zipfile.ZipFile(fetch(MEDIAPIPE)) as archive:
        for entry, checksum in MODELS.items():
            data = archive.read(f"mediapipe/modules/{entry}")
            if hashlib.sha256(data).hexdigest() != checksum:
                raise UserError(f"{entry} in {MEDIAPIPE.filename} is not the model that was checked")
            written.append(folder / Path(entry).name)
            with atomic(written[-1]) as beside:
                beside.write_bytes(data)
    return written


def main() -> None:
    parser = console.parser("ag3d.preprocessing.models", __doc__)
    parser.add_argument("--output", type=Path, default=Path("results/models/blazepose"), help="folder to write to")
    arguments = parser.parse_args()
    for path in extract(arguments.output):
        console.log.info("wrote %s", path)


if __name__ == "__main__":
    console.run(main)
