"""A released checkpoint as our settings and tensors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config import Network
from ag3d.config.settings import from_mapping
from ag3d.core.bounded import MOST_BYTES, open_regular
from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.body.smpl_file import PARENTS, checked_body
from ag3d.model.checkpoint import Shapes, check_shapes
from ag3d.model.legacy import key_map
from ag3d.model.legacy.allowed_names import Tensor, names
from ag3d.model.legacy.bodies import embedded_arrays
from ag3d.model.legacy.infer_config import expected_shapes, settings_from_options, settings_from_shapes
from ag3d.model.legacy.key_map import our_tensors
from ag3d.model.safe_pickle.unpickler import Values, read, refusing

WHAT = "a checkpoint as AG3D released them"
HINT = (
    "Is it one of AG3D's .pkl files? A further name that you know to be of the network's own code can be let in as an "
    "inert placeholder: --placeholder MODULE.NAME"
)
PARTS = {"G_ema": "generator_ema", "G": "generator", "D": "discriminator"}
LARGEST_SIDE = 4096
_BEGINNINGS = {
    b"PK\x03\x04": "a zip file (a data set, or a newer format of PyTorch's)",
    b"\x1f\x8b": "compressed; unpack it first",
    b"<": "a web page: the download went wrong; fetch the file again",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
}


@dataclass
class Released:
    """What a released checkpoint holds."""

    settings: Network
    networks: dict[str, dict[str, np.ndarray]]  # generator_ema, and generator, discriminator where they are there
    body: dict[str, np.ndarray] | None  # a body file's arrays; licensed data where it is SMPL
    kimg: float  # thousands of images that it was trained on; 0 where the file does not say


def read_released(path: Path, placeholders: Collection[str] = ()) -> Released:
    """Read a released checkpoint without executing anything in it. Raises UserError.

    `placeholders`: further names ("module.name") that the file may use; they stay inert.
    """
    check_kind(path)
    with refusing(path, WHAT, HINT):
        content = read(path, names(placeholders))
        if not isinstance(content, dict) or content.get("G_ema") is None:
            raise ValueError("it holds no networks G, D, G_ema")
        # An honest file's tensors are not larger than it; text that is decoded into bytes counts, too.
        values = Values(min(2 * path.stat().st_size, MOST_BYTES))
        raw = {
            ours: key_map.tensors(content[theirs], values)
            for theirs, ours in PARTS.items()
            if content.get(theirs) is not None
        }
        settings = _settings({part: our_tensors(arrays) for part, (arrays, _) in raw.items()}, content, str(path))
        wanted = expected_shapes(settings)
        networks = {
            part: _fitting(our_tensors(arrays), buffers, wanted[part == "discriminator"], f"{path}: {part}")
            for part, (arrays, buffers) in raw.items()
        }
        body = _body(content["G_ema"], values, path)
        images = _images(content.get("progress"))
    return Released(settings, networks, body, images / 1000)


def check_kind(path: Path) -> None:
    """Raises UserError where `path` is plainly no pickle, saying what it is."""
    if (path / "checkpoint.json").exists():
        raise UserError(f"{path} is a checkpoint's folder already: use it as it is, with --checkpoint")
    with open_regular(path) as handle:
        start = handle.read(64)
    for beginning, kind in _BEGINNINGS.items():
        if start.lstrip().startswith(beginning):
            raise UserError(f"{path} is {kind}; {WHAT} is a .pkl file")


def _settings(networks: dict[str, dict[str, np.ndarray]], content: dict[str, Any], source: str) -> Network:
    """The network that the tensors are of, as their shapes and the file's options tell. Raises UserError."""
    shapes = {part: {name: array.shape for name, array in state.items()} for part, state in networks.items()}
    try:
        settings = settings_from_shapes(shapes["generator_ema"], shapes.get("discriminator", {}))
    except (LookupError, ValueError) as error:
        raise UserError(
            f"{source} is not of AG3D's network: a tensor is missing or has another shape ({error})"
        ) from error
    if max(settings["image_resolution"], settings["plane_resolution"]) > LARGEST_SIDE:
        raise UserError(f"{source} is not of AG3D's network: it states sides of more than {LARGEST_SIDE} pixels")
    settings |= settings_from_options(content["G_ema"], content.get("D"), settings["image_resolution"], source)
    try:
        return from_mapping(Network, settings, "network")
    except UserError as error:
        raise UserError(f"{source} is not of AG3D's network ({error})") from error


def _fitting(state: dict[str, np.ndarray], buffers: set[str], wanted: Shapes, source: str) -> dict[str, np.ndarray]:
    """The network's tensors, float32. Raises UserError where one is missing, surplus, of another shape or not finite."""
    surplus = sorted(buffers & (state.keys() - wanted.keys()))
    if surplus:
        log.warning("%s: buffers that the network does not need are left out: %s", source, ", ".join(surplus[:5]))
    tensors = {name: array for name, array in state.items() if name not in surplus}
    check_shapes({name: array.shape for name, array in tensors.items()}, wanted, source)
    for name, array in tensors.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(f"{source}: {name} holds values that are no finite numbers; the file is damaged")
    return {name: array.astype(np.float32, copy=False) for name, array in tensors.items()}


def _images(progress: Any) -> int:
    """How many images the network has seen, stored as a number or a tensor of one; 0 where the file does not say."""
    stored = progress.get("cur_nimg") if isinstance(progress, dict) else None
    if isinstance(stored, Tensor):
        array = Values(64).array(stored)
        stored = int(array.flat[0]) if array.dtype.kind == "i" else None
    return stored if type(stored) is int and 0 <= stored < 10**12 else 0


def _body(network: Any, values: Values, path: Path) -> dict[str, np.ndarray] | None:
    """The body inside, checked; None, with a warning, where there is none that can be used."""
    arrays = embedded_arrays(network, values)
    if arrays is None:
        log.warning("%s holds no body: it cannot be told which one it was trained with", path)
        return None
    try:
        arrays = checked_body(arrays, path)
        Body.from_arrays(arrays, path.name)
    except (UserError, ValueError, TypeError, RuntimeError) as error:
        log.warning("the body inside %s is left aside: %s", path, error)
        return None
    return arrays | {"parents": np.array(PARENTS)}
