"""Whole files that the model reads: bodies, networks, states of trainings, people and motions."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fuzz import pickles as p
from tests.fuzz.seeds import LABEL, as_json, npy, npz, picture, png, through_file

_random = np.random.default_rng(0)


@functools.cache
def body_arrays(vertices: int = 12) -> dict[str, np.ndarray]:
    """A body of a few vertices, in the open layout."""
    weights = np.zeros((vertices, 24), np.float32)
    weights[np.arange(vertices), np.arange(vertices) % 24] = 1
    return {
        "v_template": _random.normal(size=(vertices, 3)).astype(np.float32),
        "shapedirs": _random.normal(size=(vertices, 3, 10)).astype(np.float32),
        "posedirs": _random.normal(size=(vertices, 3, 207)).astype(np.float32),
        "J_regressor": np.full((24, vertices), 1 / vertices, np.float32),
        "weights": weights,
        "faces": np.array([[0, 1, 2], [2, 3, 4]]),
        "parents": np.array([-1, *range(23)]),
        "landmarks": np.arange(5),
    }


def body_files() -> list[bytes]:
    arrays = body_arrays()
    index = np.stack(np.nonzero(arrays["weights"])).astype(np.int32)
    packed = {name: array for name, array in arrays.items() if name != "weights"}
    packed |= {"weights_index": index, "weights_value": np.ones(len(index[0]), np.float32)}
    other = {("f" if name == "faces" else name): array for name, array in arrays.items() if name != "landmarks"}
    return [npz(**arrays), npz(**packed), npz(**other)]


def smpl_pickles() -> list[bytes]:
    """As SMPL's own are: chumpy's and scipy's classes, and plain arrays."""
    arrays = body_arrays()
    official = {name: p.array(arrays[name]) for name in ("shapedirs", "posedirs", "weights")} | {
        "v_template": p.built("chumpy.ch", "Ch", p.mapping({"x": p.array(arrays["v_template"])})),
        "J_regressor": p.sparse(arrays["J_regressor"]),
        "f": p.array(arrays["faces"].astype(np.uint32)),
    }
    wide = p.mapping({"a": p.array(arrays["weights"].T.copy()), "axes": b"N"})
    plain = {("f" if name == "faces" else name): p.array(array) for name, array in arrays.items() if name != "parents"}
    plain["weights"] = p.built("chumpy.reordering", "transpose", wide)
    return [b"\x80\x02" + p.mapping(content) + b"." for content in (official, plain)]


@functools.cache
def tiny_body() -> Any:
    """A body that networks can be made with."""
    from support.tiny_body import tiny_body_arrays

    from ag3d.model.body.body import Body

    return Body.from_arrays(tiny_body_arrays(), "tiny")


@functools.cache
def tiny_network() -> Any:
    from support.networks import TINY

    from ag3d.config import Network

    return Network(**TINY)


@functools.cache
def generator_weights() -> bytes:
    from ag3d.model.checkpoint import save_weights
    from ag3d.model.generator import Generator

    return through_file(lambda path: save_weights(Generator(tiny_network(), tiny_body()), path), "g.safetensors")


@functools.cache
def checkpoint_json() -> list[bytes]:
    from ag3d.model.checkpoint import describe

    return [as_json(describe(tiny_network(), tiny_body(), kimg=1.5, files={}, key="k", training={}))]


@functools.cache
def released() -> list[bytes]:
    from support.released_file import networks, write_released

    made = networks(tiny_body())
    return [
        through_file(partial(write_released, made=made, parts=("G_ema",), protocol=each), "g.pkl") for each in (2, 4)
    ]


def inception() -> list[bytes]:
    """Small files of the three layouts: of Inception's whole weights a run would change the numbers alone."""
    import torch
    from support import stand_in_inception

    module = stand_in_inception.Other()
    with tempfile.TemporaryDirectory() as folder:
        files = [stand_in_inception.save(module, Path(folder))]
        for zipped in (True, False):
            files.append(Path(folder) / f"{zipped}.pth")
            torch.save(module.state_dict(), files[-1], _use_new_zipfile_serialization=zipped)
        return [file.read_bytes() for file in files]


def state() -> dict[str, bytes]:
    """The two files of a saved state."""
    from ag3d.model.training.training_state import TENSORS, VALUES, TrainingState

    saved = TrainingState(
        "k", 8, {"generator/a": torch.ones(3, 2), "b": torch.zeros(4)}, {"seconds": 1.5, "sums": {"x": [0.1, 3]}}
    )
    with tempfile.TemporaryDirectory() as folder:
        saved.write(Path(folder))
        return {name: (Path(folder) / name).read_bytes() for name in (TENSORS, VALUES)}


def state_json() -> list[bytes]:
    return [state()["state.json"]]


def state_tensors() -> list[bytes]:
    return [state()["state.safetensors"]]


def tensors() -> list[bytes]:
    from safetensors.torch import save

    return [save({"weight": torch.ones(3, 4), "bias": torch.zeros(3)})]


@functools.cache
def training_plan(seed: int) -> Any:
    from ag3d.config import Training
    from ag3d.model.training.stages import plan_stages

    return plan_stages(Training(kimg=1.0, seed=seed), tiny_network(), 1000, "data", "body")


def run_json() -> list[bytes]:
    """Of another training, so that what differs is told."""
    plan = training_plan(1)
    return [
        as_json({"keys": [stage.key for stage in plan], "sciences": [stage.science for stage in plan], "content": "d"})
    ]


def metrics_lines() -> list[bytes]:
    rows = [
        {"images": 4 * k, "kimg": 0.004 * k, "loss/G": 1.0, "logit/real/full": 0.5, "beta": {"a": 1}}
        for k in range(1, 5)
    ]
    return [b"".join(as_json(row) + b"\n" for row in rows)]


def lock_json() -> list[bytes]:
    return [as_json({"host": "a", "pid": 3, "since": "2026-01-01 00:00:00"}), b""]


def index_json() -> list[bytes]:
    return [as_json({"content": "", "number": 3})]


def motions() -> list[bytes]:
    poses, trans = _random.normal(size=(5, 165)) * 0.1, _random.normal(size=(5, 3))
    parts = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "trans": trans}
    return [
        npz(
            poses=poses[:, :72],
            trans=trans,
            mocap_framerate=np.array(30.0),
            betas=np.zeros(10),
            gender=np.array("neutral"),
        ),
        npz(poses=poses[:, :156], trans=trans, mocap_frame_rate=60),
        npz(poses=poses, **{"mocap_frame_rate": 120.0}),
        npz(**parts, surface_model_type=np.array("smplx")),
    ]


def latents() -> list[bytes]:
    ws = _random.normal(size=(3, 4, 8)).astype(np.float32)
    return [npz(ws=ws, label=np.tile(np.float32(LABEL), (3, 1)), seed=np.arange(3)), npz(ws=ws[:, 0]), npy(ws)]


def poses() -> list[bytes]:
    return [npy(np.tile(np.float32(LABEL), (5, 1)))]


def poses_json() -> list[bytes]:
    return [as_json({"file": hashlib.sha256(poses()[0]).hexdigest(), "number": 5})]


def labels_npy() -> list[bytes]:
    return [npy(np.float32(LABEL))]


def labels_json() -> list[bytes]:
    return [as_json(LABEL)]


def avatars_json() -> list[bytes]:
    return [as_json({"seeds": [1, 2]})]


def strip() -> list[bytes]:
    """A person's pictures side by side, as the viewer takes them."""
    return [png(np.zeros((16, 64, 3), np.uint8))]


def glb() -> list[bytes]:
    from ag3d.model.export.gltf import VERTICES, Glb

    made = Glb({"seed": 1})
    place = made.array(np.zeros((3, 3), np.float32), VERTICES, bounds=True)
    made.add(
        "meshes",
        {
            "primitives": [
                {
                    "attributes": {"POSITION": place},
                    "material": made.material(made.texture(png(picture()), "image/png")),
                }
            ]
        },
    )
    made.add("nodes", {"mesh": 0})
    made.add("scenes", {"nodes": [0]})
    return [made.tobytes()]
