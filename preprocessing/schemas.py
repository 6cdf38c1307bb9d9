"""The columns of each stage's table; the stages' docstrings say what they mean."""

from __future__ import annotations

import pyarrow as pa

from ag3d.core.dataset_format import LABEL_LENGTH

_TEXT, _INT, _FLOAT = pa.string(), pa.int32(), pa.float64()


def _columns(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


def _vector(name: str, length: int, kind: pa.DataType = _FLOAT) -> pa.Field:
    """A list of `length` numbers; null for those who were rejected before it was known."""
    return pa.field(name, pa.list_(kind), metadata={"length": str(length)})


_PERSON = _columns(_TEXT, "person_id", "photo_id", "path")
_SIZE = _columns(_INT, "width", "height")
VERDICT = [*_columns(_TEXT, "status", "reason"), pa.field("value", _FLOAT)]
_LANDMARKS = [_vector("landmarks_2d", 2 * 33), _vector("landmarks_3d", 3 * 33), _vector("visibility", 33)]
_BODY = [_vector("transl", 3), _vector("global_orient", 3), _vector("body_pose", 3 * 23), _vector("betas", 10)]
_FIT_ERRORS = _columns(_FLOAT, "reprojection", "reprojection_px", "silhouette_iou", "cut")

LISTING = pa.schema([("path", pa.binary()), ("size", pa.int64()), ("modified", pa.int64())])  # bytes; ns
PHOTOS = pa.schema(
    [*_columns(_TEXT, "photo_id", "path"), *_SIZE, ("scale", _FLOAT), ("sha256", _TEXT), ("frame", _INT), *VERDICT]
)
_SCORES = [*_columns(_FLOAT, "score", "face"), pa.field("people", _INT)]
PEOPLE = pa.schema([*_PERSON, *_SIZE, _vector("box", 4), *_LANDMARKS, _vector("region", 4), *_SCORES, *VERDICT])
MATTES = pa.schema([*_PERSON, *_columns(_FLOAT, "area", "joints"), *VERDICT])
_FRAME = _columns(_FLOAT, "centre_x", "centre_y", "half", "scale")
FITS = pa.schema([*_PERSON, *_FRAME, *_BODY, *_FIT_ERRORS, _vector("uncertainty", 24), *VERDICT])
_LABEL = _vector("label", LABEL_LENGTH, pa.float32())
ALIGNED = pa.schema([*_PERSON, _LABEL, ("sharpness", _FLOAT), ("phash", _TEXT), *VERDICT])
NORMALS = pa.schema([*_PERSON, *VERDICT])
ALIKE = pa.schema([*_columns(_TEXT, "person_id", "of"), ("value", _FLOAT)])
REJECTED = pa.schema([*_columns(_TEXT, "photo_id", "path", "stage", "reason"), ("value", _FLOAT)])
