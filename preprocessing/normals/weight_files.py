"""Where the network is that estimates normals."""

from __future__ import annotations

from pathlib import Path

from ag3d.config.data import Normals
from ag3d.core.errors import UserError
from ag3d.preprocessing.onnx_model import onnx_file

OWN = Path(__file__).parent / "weights" / "normals.safetensors"  # comes with the project


def network_file(settings: Normals) -> Path | None:
    """The file of the method's network; None for methods without one. Raises UserError where it is missing."""
    if settings.method == "onnx":
        return onnx_file(settings.onnx, "normals.onnx")
    if settings.method != "network":
        return None
    path = Path(settings.network).expanduser() if settings.network else OWN
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise UserError(
                f"{file} does not exist; name the weights of a normal network with 'normals.network' (.safetensors, its card "
                ".json beside it), or make them with: ag3d normals-train"
            )
    return path
