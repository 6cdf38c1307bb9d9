"""Everybody in a photograph that matters for one person's crop: the candidates for the main person, and who is in the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ag3d.core import landmarks
from ag3d.preprocessing.people.blazepose import BlazePose, Detection, Pose
from ag3d.preprocessing.people.rotated_box import RotatedBox

MAX_DETECTIONS = 8  # detections that are looked at closely
HEAD_SCORE = 0.6  # score from which a detection counts as a head of its own


@dataclass(frozen=True)
class PersonDetections:
    """People of a photograph, the main one first."""

    people: list[Pose]
    heads_apart: float  # distance of two heads that both count as the main person's (share of their region's side)


def find_people(net: BlazePose, rgb: np.ndarray, min_score: float) -> PersonDetections:
    """People in `rgb` (uint8 [H,W,3]), the main one first: large, sure, near the middle.

    The detector sees the whole photograph; where it finds nobody, smaller and smaller parts of it. Then it looks
    closely around the main person, for others that the first pass merged with them.
    """
    people: list[Pose] = []
    for windows in _search_windows(*rgb.shape[:2]):
        _add_people(people, net, rgb, [d for w in windows for d in net.detect(rgb, w, min_score)], min_score)
        if people:
            break
    if not people:
        return PersonDetections([], 0.0)
    people.sort(key=lambda pose: -prominence(pose, rgb.shape[:2]))
    closer = [
        d for window in _closeups(people[0]) for d in net.detect(rgb, window, min_score) if _similar_size(d, people[0])
    ]
    _add_people(people, net, rgb, closer, min_score)
    own_heads = [d for d in closer if d.score >= HEAD_SCORE and not any(_same_head(d, other) for other in people[1:])]
    return PersonDetections(people, _largest_head_distance(own_heads) / people[0].next_region.side)


def prominence(pose: Pose, shape: tuple[int, ...]) -> float:
    """Height times score, less the farther from the middle of a photograph of `shape` (height, width)."""
    height, width = shape[:2]
    box = person_box(pose, shape)
    middle = (box[:2] + box[2:]) / 2
    away = np.abs(middle / (width, height) - 0.5).max() * 2
    return float((box[3] - box[1]) * pose.score * (1 - 0.5 * away))


def person_box(pose: Pose, shape: tuple[int, ...]) -> np.ndarray:
    """The person's box [4] (x0, y0, x1, y1) in a photograph of `shape` (height, width): mask and sure landmarks."""
    rows, columns = np.nonzero(pose.mask > 0.5)
    inside = pose.region.to_photo(np.stack([columns + 0.5, rows + 0.5], axis=1), len(pose.mask))
    points = np.concatenate([inside, pose.landmarks_2d[landmarks.LIMBS]])
    limits = np.array([shape[1], shape[0]])
    return np.concatenate([np.clip(points.min(axis=0), 0, limits), np.clip(points.max(axis=0), 0, limits)])


def overlap(main: Pose, other: Pose) -> float:
    """Which share of `other`'s visible landmarks lies in front of, or behind, `main`: inside the box of its joints."""
    visible = other.landmarks_2d[other.visibility > 0.5]
    if not len(visible):
        return 0.0
    joints = main.landmarks_2d[landmarks.LIMBS]
    low, high = joints.min(axis=0), joints.max(axis=0)
    return float(((visible > low) & (visible < high)).all(axis=1).mean())


def same_person(a: Pose, b: Pose) -> bool:
    """Two poses of one person: head and torso nearly coincide, or the heads do."""
    apart = np.linalg.norm(a.landmarks_2d - b.landmarks_2d, axis=1)
    side = min(a.next_region.side, b.next_region.side)
    return bool(apart[landmarks.TORSO].mean() < 0.12 * side or apart[landmarks.HEAD].mean() < 0.06 * side)


def share_on_mask(main: Pose, other: Pose) -> float:
    """Which share of `other`'s joints and head lies on `main`'s mask: nearly all where folds, bags or hands of the main
    person were taken for somebody; of a person in front of them, whom the mask leaves out, few."""
    points = other.landmarks_2d[[*landmarks.HEAD, *landmarks.LIMBS]]
    side = len(main.mask)
    column, row = np.floor(main.region.from_photo(points, side)).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < side) & (row < side)
    return float((main.mask[row.clip(0, side - 1), column.clip(0, side - 1)] > 0.5)[inside].sum() / len(points))


def _add_people(
    people: list[Pose], net: BlazePose, rgb: np.ndarray, detections: list[Detection], min_score: float
) -> None:
    for detection in sorted(detections, key=lambda d: -d.score)[:MAX_DETECTIONS]:
        if any(_same_head(detection, pose) for pose in people):
            continue
        pose = net.track(rgb, detection.region())
        if (
            pose.score >= min_score
            and _plausible(pose, detection)
            and not any(same_person(pose, known) for known in people)
        ):
            people.append(pose)


def _same_head(detection: Detection, pose: Pose, slack: float = 0.08) -> bool:
    """The detection is of a person whom we know: their heads coincide, to `slack` of the region's side."""
    head = pose.landmarks_2d[landmarks.HEAD].mean(axis=0)
    return bool(np.linalg.norm(head - _head_centre(detection)) < slack * pose.next_region.side)


def _plausible(pose: Pose, detection: Detection) -> bool:
    """Landmarks and detection agree on the person's size and head: hands and bags taken for people don't."""
    ratio = pose.next_region.side / max(detection.region().side, 1.0)
    return 0.4 < ratio < 2.5 and _same_head(detection, pose, 0.15)


def _largest_head_distance(detections: list[Detection]) -> float:
    """The largest distance between two of the heads (pixels)."""
    if not detections:
        return 0.0
    heads = np.stack([_head_centre(d) for d in detections])
    return float(np.linalg.norm(heads[:, None] - heads[None], axis=2).max())


def _head_centre(detection: Detection) -> np.ndarray:
    return (detection.box[:2] + detection.box[2:]) / 2


def _similar_size(detection: Detection, main: Pose) -> bool:
    return 0.5 < detection.region().side / main.next_region.side < 2


def _search_windows(height: int, width: int) -> Iterator[list[RotatedBox]]:
    """The whole photograph; then squares that overlap by half, of its shorter side and of half of that."""
    yield [RotatedBox(width / 2, height / 2, max(height, width))]
    short = min(height, width)
    for side in (short, short / 2):
        columns, rows = (int(np.ceil((extent - side) / (side / 2))) + 1 for extent in (width, height))
        yield [
            RotatedBox(float(x), float(y), float(side))
            for y in np.linspace(side / 2, height - side / 2, min(rows, 7))
            for x in np.linspace(side / 2, width - side / 2, min(columns, 7))
        ]


def _closeups(pose: Pose) -> list[RotatedBox]:
    """Closer views of head and shoulders of the person and of whoever stands beside them."""
    region = pose.next_region
    middle = region.to_photo(np.array([[0.5, 0.35]]), 1)[0]
    return [RotatedBox(middle[0] + s * region.side, middle[1], 0.4 * region.side) for s in (-0.17, 0.0, 0.17)]
