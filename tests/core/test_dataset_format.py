"""What is written as a data set is read as one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from ag3d.core.dataset_format import people_in, read_labels, write_dataset
from ag3d.core.errors import UserError
from ag3d.core.shards import ShardReader, encode_png


def test_people_come_back_with_pictures_and_labels(tmp_path: Path) -> None:
    image, normal = np.full((8, 8, 4), 7, np.uint8), np.full((8, 8, 3), 255, np.uint8)
    labels = np.random.default_rng(0).normal(size=(2, 111)).astype(np.float32)
    with write_dataset(tmp_path / "0.zip", {"made": "here"}) as output:
        output.write_person("b-2", image, normal, labels[1])
        output.write_person("a-1", encode_png(image), encode_png(normal), labels[0].tolist())
        assert "a-1" in output
        assert len(output) == 2
    shard = ShardReader(tmp_path / "0.zip")
    assert people_in(shard) == ["a-1", "b-2"]
    np.testing.assert_array_equal(np.stack(list(read_labels(shard).values())), labels)
    assert shard.read("img_a-1.png") == shard.read("img_b-2.png")
    np.testing.assert_array_equal(shard.image("normal_b-2.png"), normal)
    assert shard.record() == {"made": "here"}


def test_names_that_ag3d_would_misread_are_refused(tmp_path: Path) -> None:
    with write_dataset(tmp_path / "0.zip", {}) as output, pytest.raises(ValueError, match="misread"):
        output.write_person("my-img-1", b"", b"", np.zeros(111))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"labels": [[3, [1]], ["img_a.png", [2]]]}', "names that are no text"),
        (b'{"labels": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"labels": {"img_a.png": [' + b"9" * 400 + b"]}}", "label of 'img_a.png' is not a list of numbers"),
        (b'{"labels": {"img_a.png": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}}", "label of 'img_a.png'"),
        (b"[" + b"1," * (2**20) * 40 + b"1]", "more values than fit"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_labels_that_are_none_are_told(tmp_path: Path, content: bytes, match: str) -> None:
    with zipfile.ZipFile(tmp_path / "0.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset.json", content)
    with pytest.raises(UserError, match=match):
        read_labels(ShardReader(tmp_path / "0.zip"))
