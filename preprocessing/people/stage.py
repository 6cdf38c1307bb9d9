"""Find the main person of each photograph of a shard, and their landmarks.

Writes a row a photograph; the photographs that the stage before rejected are passed over:

| column | meaning |
| --- | --- |
| person_id, photo_id, path | who; one person a photograph goes on, and bears its name |
| width, height | of the photograph that the pixels below belong to |
| box [4] | x0, y0, x1, y1 (pixels) |
| landmarks_2d [66] | 33 BlazePose landmarks (pixels; pixel centres at k + 0.5) |
| landmarks_3d [99] | the same in metres from the middle of the hips: x right, y down, z away from the camera |
| visibility [33] | probability that a landmark is in the picture and not hidden |
| region [4] | x, y, side, angle of the turned square that the landmark network saw (pixels, radians) |
| score, face, people | probability of being a person, of a face at the head's place; number of people found |
| status, reason, value | ok; or rejected, why, and the measured value |
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ag3d.config.data import People
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.files import write_table
from ag3d.preprocessing.people import flip_test, landmarks
from ag3d.preprocessing.people.blazepose import BlazePose, Pose
from ag3d.preprocessing.people.face_detector import FaceDetector
from ag3d.preprocessing.people.person_search import Found, find_people, overlap, within
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import PhotoError

log = logging.getLogger(__name__)
ON_MAIN = 0.65  # share of somebody's points on the main person's mask from which on they may be no one else
HEADS_APART = 0.08  # of the region's side; detections of one head scatter by less than half of this
LISTS = ("box", "landmarks_2d", "landmarks_3d", "visibility", "region")
COLUMNS = (
    *("person_id", "photo_id", "path", "width", "height", *LISTS),
    *("score", "face", "people", "status", "reason", "value"),
)


def people_of_shard(manifest: Manifest, net: BlazePose, faces: FaceDetector, settings: People) -> pd.DataFrame:
    """The table of the shard. One photograph is in memory at a time."""
    rows = []
    photos = console.progress(manifest.photos(), "people", total=len(manifest.rows()), unit="photo")
    for entry, photo in photos:
        row = {"person_id": entry["photo_id"], **{key: entry[key] for key in ("photo_id", "path", "width", "height")}}
        row |= {name: [] for name in LISTS} | {"score": 0.0, "face": 0.0, "people": 0}
        if isinstance(photo, PhotoError):
            reason: tuple[str, float | None] | None = (photo.reason, photo.value)
        else:
            found = find_people(net, photo.rgb, settings.min_score)
            row["people"] = len(found.people)
            doubt = False
            if found.people:
                found.people[1:] = real(found.people, faces, photo.rgb, settings)
                found.people[0], row["face"], doubt = flip_test.again(net, faces, photo.rgb, found.people[0], settings)
                row |= describe(found.people[0], photo.rgb.shape)
            reason = judge(found, photo.rgb.shape, settings)
            if reason is None and doubt:
                reason = "front and back may be confused (score of a face)", row["face"]
        row["status"] = "ok" if reason is None else "rejected"
        row["reason"], row["value"] = reason or ("", None)
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"value": "float64", "score": "float64", "face": "float64", "people": "int32"})


def real(people: list[Pose], faces: FaceDetector, rgb: np.ndarray, settings: People) -> list[Pose]:
    """Those beside the main person who are people: not a waist or a bag taken for one, which lies on them without a face."""
    main, *others = people
    return [o for o in others if within(main, o) < ON_MAIN or faces.score(rgb, flip_test.head(o)) >= settings.min_face]


def describe(pose: Pose, shape: tuple[int, ...]) -> dict[str, Any]:
    """The row's measurements of a person in a photograph of `shape`."""
    region = pose.region
    return {
        "box": _floats(landmarks.box(pose, shape)),
        "landmarks_2d": _floats(pose.landmarks_2d),
        "landmarks_3d": _floats(pose.landmarks_3d),
        "visibility": _floats(pose.visibility),
        "region": [region.x, region.y, region.side, region.angle],
        "score": pose.score,
    }


def judge(found: Found, shape: tuple[int, ...], settings: People) -> tuple[str, float | None] | None:
    """Why the main person cannot be used, with the measured value; None if they can."""
    if not found.people:
        return "no person found", None
    main = found.people[0]
    box = landmarks.box(main, shape)
    if (height := float(box[3] - box[1])) < settings.min_height:
        return f"the person is less than {settings.min_height} pixels tall", height
    if (hidden := landmarks.out_of_view(main, shape, settings.min_visibility)) is not None:
        return hidden
    covered = max((overlap(main, other) for other in found.people[1:]), default=0.0)
    if covered > settings.max_overlap:
        return "several people: another overlaps the main one (share of their landmarks)", covered
    if found.heads_apart > HEADS_APART:
        return (
            "several people: two heads, one set of landmarks (distance, share of the person's square)",
            found.heads_apart,
        )
    return None


def _floats(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.ravel(values)]


def main() -> None:
    parser = console.parser("ag3d.preprocessing.people", __doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the shard (.parquet)")
    parser.add_argument("--models", type=Path, required=True, help="folder of BlazePose's .tflite files")
    parser.add_argument("--output", type=Path, required=True, help="table of people to write (.parquet)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the networks (default: 1)")
    add_options(parser, People)
    args = parser.parse_args()
    settings = from_options(People, args)
    net = BlazePose(args.models, args.threads)
    faces = FaceDetector(args.models, args.threads)
    table = people_of_shard(Manifest(args.manifest), net, faces, settings)
    inputs = [args.manifest, *net.files, faces.file]
    write_table(args.output, table, provenance.record("people", to_mapping(settings), inputs))
    bad = table[table["status"] != "ok"]
    log.info("%d photographs, %d without a person to use", len(table), len(bad))
    for reason, count in bad["reason"].value_counts().items():
        log.info("  %d: %s", count, reason)
