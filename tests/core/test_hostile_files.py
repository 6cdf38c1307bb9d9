"""Files from elsewhere or damaged on the way: the readers give what is inside, or a UserError; nothing else, and no
gigabytes. AG3D_FUZZ sets how many mutations of each file are tried."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ag3d import config
from ag3d.config.settings import read_yaml
from ag3d.core.errors import UserError
from ag3d.core.files import read_json, read_record, read_table, write_table
from ag3d.core.shards import LARGEST, ShardReader, decode_image, encode_png, write_shard
from ag3d.preprocessing import schemas
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import PhotoError, read_photo
from ag3d.preprocessing.stage import to_table

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:Image size:Warning")
RUNS = int(os.environ.get("AG3D_FUZZ", "150"))
fuzz = settings(
    max_examples=RUNS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=RUNS <= 150,
)
CHANGES = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=12)
CUT = st.none() | st.integers(0, 2**20)


def changed(data: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    """`data` with some bytes replaced, and perhaps an end."""
    new = bytearray(data)
    for place, value in changes:
        new[place % len(new)] = value
    return bytes(new if cut is None else new[: cut % (len(new) + 1)])


def names_the_file(error: UserError, path: Path) -> None:
    assert path.name in str(error)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "00000.zip"
    with write_shard(path, {"stage": "x", "inputs": {}}) as writer:
        writer.add_image("img_a.png", np.full((8, 8, 4), 90, np.uint8))
        writer.add_image("normal_a.png", np.full((8, 8, 3), 90, np.uint8))
        writer.add_json("dataset.json", {"labels": {"img_a.png": [0.5] * 111}})
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "00000.parquet"
    rows = pd.DataFrame({"photo_id": ["a", "b"], "value": [1.5, 2.5], "box": [[1.0, 2.0], [3.0, 4.0]]})
    write_table(path, rows, {"stage": "x"})
    return path


@fuzz
@given(CHANGES, CUT)
def test_shards(shard, changes, cut):
    whole, path = shard.read_bytes(), shard.with_name("changed.zip")
    path.write_bytes(changed(whole, changes, cut))
    try:
        reader = ShardReader(path)
        for name in reader.names:
            if name.endswith(".png"):
                image = reader.image(name)
                assert image.dtype == np.uint8
            else:
                reader.json(name)
    except UserError as error:
        names_the_file(error, path)


@fuzz
@given(CHANGES, CUT)
def test_tables(table, changes, cut):
    path = table.with_name("changed.parquet")
    path.write_bytes(changed(table.read_bytes(), changes, cut))
    try:
        read_record(path)
        read_table(path)
    except UserError as error:
        names_the_file(error, path)


@fuzz
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]), changes=CHANGES, cut=CUT)
def test_pictures(tmp_path, kind, changes, cut):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(buffer, kind)
    data = changed(buffer.getvalue(), changes, cut)
    with contextlib.suppress(UserError):
        assert decode_image(data, "picture").dtype == np.uint8
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(data)
    with warnings.catch_warnings(), contextlib.suppress(PhotoError):
        warnings.simplefilter("ignore")
        read_photo(path, 10_000)


@fuzz
@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,!&*-\n 0a', max_size=80).map(str.encode))
def test_configurations_and_descriptions(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    for read in (read_json, lambda file: config.load(read_yaml(file))):
        with contextlib.suppress(UserError):
            read(path)


def test_types_that_do_not_exist(table):
    """The footer has no checksum, and pandas looks the types up that it names."""
    content = pq.read_table(table)
    pandas = content.schema.metadata[b"pandas"]
    assert b'"object"' in pandas
    damaged = {**content.schema.metadata, b"pandas": pandas.replace(b'"object"', b'"\x7fbject"')}
    pq.write_table(content.replace_schema_metadata(damaged), table.with_name("changed.parquet"))
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_table(table.with_name("changed.parquet"))


def test_a_flipped_byte_in_a_table_is_noticed(table):
    """Parquet's pages carry checksums; the place of the value 2.5 is found by its bytes."""
    data = table.read_bytes()
    place = data.index(struct.pack("<d", 2.5)[-2:])
    noticed = 0
    for offset in range(place - 6, place + 2):
        table.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        with pytest.raises(UserError, match="00000.parquet"):
            read_table(table)
        noticed += 1
    assert noticed == 8


@pytest.mark.parametrize("depth", [100_000])
def test_nesting_that_never_ends(tmp_path, depth):
    (tmp_path / "deep.json").write_text("[" * depth)
    with pytest.raises(UserError, match="deep.json"):
        read_json(tmp_path / "deep.json")


def test_an_entry_that_would_fill_the_memory(tmp_path):
    """Two gigabytes of zeros in two megabytes of a zip."""
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("img_a.png", "w", force_zip64=True) as entry,
    ):
        block = bytes(2**24)
        for _ in range(LARGEST // len(block) + 1):
            entry.write(block)
    assert path.stat().st_size < LARGEST / 500
    before = psutil.Process().memory_info().rss
    with pytest.raises(UserError, match="img_a.png.*at most"):
        ShardReader(path).image("img_a.png")
    # One that lies about its size is read no further than that.
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    with pytest.raises(UserError, match="bomb.zip"):
        ShardReader(path).image("img_a.png")
    assert psutil.Process().memory_info().rss - before < 2**26


def png_header(width: int, height: int) -> bytes:
    """A valid PNG of these sides with next to nothing in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(60_000, 60_000), (2**31 - 1, 1), (9000, 9000)])
def test_headers_that_claim_enormous_pictures(sides, tmp_path):
    before = psutil.Process().memory_info().rss
    with pytest.raises(UserError, match="claims .* pixels"):
        decode_image(png_header(*sides), "x.png")
    (tmp_path / "x.png").write_bytes(png_header(*sides))
    with pytest.raises(PhotoError):
        read_photo(tmp_path / "x.png", 1_000_000)
    assert psutil.Process().memory_info().rss - before < 2**27


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_enormous_pictures_of_other_kinds(kind):
    """The header of one that Pillow refuses by itself."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, kind)
    with pytest.raises(UserError):
        decode_image(buffer.getvalue(), "x")


def test_names_that_climb_out_of_the_folder(tmp_path):
    """Entries are looked up by name in memory; nothing is unpacked."""
    path = tmp_path / "in" / "00000.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../escaped.png", "/tmp/escaped.png", "img_a.png"):
            archive.writestr(name, encode_png(np.zeros((4, 4, 3), np.uint8)))
    reader = ShardReader(path)
    for name in reader.names:
        assert reader.image(name).shape == (4, 4, 3)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["00000.zip"]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("status", [1, 2], "'status' holds int64, not string"),
        ("frame", ["a", "b"], "'frame' holds large_string, not int32"),
    ],
)
def test_a_table_with_wrong_types(tmp_path, column, values, words):
    path = tmp_path / "00000.parquet"
    texts = {"sha256": "", "reason": "", "status": "ok"}
    rows = [{"photo_id": name, "path": f"{name}.jpg", "frame": -1, **texts} for name in "ab"]
    good = to_table(rows, schemas.PHOTOS).to_dict("list")
    write_table(path, pd.DataFrame(good | {column: values}), {"folder": ".", "settings": {"max_pixels": 9}})
    with pytest.raises(UserError, match=words):
        Manifest(path)
    write_table(path, pd.DataFrame({name: good[name] for name in good if name != column}), {"folder": "."})
    with pytest.raises(UserError, match=f"no column '{column}'"):
        Manifest(path)


def test_yaml_with_tags_runs_nothing(tmp_path):
    path, trace = tmp_path / "config.yaml", tmp_path / "trace"
    for tag in ("python/object/apply:os.system", "python/object/new:os.system"):
        path.write_text(f"run: !!{tag} ['touch {trace}']\n")
        with pytest.raises(UserError, match="config.yaml"):
            read_yaml(path)
    assert not trace.exists()


def test_json_of_another_kind_in_a_shard(tmp_path):
    path = tmp_path / "00000.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("record.json", json.dumps([1]))
        archive.writestr("labels.json", "{")
    assert ShardReader(path).record() == {}
    with pytest.raises(UserError, match="labels.json' is not valid JSON"):
        ShardReader(path).json("labels.json")
