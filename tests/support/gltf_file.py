"""Reads .glb files by the specification (glTF 2.0) alone, knowing nothing of the project's writer, and plays animations."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

KINDS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GltfFile:
    def __init__(self, path: Path) -> None:
        data = Path(path).read_bytes()
        magic, version, length = struct.unpack("<4sII", data[:12])
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack("<I4s", data[12:20])
        assert kind == b"JSON"
        self.tree = json.loads(data[20 : 20 + size])
        size, kind = struct.unpack("<I4s", data[20 + size : 28 + size])
        assert kind == b"BIN\0"
        self.binary = data[len(data) - size :]

    def view(self, index: int) -> bytes:
        view = self.tree["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self.binary[start : start + view["byteLength"]]

    def array(self, index: int, scaled: bool = True) -> np.ndarray:
        """[count] or [count,width]; normalised integers become fractions if `scaled`."""
        accessor = self.tree["accessors"][index]
        kind, width = KINDS[accessor["componentType"]], WIDTHS[accessor["type"]]
        flat = np.frombuffer(self.view(accessor["bufferView"]), kind, accessor["count"] * width)
        if scaled and accessor.get("normalized"):
            flat = flat / np.iinfo(kind).max
        if accessor["type"] == "MAT4":
            return flat.reshape(-1, 4, 4).transpose(0, 2, 1)
        return flat if width == 1 else flat.reshape(-1, width)

    def attributes(self) -> dict[str, np.ndarray]:
        (primitive,) = self.tree["meshes"][0]["primitives"]
        return {name: self.array(index) for name, index in primitive["attributes"].items()}

    def faces(self) -> np.ndarray:
        return self.array(self.tree["meshes"][0]["primitives"][0]["indices"]).reshape(-1, 3).astype(int)

    def nodes_at(self, animation: str | None = None, time: float = 0.0) -> np.ndarray:
        """Global transforms [nodes,4,4], at rest or at a time of an animation."""
        nodes = self.tree["nodes"]
        state = [{key: np.array(node[key]) for key in ("translation", "rotation") if key in node} for node in nodes]
        if animation is not None:
            (played,) = [entry for entry in self.tree["animations"] if entry["name"] == animation]
            for channel in played["channels"]:
                sampler = played["samplers"][channel["sampler"]]
                assert sampler["interpolation"] == "LINEAR"
                times, values = self.array(sampler["input"]), self.array(sampler["output"])
                at = np.clip(time, times[0], times[-1])
                path = channel["target"]["path"]
                if path == "rotation":
                    value = Slerp(times, Rotation.from_quat(values))(at).as_quat()
                else:
                    value = np.array([np.interp(at, times, column) for column in values.T])
                state[channel["target"]["node"]][path] = value
        local = np.tile(np.eye(4), (len(nodes), 1, 1))
        for matrix, parts in zip(local, state):
            matrix[:3, 3] = parts.get("translation", (0, 0, 0))
            matrix[:3, :3] = Rotation.from_quat(parts.get("rotation", (0, 0, 0, 1))).as_matrix()
        out = local.copy()

        def descend(node: int) -> None:
            for child in nodes[node].get("children", []):
                out[child] = out[node] @ local[child]
                descend(child)

        for root in self.tree["scenes"][self.tree.get("scene", 0)]["nodes"]:
            descend(root)
        return out

    def skinned(self, animation: str | None = None, time: float = 0.0) -> np.ndarray:
        """Vertices [V,3] at a time of an animation (3.7.3.3)."""
        (skin,) = self.tree["skins"]
        bones = self.nodes_at(animation, time)[skin["joints"]] @ self.array(skin["inverseBindMatrices"])
        found = self.attributes()
        blended = np.einsum("vk,vkrc->vrc", found["WEIGHTS_0"], bones[found["JOINTS_0"]])
        points = np.concatenate([found["POSITION"], np.ones((len(blended), 1))], axis=1)
        return np.einsum("vrc,vc->vr", blended, points)[:, :3]

    def picture(self) -> bytes:
        """The encoded base colour texture."""
        material = self.tree["materials"][self.tree["meshes"][0]["primitives"][0]["material"]]
        texture = self.tree["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
        return self.view(self.tree["images"][texture["source"]]["bufferView"])
