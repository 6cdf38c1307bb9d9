"""The columns of each stage's table; the stages' docstrings say what they mean."""

from __future__ import annotations

import pyarrow as pa

from ag3d.core.dataset_format import LABEL_LENGTH

_TEXT, _INT, _FLOAT = pa.string(), pa.int32(), pa.float64()
_PERSON = (("person_id", _TEXT), ("photo_id", _TEXT), ("path", _TEXT))
_VERDICT = (("status", _TEXT), ("reason", _TEXT), ("value", _FLOAT))


def _vector(name: str, length: int, kind: pa.DataType = _FLOAT) -> pa.Field:
    """A list of `length` numbers; empty or null for those who were rejected before it was known."""
    return pa.field(name, pa.list_(kind), metadata={"length": str(length)})


LISTING = pa.schema([("path", pa.binary()), ("size", pa.int64()), ("modified", pa.int64())])  # bytes; ns
PHOTOS = pa.schema(
    [
        ("photo_id", _TEXT),
        ("path", _TEXT),
        ("width", _INT),
        ("height", _INT),
        ("scale", _FLOAT),
        ("sha256", _TEXT),
        ("frame", _INT),
        *_VERDICT,
    ]
)
PEOPLE = pa.schema(
    [
        *_PERSON,
        ("width", _INT),
        ("height", _INT),
        _vector("box", 4),
        _vector("landmarks_2d", 2 * 33),
        _vector("landmarks_3d", 3 * 33),
        _vector("visibility", 33),
        _vector("region", 4),
        ("score", _FLOAT),
        ("face", _FLOAT),
        ("people", _INT),
        *_VERDICT,
    ]
)
MATTES = pa.schema([*_PERSON, ("area", _FLOAT), ("joints", _FLOAT), *_VERDICT])
FITS = pa.schema(
    [
        *_PERSON,
        ("centre_x", _FLOAT),
        ("centre_y", _FLOAT),
        ("half", _FLOAT),
        ("scale", _FLOAT),
        _vector("transl", 3),
        _vector("global_orient", 3),
        _vector("body_pose", 3 * 23),
        _vector("betas", 10),
        ("reprojection", _FLOAT),
        ("reprojection_px", _FLOAT),
        ("silhouette_iou", _FLOAT),
        ("cut", _FLOAT),
        _vector("uncertainty", 24),
        *_VERDICT,
    ]
)
ALIGNED = pa.schema(
    [*_PERSON, _vector("label", LABEL_LENGTH, pa.float32()), ("sharpness", _FLOAT), ("phash", _TEXT), *_VERDICT]
)
NORMALS = pa.schema([*_PERSON, *_VERDICT])
ALIKE = pa.schema([("person_id", _TEXT), ("of", _TEXT), ("value", _FLOAT)])
REJECTED = pa.schema([("photo_id", _TEXT), ("path", _TEXT), ("stage", _TEXT), ("reason", _TEXT), ("value", _FLOAT)])
