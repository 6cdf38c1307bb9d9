"""Files of glTF 2.0's binary kind (.glb): arrays, pictures, materials, meshes, skins and animations in one file."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import ag3d

VERTICES, INDICES = 34962, 34963  # what a buffer is for (glTF 2.0, 5.11.5)
_COMPONENTS = {"f4": 5126, "u1": 5121, "u2": 5123, "u4": 5125}
_SHAPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}


class Glb:
    """A file in the making. `tree` is its JSON; the methods add to it and return indices."""

    def __init__(self, extras: dict[str, Any] | None = None) -> None:
        asset: dict[str, Any] = {"version": "2.0", "generator": f"ag3d {ag3d.__version__}"}
        if extras:
            asset["extras"] = extras
        self.tree: dict[str, Any] = {"asset": asset}
        self._binary = bytearray()

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append to one of the tree's lists ("nodes", "meshes", …)."""
        entries = self.tree.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def array(
        self, values: np.ndarray, target: int | None = None, normalized: bool = False, bounds: bool = False
    ) -> int:
        """An accessor of [n], [n,2], [n,3], [n,4] or [n,4,4] of float32, uint8, uint16 or uint32.

        Matrices are given row by row, as numpy has them. Elements of vertex buffers must be multiples of 4 bytes.
        """
        values = np.ascontiguousarray(values)
        stored = np.ascontiguousarray(values.swapaxes(1, 2)) if values.ndim == 3 else values  # glTF: column by column
        entry: dict[str, Any] = {
            "bufferView": self._view(stored.tobytes(), target),
            "componentType": _COMPONENTS[stored.dtype.str[1:]],
            "count": len(stored),
            "type": _SHAPES[stored.shape[1:]],
        }
        if normalized:
            entry["normalized"] = True
        if bounds:
            flat = stored.reshape(len(stored), -1)
            entry |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        return self.add("accessors", entry)

    def texture(self, picture: bytes, kind: str) -> int:
        """A texture of an encoded picture, `kind` being image/png or image/jpeg."""
        image = self.add("images", {"bufferView": self._view(picture, None), "mimeType": kind})
        linear, mipmapped, clamp = 9729, 9987, 33071
        sampler = self.add("samplers", {"magFilter": linear, "minFilter": mipmapped, "wrapS": clamp, "wrapT": clamp})
        return self.add("textures", {"source": image, "sampler": sampler})

    def material(self, texture: int | None = None) -> int:
        """A dull material: glTF's default is metal, which viewers show nearly black."""
        surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
        if texture is not None:
            surface["baseColorTexture"] = {"index": texture}
        return self.add("materials", {"pbrMetallicRoughness": surface})

    def tobytes(self) -> bytes:
        """The whole file (glTF 2.0, 4.4)."""
        tree = {**self.tree, "buffers": [{"byteLength": len(self._binary)}]}
        text = json.dumps(tree, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
        chunks = b""
        for kind, content, filler in ((b"JSON", text, b" "), (b"BIN\0", bytes(self._binary), b"\0")):
            padded = content + filler * (-len(content) % 4)
            chunks += len(padded).to_bytes(4, "little") + kind + padded
        return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks

    def _view(self, data: bytes, target: int | None) -> int:
        self._binary += b"\0" * (-len(self._binary) % 4)
        entry = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        self._binary += data
        return self.add("bufferViews", entry if target is None else {**entry, "target": target})
