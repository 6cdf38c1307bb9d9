"""What the tables' numbers are, in sentences that stand under them, and in which order tables and columns come."""

from __future__ import annotations

_EMBEDDED = "on the features of MediaPipe's segmentation network (not Inception's)"
_INCEPTION = "on Inception's features"
# Kind of table: what it holds, and what ± is there.
_KINDS = {
    "frechet": ("Fréchet distance {features}.", "± is the bootstrap's standard deviation."),
    "fid": ("Fréchet inception distance, {protocol}.", "± is the bootstrap's standard deviation."),
    "kid": ("Kernel distance {features}, unbiased.", "± is the standard deviation, from subsets."),
    "precision_recall": (
        "Improved precision and recall {features}: shares of generated pictures inside the data set's manifold, and of the "
        "data set inside theirs. Diversity: variance of the generated pictures' features as a share of the data set's.",
        "± is the standard error: of a share of so many pictures; of diversity, from subsets.",
    ),
    "copied": (
        "Share of generated pictures, {features}, three times nearer to one training image than to any other.",
        "± is the standard error of a share of so many pictures.",
    ),
    "swd": (
        "Sliced Wasserstein distance of 7×7 patches over the levels of a Laplacian pyramid, in thousandths; needs no network.",
        "± is the standard deviation, from subsets.",
    ),
    "geometry": ("Means over generated people.", "± is the standard error."),
}
# Column of geometry and control: what it is.
_GEOMETRY = {
    "PCK": "PCK: share of landmarks found within 5 % of the height of where the label has them.",
    "pixels": "Pixels: mean error of the landmarks, of people who were found.",
    "% of height": "% of height: the same as a share of the standing height.",
    "normals °": "Normals: angle between rendered normals and the extracted mesh's.",
    "silhouette IoU": "Silhouette IoU: rendering and mesh.",
    "to the body mm": "To the body: distance of the mesh's vertices from the body, canonical pose.",
    "95 % mm": "95 %: point below which that share of these distances lies.",
    "opposite IoU": "Opposite IoU: outlines from opposite sides, one mirrored.",
    "colour": "Colour: difference (of 255) between what cameras 10° apart see at the same places.",
    "identity": "Identity: how differently a person looks to cameras 30° apart, as a share of the difference between people.",
    "flicker": "Flicker: difference (of 255) at a place of the body between successive frames of a walk.",
}
_STREAMS = ("image", "normal", "face")
_SHARES = ("precision", "recall", "diversity")


def describe(name: str, columns: list[str]) -> str:
    """The description of the table of that name, as ag3d.evaluation.metrics.protocols names them, with these columns."""
    kind = kind_of(name)
    if not kind:
        return ""
    mode = "clean-fid's resizing" if name.startswith("clean_") else "AG3D's protocol (TensorFlow's resizing)"
    features = _EMBEDDED if name.endswith("_embedded") else f"{_INCEPTION}, {mode}"
    text = _KINDS[kind][0].format(features=features, protocol=mode)
    return " ".join([text, *(_GEOMETRY[column] for column in columns if kind == "geometry" and column in _GEOMETRY)])


def describe_deviation(name: str) -> str:
    """What ± is in the table of that name."""
    return _KINDS[kind_of(name)][1] if kind_of(name) else ""


def kind_of(name: str) -> str:
    """frechet, fid, kid, …; empty for others."""
    return max((kind for kind in _KINDS if name.removeprefix("clean_").startswith(kind)), key=len, default="")


def table_order(name: str) -> tuple[int, str]:
    """Sorts names of tables: FIDs first, geometry last."""
    order = ("fid", "frechet", "kid", "precision_recall", "copied", "swd", "geometry", "")
    return order.index(kind_of(name)), name


def column_order(name: str) -> tuple[int, int, str]:
    """Sorts names of columns."""
    stream, _, share = name.partition(" ")
    if stream in _STREAMS:
        return _STREAMS.index(stream), _SHARES.index(share) if share in _SHARES else 0, name
    return len(_STREAMS), list(_GEOMETRY).index(name) if name in _GEOMETRY else len(_GEOMETRY), name
