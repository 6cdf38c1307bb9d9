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

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ag3d.config.data import People
from ag3d.core import console, landmarks
from ag3d.preprocessing import schemas
from ag3d.preprocessing.people.blazepose import BlazePose, FaceDetector, Pose
from ag3d.preprocessing.people.flip_test import flip_test, head_region
from ag3d.preprocessing.people.person_search import PersonDetections, find_people, overlap, person_box, share_on_mask
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import PhotoError
from ag3d.preprocessing.stage import OK, Row, Verdict, parse, run_stage, stage_parser

ON_MAIN = 0.65  # share of somebody's points on the main person's mask from which on they may be no one else
HEADS_APART = 0.08  # of the region's side; detections of one head scatter by less than half of this
CROWN = 0.55  # from the ears up to the crown, relative to shoulders to ears; anthropometry of adults


def people_of_shard(manifest: Manifest, net: BlazePose, faces: FaceDetector, settings: People) -> Iterator[Row]:
    """Rows of the shard's table. One photograph is in memory at a time."""
    photos = console.progress(manifest.photos(), "people", total=len(manifest.rows()), unit="photo")
    for entry, photo in photos:
        row = {"person_id": entry["photo_id"], **{key: entry[key] for key in ("photo_id", "path", "width", "height")}}
        row |= {"score": 0.0, "face": 0.0, "people": 0}
        if isinstance(photo, PhotoError):
            yield row | vars(Verdict.unreadable(photo))
        else:
            yield row | find_person(photo.rgb, net, faces, settings)


def find_person(rgb: np.ndarray, net: BlazePose, faces: FaceDetector, settings: People) -> Row:
    """Measurements and verdict of the main person in `rgb` (uint8 [H,W,3])."""
    detections = find_people(net, rgb, settings.min_score)
    row: Row = {"people": len(detections.people)}
    ambiguous = False
    if detections.people:
        detections.people[1:] = real_people(detections.people, faces, rgb, settings)
        detections.people[0], row["face"], ambiguous = flip_test(net, faces, rgb, detections.people[0], settings)
        row |= measurements(detections.people[0], rgb.shape)
    verdict = check_person(detections, rgb.shape, settings)
    if verdict.ok and ambiguous:
        verdict = Verdict.rejected("front and back may be confused (score of a face)", row["face"])
    return row | vars(verdict)


def real_people(people: list[Pose], faces: FaceDetector, rgb: np.ndarray, settings: People) -> list[Pose]:
    """Those beside the main person who are people: not a waist or a bag taken for one, which lies on them without a face."""
    main, *others = people
    return [
        other
        for other in others
        if share_on_mask(main, other) < ON_MAIN or faces.score(rgb, head_region(other)) >= settings.min_face
    ]


def measurements(pose: Pose, shape: tuple[int, ...]) -> dict[str, Any]:
    """The row's measurements of a person in a photograph of `shape`."""
    region = pose.region
    return {
        "box": person_box(pose, shape).tolist(),
        "landmarks_2d": pose.landmarks_2d.ravel().tolist(),
        "landmarks_3d": pose.landmarks_3d.ravel().tolist(),
        "visibility": pose.visibility.tolist(),
        "region": [region.x, region.y, region.side, region.angle],
        "score": pose.score,
    }


def check_person(detections: PersonDetections, shape: tuple[int, ...], settings: People) -> Verdict:
    """Whether the main person can be used in a photograph of `shape`."""
    if not detections.people:
        return Verdict.rejected("no person found")
    main = detections.people[0]
    box = person_box(main, shape)
    if (height := float(box[3] - box[1])) < settings.min_height:
        return Verdict.rejected(f"the person is less than {settings.min_height} pixels tall", height)
    if not (verdict := check_full_view(main, shape, settings.min_visibility)).ok:
        return verdict
    covered = max((overlap(main, other) for other in detections.people[1:]), default=0.0)
    if covered > settings.max_overlap:
        return Verdict.rejected("several people: another overlaps the main one (share of their landmarks)", covered)
    if detections.heads_apart > HEADS_APART:
        reason = "several people: two heads, one set of landmarks (distance, share of the person's square)"
        return Verdict.rejected(reason, detections.heads_apart)
    return OK


def check_full_view(pose: Pose, shape: tuple[int, ...], min_visibility: float) -> Verdict:
    """Whether the person is in full view. Measured: how far a point lies outside the photograph (share of the region's side), or a visibility."""
    height, width = shape[:2]
    limits = np.array([width, height], np.float64)

    def beyond(points: np.ndarray) -> np.ndarray:
        return np.maximum(-points, points - limits).max(axis=1) / pose.next_region.side

    ears, shoulders = (
        pose.landmarks_2d[landmarks.EARS].mean(axis=0),
        pose.landmarks_2d[landmarks.SHOULDERS].mean(axis=0),
    )
    crown = ears + CROWN * (ears - shoulders)
    if (outside := float(beyond(np.stack([crown, *pose.landmarks_2d[landmarks.HEAD]])).max())) > 0.02:
        return Verdict.rejected("not in full view: the head is outside the photograph", outside)
    for name, points in (("knees", landmarks.KNEES), ("ankles", landmarks.ANKLES)):
        if (outside := float(beyond(pose.landmarks_2d[points]).max())) > 0:
            return Verdict.rejected(f"not in full view: cut off at the {name}", outside)
    if (outside := float(beyond(pose.landmarks_2d[[*landmarks.HEELS, *landmarks.TOES]]).max())) > 0.02:
        return Verdict.rejected("not in full view: the feet are outside the photograph", outside)
    feet = float(pose.visibility[[*landmarks.ANKLES, *landmarks.HEELS, *landmarks.TOES]].max())
    if feet < min_visibility:
        return Verdict.rejected("not in full view: the feet are hidden", feet)
    if (head := float(pose.visibility[landmarks.HEAD].max())) < min_visibility:
        return Verdict.rejected("not in full view: the head is hidden", head)
    return OK


def main() -> None:
    paths = {
        "manifest": "manifest of the shard (.parquet)",
        "models": "folder of BlazePose's .tflite files",
        "output": "table of people to write (.parquet)",
    }
    args, settings = parse(stage_parser("people", __doc__, paths, networks=True), People)
    net, faces = BlazePose(args.models, args.threads), FaceDetector(args.models, args.threads)
    inputs = [args.manifest, *net.files, faces.file]
    process = partial(people_of_shard, Manifest(args.manifest), net, faces, settings)
    run_stage("people", settings, inputs, args.output, schemas.PEOPLE, process)
