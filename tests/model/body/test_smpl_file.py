"""SMPL's own files: read whole, from the classes that they were written with; never executed."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from support.tiny_body import tiny_body_arrays

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.body.smpl_pickle import read_arrays


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.SimpleNamespace]:
    """Classes that pickle under chumpy's names and with its attributes; gone again before anything is read."""
    made = {}
    names = {"chumpy.ch": ["Ch"], "chumpy.reordering": ["Select", "reshape", "transpose"], "chumpy": []}
    for module, classes in names.items():
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        for name in classes:
            made[name] = type(
                name, (), {"__module__": module, "__init__": lambda self, **state: vars(self).update(state)}
            )
            setattr(sys.modules[module], name, made[name])
    return types.SimpleNamespace(**made)


def official(chumpy: types.SimpleNamespace, pose_corrections: bool = True) -> dict:
    """The tiny body laid out as SMPL's released files are."""
    body = {key: value.astype(np.float64) for key, value in tiny_body_arrays().items()}
    vertices = len(body["v_template"])
    wide = np.random.default_rng(0).normal(size=(vertices, 3, 300)) * 0.01
    wide[:, :, :10] = body["shapedirs"]
    chosen = np.arange(wide.size).reshape(wide.shape)[:, :, :10].ravel()
    posedirs = np.random.default_rng(1).normal(size=(vertices, 3, 207)) * 0.001 * pose_corrections
    return {
        "v_template": chumpy.Ch(x=body["v_template"], _dirty_vars=set(), _itr=None),
        "shapedirs": chumpy.Select(a=chumpy.Ch(x=wide), idxs=chosen, preferred_shape=(vertices, 3, 10)),
        "posedirs": posedirs,
        "J_regressor": sparse.csc_matrix(body["J_regressor"]),
        "weights": chumpy.transpose(
            a=chumpy.reshape(a=chumpy.Ch(x=body["weights"].T.copy()), newshape=(24, vertices)), axes=None
        ),
        "f": body["faces"].astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *body["parents"][1:]], range(24)], dtype=np.int64),
        "bs_type": "lrotmin",
        "bs_style": "lbs",
        "J_regressor_prior": sparse.csr_matrix(body["J_regressor"]),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_official_layout_equals_the_open_one(
    tmp_path: Path, chumpy: types.SimpleNamespace, tiny_body: Body, protocol: int
) -> None:
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(official(chumpy, pose_corrections=False), protocol))
    body = Body.load(tmp_path / "SMPL_NEUTRAL.pkl")
    for name in ("v_template", "shapedirs", "J_regressor", "weights"):
        torch.testing.assert_close(getattr(body, name), getattr(tiny_body, name), atol=1e-7, rtol=0)
    assert torch.equal(body.faces, tiny_body.faces)
    assert body.posedirs is None  # all zero: no need to multiply by it


def test_pose_corrections_survive(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    content = official(chumpy)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, 2))
    body = Body.load(tmp_path / "model.pkl")
    assert body.posedirs is not None
    torch.testing.assert_close(body.posedirs[7].view(-1, 3), torch.tensor(content["posedirs"][:, :, 7]).float())


def _python_2_array(array: np.ndarray) -> bytes:
    """What Python 2 wrote for an array: old module names, and bytes as its string type."""
    shape = b"".join(b"I%d\n" % n for n in array.shape)
    raw = array.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n("
        + shape
        + b"tcnumpy\ndtype\n(S'"
        + array.dtype.str[1:].encode()
        + b"'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nT"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )


def test_file_of_python_2(tmp_path: Path, tiny_body: Body) -> None:
    arrays = {"f" if key == "faces" else key: value for key, value in tiny_body_arrays().items()}
    regressor = sparse.csc_matrix(arrays.pop("J_regressor").astype(np.float64))
    data = b"(d" + b"".join(b"S'%s'\n%ss" % (key.encode(), _python_2_array(value)) for key, value in arrays.items())
    data += b"S'J_regressor'\nccopy_reg\n_reconstructor\n(cscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nNtR(d"
    for name in ("data", "indices", "indptr"):
        data += b"S'%s'\n%ss" % (name.encode(), _python_2_array(getattr(regressor, name)))
    data += b"S'_shape'\n(I24\nI%d\ntsbs." % regressor.shape[1]
    (tmp_path / "model.pkl").write_bytes(data)
    assert Body.load(tmp_path / "model.pkl").sha256 == tiny_body.sha256


def test_npz_of_smpl(tmp_path: Path, tiny_body: Body) -> None:
    arrays = tiny_body_arrays()
    arrays["f"] = arrays.pop("faces").astype(np.uint32)
    np.savez(tmp_path / "smpl.npz", **arrays, posedirs=np.zeros((len(arrays["v_template"]), 3, 207)))
    assert Body.load(tmp_path / "smpl.npz").sha256 == tiny_body.sha256


# ---- files that mean harm


class _Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def _global(module: str, name: str, argument: str) -> bytes:
    """A protocol-0 pickle {'v_template': module.name(argument)}."""
    return f"(dS'v_template'\nc{module}\n{name}\n(S'{argument}'\ntRs.".encode()


HOSTILE = [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("__builtin__", "eval"),
    ("builtins", "getattr"),
    ("subprocess", "check_output"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py.crackfortran", "myeval"),
    ("scipy.sparse", "load_npz"),
    ("chumpy.ch", "depends_on"),
    ("collections", "namedtuple"),
    ("torch", "load"),
    ("operator", "attrgetter"),
    ("importlib", "import_module"),
]


@pytest.mark.parametrize(("module", "name"), HOSTILE)
def test_calls_are_refused_without_effect(tmp_path: Path, module: str, name: str) -> None:
    canary, file = tmp_path / "canary", tmp_path / "model.pkl"
    file.write_bytes(_global(module, name, f"touch {canary}"))
    with pytest.raises(UserError, match=f"refused.*{module}.{name}.*Nothing in it was executed"):
        read_arrays(file, ("v_template", "weights"))
    assert not canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_os_system_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    import os

    canary, file = tmp_path / "canary", tmp_path / "model.pkl"
    payload = {"weights": [_Calls(os.system, f"touch {canary}")], "v_template": np.zeros((3, 3))}
    file.write_bytes(pickle.dumps(payload, protocol))
    with pytest.raises(UserError, match="refused"):
        read_arrays(file, ("v_template", "weights"))
    assert not canary.exists()
    pickle.loads(file.read_bytes())  # the payload was alive
    assert canary.exists()


def test_dotted_names_cannot_climb(tmp_path: Path) -> None:
    """Protocol 4 may name attributes of attributes: numpy's ndarray.__class__.__base__ and the like."""
    data = b"\x80\x04\x8c\x05numpy\x8c\x1andarray.__class__.__mro__\x93."
    data = data.replace(b"\x1a", bytes([len("ndarray.__class__.__mro__")]))
    (tmp_path / "model.pkl").write_bytes(data)
    with pytest.raises(UserError, match="refused"):
        read_arrays(tmp_path / "model.pkl", ("v_template",))


def test_extension_registry_and_persistent_ids_are_refused(tmp_path: Path) -> None:
    for data in (b"\x80\x02\x82\x01.", b"Pidentifier\n.", b"\x80\x05\x97."):
        (tmp_path / "model.pkl").write_bytes(data)
        with pytest.raises(UserError):
            read_arrays(tmp_path / "model.pkl", ("v_template",))


def test_sparse_indices_out_of_range(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    """Sizes and indices are checked before anything is written to memory by them."""
    content = official(chumpy)
    content["J_regressor"].indices[:] = 2**30
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(UserError, match="model.pkl"):
        Body.load(tmp_path / "model.pkl")


def test_expression_that_contains_itself(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    content = official(chumpy)
    content["v_template"].x = content["v_template"]
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(UserError, match="model.pkl"):
        Body.load(tmp_path / "model.pkl")


def test_sparse_matrix_of_a_stated_size(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    content = official(chumpy)
    for shape in ((24, 10**10), (10**10, 24), (10**9, 0)):
        content["J_regressor"]._shape = shape
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, 2))
        with pytest.raises(UserError, match="model.pkl"):
            Body.load(tmp_path / "model.pkl")


@pytest.mark.parametrize("depth", [8, 40, 5000])
def test_expressions_over_and_over(tmp_path: Path, chumpy: types.SimpleNamespace, depth: int) -> None:
    """Each uses the one below twice; computed again and again they would take 2**depth steps."""
    chosen = chumpy.Ch(x=np.zeros(1000, np.int64))
    for _ in range(depth):
        chosen = chumpy.Select(a=chosen, idxs=chosen)
    limit, content = sys.getrecursionlimit(), {**official(chumpy), "v_template": chosen}
    sys.setrecursionlimit(50_000)
    try:
        data = pickle.dumps(content, 2)
    finally:
        sys.setrecursionlimit(limit)
    (tmp_path / "model.pkl").write_bytes(data)
    if depth == 8:
        assert read_arrays(tmp_path / "model.pkl", ("v_template",))["v_template"].shape == (1000,)
    else:
        with pytest.raises(UserError, match="nested too deeply"):
            Body.load(tmp_path / "model.pkl")


def test_expressions_that_grow(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    """One byte of an index chooses eight of the array; again and again, that fills the memory."""
    index = np.zeros(1 << 20, np.int8)
    grown = [chumpy.Select(a=np.zeros(1), idxs=index) for _ in range(40)]
    whole = grown[0]
    for other in grown[1:14]:
        whole = chumpy.Select(a=whole, idxs=chumpy.Select(a=index, idxs=index, other=other))
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({**official(chumpy), "v_template": whole}, 2))
    with pytest.raises(UserError, match="larger than the file can hold"):
        Body.load(tmp_path / "model.pkl")


# ---- files that are no body


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["pkl", "npz"])
def test_truncated(tmp_path: Path, chumpy: types.SimpleNamespace, kind: str, share: float) -> None:
    stream = io.BytesIO()
    if kind == "pkl":
        pickle.dump(official(chumpy), stream, 2)
    else:
        np.savez(stream, **tiny_body_arrays())
    file = tmp_path / f"model.{kind}"
    file.write_bytes(stream.getvalue()[: int(share * len(stream.getvalue()))])
    with pytest.raises(UserError, match=file.name):
        Body.load(file)


@pytest.mark.parametrize(
    "content",
    [b"hello", b"\x89PNG\r\n\x1a\n", bytes(1000), b"I1\n.", b"N.", b"(lp0\n.", struct.pack("<1000d", *range(1000))],
)
@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_not_a_body_at_all(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match=file.name):
        Body.load(file)


def test_damaged_bytes_inside_an_npz(tmp_path: Path) -> None:
    file = tmp_path / "model.npz"
    np.savez_compressed(file, **tiny_body_arrays())
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("shapedirs.npy").header_offset
    data[start + 200 : start + 260] = bytes(60)
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match="model.npz"):
        Body.load(file)


def test_pickled_objects_in_an_npz_are_not_read(tmp_path: Path) -> None:
    import os

    canary = tmp_path / "canary"
    arrays = tiny_body_arrays() | {"posedirs": np.array([_Calls(os.system, f"touch {canary}")], dtype=object)}
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(UserError, match="model.npz"):
        Body.load(tmp_path / "model.npz")
    assert not canary.exists()


@pytest.mark.parametrize("missing", ["v_template", "shapedirs", "J_regressor", "weights", "faces"])
def test_missing_array_is_named(tmp_path: Path, missing: str) -> None:
    arrays = tiny_body_arrays()
    del arrays[missing]
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(UserError, match=missing):
        Body.load(tmp_path / "model.npz")


def test_face_that_points_at_no_vertex(tmp_path: Path) -> None:
    arrays = tiny_body_arrays()
    arrays["faces"][5, 1] = len(arrays["v_template"])
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(UserError, match="faces"):
        Body.load(tmp_path / "model.npz")


def test_missing_file_and_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Body.load(tmp_path / "nowhere.npz")
    (tmp_path / "body.obj").write_text("v 0 0 0")
    with pytest.raises(UserError, match=r"\.npz or \.pkl"):
        Body.load(tmp_path / "body.obj")


# ---- layouts of other programs


def _arrays() -> dict[str, np.ndarray]:
    arrays = tiny_body_arrays()
    count = len(arrays["v_template"])
    return arrays | {"posedirs": np.random.default_rng(3).normal(size=(count, 3, 207)).astype(np.float32) * 0.001}


@pytest.mark.parametrize(
    "layout",
    [
        lambda posedirs: posedirs.reshape(-1, 207),
        lambda posedirs: posedirs.reshape(-1, 207).T,
        lambda posedirs: posedirs.transpose(2, 0, 1),
        lambda posedirs: np.asfortranarray(posedirs.astype(">f8")),
    ],
)
def test_pose_corrections_in_every_layout_are_the_same_body(tmp_path: Path, layout: Callable) -> None:
    arrays = _arrays()
    np.savez(tmp_path / "smpl.npz", **arrays)
    np.savez(tmp_path / "other.npz", **arrays | {"posedirs": layout(arrays["posedirs"])})
    assert Body.load(tmp_path / "other.npz").sha256 == Body.load(tmp_path / "smpl.npz").sha256


def test_further_betas_are_left_out_and_missing_ones_do_nothing(tmp_path: Path) -> None:
    arrays = _arrays()
    few = arrays["shapedirs"][:, :, :4]
    wide = np.concatenate([arrays["shapedirs"], np.ones((len(few), 3, 290), np.float32)], axis=2)
    for name, shapedirs in (("own", arrays["shapedirs"]), ("wide", wide), ("few", few)):
        np.savez(tmp_path / f"{name}.npz", **arrays | {"shapedirs": shapedirs})
    assert Body.load(tmp_path / "wide.npz").sha256 == Body.load(tmp_path / "own.npz").sha256
    body = Body.load(tmp_path / "few.npz")
    assert torch.equal(body.shapedirs[:, :, :4], torch.from_numpy(few))
    assert not body.shapedirs[:, :, 4:].any()


CHANGES: dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "posedirs": lambda a: {"posedirs": a["posedirs"].transpose(1, 0, 2)},
    "v_template": lambda a: {"v_template": a["v_template"].astype("U9")},
    "weights": lambda a: {"weights": np.float32(1)},
    "J_regressor": lambda a: {"J_regressor": np.full_like(a["J_regressor"], 1e300, np.float64)},
    "shapedirs": lambda a: {"shapedirs": a["shapedirs"].astype("M8[s]")},
    "faces": lambda a: {"faces": a["faces"][:0]},
    "landmarks": lambda a: {"landmarks": np.array([0, 1, 2, 3, 10**9])},
    "kintree_table": lambda a: {"kintree_table": np.zeros((2, 24), np.int64)},
    "weights_": lambda a: {"weights_index": np.array([[0], [24]]), "weights_value": np.ones(1)},
    "no 'v": lambda a: {"v_template": np.array({"a": 1}, dtype=object)},
}


@pytest.mark.parametrize("key", CHANGES)
def test_other_arrays_are_refused_by_name(tmp_path: Path, key: str) -> None:
    arrays = _arrays()
    np.savez(tmp_path / "body.npz", **arrays | CHANGES[key](arrays))
    with pytest.raises(UserError, match=key.rstrip("_").removeprefix("no '")) as caught:
        Body.load(tmp_path / "body.npz")
    assert "allow_pickle" not in str(caught.value)
