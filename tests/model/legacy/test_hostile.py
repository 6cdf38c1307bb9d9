"""Files that mean harm, and files that are something else, are refused: quickly, in little memory, without effect."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import sys
import time
import tracemalloc
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.released_file import SOURCE, Calls, reference_modules, write_released

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.body.smpl_pickle import read_arrays
from ag3d.model.legacy import import_checkpoint as command
from ag3d.model.legacy.reader import read_released
from ag3d.model.legacy.torch_storage import read_storage

DANGEROUS = {
    *{"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec", "compile", "pickle.find_class"},
    *{"socket.connect", "shutil.rmtree", "os.remove", "os.mkdir", "ctypes.dlopen", "urllib.Request"},
}


def _types_only() -> bool:
    """Whether `typing` is at work, which evaluates the annotations of our own settings."""
    frame = sys._getframe()
    while frame := frame.f_back:
        if frame.f_code.co_filename == typing.__file__:
            return True
    return False


class Watch:
    """Notes dangerous events of the interpreter while it is on. An audit hook cannot be taken away again."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: Any) -> None:
        if self.on and (event in DANGEROUS or (event == "open" and "w" in str(arguments[1]))) and not _types_only():
            self.seen.append(event)

    def __enter__(self) -> Watch:
        self.on, self.seen = True, []
        return self

    def __exit__(self, *error: object) -> None:
        self.on = False


@pytest.fixture(scope="module")
def watch(small_released: Path) -> Watch:
    read_released(small_released)  # whatever is imported on the way is imported now
    return Watch()


@pytest.fixture(autouse=True)
def _in_little_time_and_memory(request: pytest.FixtureRequest, watch: Watch) -> Iterator[None]:
    if "fuzz" in request.node.name:  # it is slow to watch the memory
        yield
        return
    tracemalloc.start()
    start = time.process_time()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < 10
    assert peak < 100 << 20


def refused(watch: Watch, path: Path, match: str, output: Path) -> None:
    """The command refuses the file, having done nothing."""
    with watch, pytest.raises(UserError, match=match):
        command.import_checkpoint(path, output)
    assert not watch.seen
    assert not output.exists()
    assert not [each for each in output.parent.iterdir() if each.suffix == ".part"]


# ---- calls

NAMES = [
    *[("os", "system"), ("posix", "system"), ("nt", "system"), ("os", "popen"), ("subprocess", "Popen")],
    *[("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("builtins", "__import__")],
    *[("builtins", "compile"), ("builtins", "open"), ("builtins", "globals"), ("builtins", "vars")],
    *[("importlib", "import_module"), ("runpy", "run_path"), ("pty", "spawn"), ("webbrowser", "open")],
    *[("operator", "attrgetter"), ("operator", "methodcaller"), ("functools", "reduce"), ("copyreg", "add_extension")],
    *[("pickle", "loads"), ("_pickle", "loads"), ("dill", "loads"), ("dill._dill", "loads"), ("torch", "load")],
    *[("torch.hub", "load"), ("torch.jit", "load"), ("torch.serialization", "load"), ("torch.storage", "open")],
    *[("torch.utils.cpp_extension", "load_inline"), ("torch._inductor.codecache", "PyCodeCache")],
    *[("torch.nn.utils", "parametrize"), ("torch.nn", "os.system"), ("torch.float32.__class__", "mro")],
    *[("numpy", "load"), ("numpy.testing._private.utils", "runstring"), ("numpy.f2py.crackfortran", "myeval")],
    *[("training.triplane", "OSGDecoder.__init__.__globals__"), ("trainingx", "system"), ("dnnlib.util", "a b")],
    *[("ag3d.core.files", "write_text"), ("shutil", "rmtree"), ("ctypes", "CDLL"), ("code", "interact")],
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_names_that_no_checkpoint_needs(watch, tmp_path, module, name):
    path, canary = tmp_path / "network.pkl", tmp_path / "canary"
    path.write_bytes(f"(dS'G_ema'\nc{module}\n{name}\n(S'touch {canary}'\ntRs.".encode())
    refused(
        watch, path, f"network.pkl was refused: it names {module}.{name}.*Nothing in it was executed", tmp_path / "out"
    )
    assert not canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_os_system_beside_whole_networks(watch, tmp_path, made, protocol):
    canary = tmp_path / "canary"
    payload = Calls(os.system, f"touch {canary}")
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",), protocol=protocol, augment_pipe=payload)
    refused(watch, path, "refused: it names (posix.system|nt.system|an object of an unknown class)", tmp_path / "out")
    assert not canary.exists()
    with reference_modules():
        pickle.loads(path.read_bytes())  # the payload was alive
    assert canary.exists()


def test_source_text_inside_is_never_run(watch, tmp_path, released):
    """Every persistent module carries source text that its own reader would run."""
    assert SOURCE.encode() in released.read_bytes()
    with watch:
        read_released(released)
    assert not watch.seen
    assert not Path("canary").exists()


def test_code_in_closures_is_never_made(watch, tmp_path, made):
    def harm() -> None:
        (tmp_path / "canary").touch()

    def call(named: dict[str, Any]) -> Calls:
        code = Calls(named["_create_code"], 0, 0, 0, 0, 9, 67, harm.__code__.co_code, (None,), (), ())
        return Calls(getattr, Calls(named["_create_function"], code, {}, "f", None, None), "__call__")

    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",), closure=call)
    with watch:
        read_released(path)
    assert not watch.seen


def test_placeholders_stay_inert(watch, monkeypatch, tmp_path, made):
    canary = tmp_path / "canary"
    path = write_released(
        tmp_path / "network.pkl", made, parts=("G_ema",), more=Calls(os.system, f"touch {canary}", state={"a": 1})
    )
    name = f"{os.system.__module__}.system"
    with watch:
        found = read_released(path, [name])
    assert not watch.seen
    assert not canary.exists()
    assert found.settings.image_resolution == made[0].settings.image_resolution
    arguments = ["ag3d import-checkpoint", str(path), str(tmp_path / "out"), "--placeholder", name]
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    assert not canary.exists()


def test_text_of_the_file_cannot_control_the_terminal(watch, tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"\x80\x04\x8c\x02os" + b"\x8c\x08\x1b[31m\x07ab" + b"\x93.")
    with pytest.raises(UserError) as caught:
        read_released(path)
    assert str(caught.value).isprintable()
    with reference_modules() as named:
        write(path, {"G_ema": module({}, named, **{"\x1b[31m": torch.nn.Parameter(torch.zeros(1))})})
    refused(watch, path, "a tensor without a proper name", tmp_path / "out")


# ---- structures that grow


def nested(depth: int, width: int = 10) -> list:
    """Lists of the same list: small in the file, 10**depth when walked."""
    thing: list = ["ha"]
    for _ in range(depth):
        thing = [thing] * width
    return thing


def module(children: dict[str, Any], named: dict[str, Any], **tensors: Any) -> Any:
    thing = named["OSGDecoder"]()
    vars(thing).update({"_parameters": tensors, "_buffers": {}, "_modules": children})
    return thing


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def test_modules_inside_themselves_and_over_and_over(watch, tmp_path):
    with reference_modules() as named:
        loop = module({}, named)
        loop._modules["again"] = loop
        refused(watch, write(tmp_path / "loop.pkl", {"G_ema": loop}), "loop.pkl.*too many", tmp_path / "out")
        laughs = module({}, named, weight=torch.nn.Parameter(torch.zeros(3)))
        for _ in range(20):
            laughs = module({f"m{index}": laughs for index in range(10)}, named)
        refused(watch, write(tmp_path / "laughs.pkl", {"G_ema": laughs}), "laughs.pkl.*too many", tmp_path / "out")


def test_one_mapping_as_everybodys_children(watch, tmp_path):
    empty, many = b"}", b"".join(b"X\x05\x00\x00\x00%05dh\x01" % number for number in range(19_000))
    state = b"}(X\x0b\x00\x00\x00_parameters" + empty + b"X\x08\x00\x00\x00_buffers" + empty
    state += b"X\x08\x00\x00\x00_modules}(" + many + b"uu"
    data = b"\x80\x02}X\x05\x00\x00\x00G_emactraining.a\nB\n)\x81q\x01" + state + b"bs."
    (tmp_path / "network.pkl").write_bytes(data)
    refused(watch, tmp_path / "network.pkl", "holds too many", tmp_path / "out")


def test_lists_over_and_over(watch, tmp_path, made, body_arrays):
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",), laughs=nested(60))
    with watch:
        read_released(path)  # nobody looks at them
    refused(watch, write(tmp_path / "alone.pkl", nested(60)), "holds no networks", tmp_path / "out")
    refused(watch, write(tmp_path / "as.pkl", {"G_ema": nested(60)}), "is no module", tmp_path / "out")
    with pytest.raises(UserError, match="body.pkl"):
        read_arrays(write(tmp_path / "body.pkl", {"v_template": nested(60)}), ("v_template",))


def test_one_large_tensor_under_many_names(watch, tmp_path):
    """Only what the file could hold comes out of it."""
    with reference_modules() as named:
        path = write(tmp_path / "stretched.pkl", {"G_ema": module({}, named, w=_stretched(10**12))})
        refused(watch, path, "stretched.pkl.*larger than the file can hold", tmp_path / "out")
        large = torch.zeros(1 << 18)
        function, arguments = large.__reduce_ex__(4)[:2]
        load, data = arguments[0].__reduce__()
        blob = Calls(load, *data)
        views = {
            f"w{index}": Calls(function, blob, index, (len(large) - index,), (1,), *arguments[4:])
            for index in range(500)
        }
        path = write(tmp_path / "views.pkl", {"G_ema": module({}, named, **views)})
        assert path.stat().st_size < 2 << 20
        refused(watch, path, "views.pkl.*larger than the file can hold", tmp_path / "out")


def _stretched(size: int) -> Any:
    """A tensor that repeats its one number, as views do that are never written out."""
    tensor = torch.zeros(1)
    function, arguments = tensor.__reduce_ex__(4)[:2]
    return Calls(function, arguments[0], 0, (size,), (0,), *arguments[4:])


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        *[(0, (5,), (1,)), (4, (1,), (1,)), (0, (2, 2), (3, 1)), (-1, (1,), (1,)), (0, (-1,), (1,)), (0, (2,), (-1,))],
        *[(0, (2,), ()), (0, (2**70,), (2**70,)), (0, (1,) * 40, (1,) * 40), (0, (True,), (1,)), (0, ("a",), (1,))],
    ],
)
def test_tensors_that_reach_beyond_their_data(watch, tmp_path, offset, size, stride):
    function, arguments = torch.zeros(4).__reduce_ex__(4)[:2]
    tensor = Calls(function, arguments[0], offset, size, stride, *arguments[4:])
    with reference_modules() as named:
        path = write(tmp_path / "network.pkl", {"G_ema": module({}, named, weight=tensor)})
    refused(watch, path, "network.pkl is not a checkpoint", tmp_path / "out")


def test_storages_that_state_other_sizes():
    stream = io.BytesIO()
    typed = torch.storage.TypedStorage(
        wrap_storage=torch.arange(4.0).untyped_storage(), dtype=torch.float, _internal=True
    )
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue()
    assert len(read_storage(data)) == 4
    stated = data.index(b"K\x04", data.index(b"cpu"))
    counted = len(data) - 16 - 8
    for wrong in (
        data[:stated] + b"J" + struct.pack("<i", 2**31 - 1) + data[stated + 2 :],
        data[:counted] + struct.pack("<q", 2**62) + data[counted + 8 :],
        data[:-1],
        data + b"\0",
        data.replace(b"FloatStorage", b"system"),
        data.replace(b"ctorch\n", b"cos\n"),
        data.replace(b"storage", b"stor\nge"),
        *(data[:length] for length in range(0, len(data), 7)),
    ):
        with pytest.raises((ValueError, EOFError, LookupError, TypeError, pickle.UnpicklingError)):
            read_storage(wrong)


BOMBS = {
    "memo far away": b"\x80\x04}r" + struct.pack("<I", 2**32 - 2) + b".",
    "memo far away, as text": b"}p4000000000\n.",
    "memo with many digits": b"}p" + b"9" * 5000 + b"\n.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"ab.",
    "text": b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"ab.",
    "byte array": b"\x80\x05\x96" + struct.pack("<Q", 2**45) + b"ab.",
    "signed length": b"T" + struct.pack("<i", -5) + b"abc.",
    "long number": b"\x8b" + struct.pack("<i", 2**30) + b"1.",
    "long number as text": b"L" + b"9" * 200_000 + b"L\n.",
    "deep": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b"\x80\x04)" + b"\x85" * 100_000 + b".",
    "marks": b"(" * 100_000 + b".",
    "persistent": b"Pnetwork\n.",
    "extension": b"\x80\x02\x82\x01.",
    "out of band": b"\x80\x05\x97.",
    "many names": b"\x80\x04" + b"".join(b"ctraining.a%d\nB\n0" % index for index in range(20_000)) + b"N.",
    "set on a class": b"\x80\x04ctraining.a\nB\nN}b.",
    "own class filled": b"ctraining.a\nB\n(tR(S'a'\nI1\nu.",
    "items on a mapping": b"ccollections\nOrderedDict\n(tR(S'G_ema'\nNS'items'\nI1\nu}S'get'\nI1\nsb.",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_small_files_that_ask_for_much(watch, tmp_path, kind):
    path = tmp_path / "network.pkl"
    path.write_bytes(BOMBS[kind])
    refused(watch, path, "network.pkl", tmp_path / "out")
    with watch, pytest.raises(UserError, match="network.pkl"):
        Body.load(path)
    assert not watch.seen


def test_copies_of_a_large_text(watch, tmp_path):
    """A call that copies its argument, repeated: nothing is copied before it is wanted."""
    large = b"\x80\x02X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\0"
    calls = b"c_codecs\nencode\nh\0X\x06\0\0\0latin1\x86R" * 1000
    lists = b"c__builtin__\nset\nh\0\x85R" * 1000
    path = tmp_path / "network.pkl"
    path.write_bytes(large + b"(" + calls + lists + b"l.")
    refused(watch, path, "network.pkl", tmp_path / "out")


# ---- files that are something else


def test_truncated_anywhere(watch, tmp_path, small_released):
    data = small_released.read_bytes()
    path = tmp_path / "network.pkl"
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(share * len(data))])
        refused(watch, path, "network.pkl is not", tmp_path / "out")


def zip_file(path: Path) -> None:
    torch.save({"G_ema": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "a folder, not a file"),
        (lambda path: path.touch(), "not a checkpoint as AG3D released them"),
        (zip_file, "zip file"),
        (
            lambda path: torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False),
            "holds no networks|",
        ),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08\0\0"), "compressed"),
        (lambda path: path.write_text("<!DOCTYPE html>\n<html>"), "web page"),
        (lambda path: path.write_text("\n <html>"), "web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "not a checkpoint"),
        (lambda path: path.write_bytes(bytes(100)), "not a checkpoint"),
        (lambda path: path.write_bytes(pickle.dumps({"G": 1})), "no networks"),
        (lambda path: path.write_bytes(pickle.dumps({"G_ema": 1})), "is no module"),
        (lambda path: path.write_bytes(pickle.dumps({"G_ema": None})), "no networks"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2])), "no networks"),
    ],
)
def test_not_a_released_checkpoint(watch, tmp_path, make: Callable[[Path], Any], match):
    path = tmp_path / "network.pkl"
    make(path)
    with watch:
        pass
    with pytest.raises(UserError, match=f"network.pkl.*({match})"):
        command.import_checkpoint(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_of_a_checkpoint(tmp_path, imported):
    with pytest.raises(UserError, match="folder already.*--checkpoint"):
        command.import_checkpoint(imported, tmp_path / "out")


# ---- damage


@pytest.mark.parametrize("seed", range(4))
def test_fuzz(watch, tmp_path, small_released, seed):
    """Whatever bytes change: it is read or refused, nothing else happens."""
    source = random.Random(seed)
    whole = small_released.read_bytes()
    structure = _structure(whole)
    path = tmp_path / "network.pkl"
    outcomes = {"read": 0, "refused": 0}
    slowest = 0.0
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(source.choice((1, 1, 2, 5, 30))):
            place = source.choice(structure)
            kind = source.random()
            if kind < 0.5:
                data[place] = source.randrange(256)
            elif kind < 0.75:
                del data[place : place + source.choice((1, 2, 8))]
            else:
                data[place:place] = bytes(source.randrange(256) for _ in range(source.choice((1, 4, 9))))
        path.write_bytes(data)
        start = time.process_time()
        try:
            with watch:
                read_released(path)
            outcomes["read"] += 1
        except UserError:
            outcomes["refused"] += 1
        slowest = max(slowest, time.process_time() - start)
        assert not watch.seen, data
    assert min(outcomes.values()) > 0
    assert slowest < 5


def _structure(data: bytes) -> list[int]:
    """Places outside the runs of numbers, where changes matter."""
    numbers = np.frombuffer(data, np.uint8)
    text = np.convolve((numbers >= 32) & (numbers < 127), np.ones(9), "same") > 3
    return np.flatnonzero(text).tolist()
