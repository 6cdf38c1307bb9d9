from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch

from ag3d.core.dataset_format import flat_label, is_image, normal_name
from ag3d.core.errors import UserError
from ag3d.core.shards import encode_png
from ag3d.model.body import label as body_label
from ag3d.model.training import data
from ag3d.model.training.data import ZipDataset


def vectors(normal):
    return normal.transpose(1, 2, 0).astype(np.float64) / 127.5 - 1


def test_people_of_all_shards_in_order_of_names(shards):
    dataset = ZipDataset(reversed(shards), 32)
    assert dataset.names == [f"img_{i}.png" for i in range(9)]
    labels = {}
    for path in shards:
        with zipfile.ZipFile(path) as archive:
            labels.update(dict(json.loads(archive.read("dataset.json"))["labels"]))
    for index, name in enumerate(dataset.names):
        np.testing.assert_allclose(dataset[index].label, np.float32(labels[name][0] + labels[name][1]))
    assert dataset[0].image.dtype == np.uint8
    assert dataset[0].image.shape == dataset[0].normal.shape == (3, 32, 32)


@pytest.mark.parametrize("resolution", [32, 16, 24, 64])
def test_background_white_normals_unit(shards, resolution):
    item = ZipDataset(shards, resolution)[3]
    corner, centre = (slice(None), 0, 0), (slice(None), resolution // 2, resolution // 2)
    assert (item.image[corner] == 255).all()
    assert (item.normal[corner] == 255).all()
    inside = vectors(item.normal)[(item.normal != 255).any(0)]
    lengths = np.linalg.norm(inside, axis=1)
    whole = np.linalg.norm(vectors(item.normal)[resolution // 2, resolution // 2])
    assert abs(whole - 1) < 0.02
    assert (np.abs(lengths - 1) < 0.02).mean() > 0.6  # the rest are edge pixels, blended with white
    assert vectors(item.normal)[resolution // 2, resolution // 2, 2] > 0.95
    assert (item.image[centre] < 230).all()


def test_at_own_resolution_normals_are_the_file(shards):
    dataset = ZipDataset(shards, 32)
    shard = dataset._shards[dataset._shard_of[1]]
    difference = np.abs(shard.image("normal_1.png").transpose(2, 0, 1).astype(int) - dataset[1].normal)
    assert difference.max() <= 1


def test_mirror_flips_image_normals_and_label(shards):
    dataset = ZipDataset(shards, 32, mirror=True)
    assert len(dataset) == 18
    plain, flipped = dataset[2], dataset[11]
    np.testing.assert_array_equal(flipped.image, plain.image[:, :, ::-1])
    person = (plain.normal != 255).any(0)[:, ::-1]
    expected = vectors(plain.normal)[:, ::-1] * [-1, 1, 1]
    np.testing.assert_allclose(vectors(flipped.normal)[person], expected[person], atol=1e-9)
    assert (flipped.normal[:, ~person] == 255).all()
    expected_label = body_label.mirror(torch.from_numpy(plain.label[None]))[0].numpy()
    np.testing.assert_array_equal(flipped.label, expected_label)
    twice = body_label.mirror(torch.from_numpy(flipped.label[None]))[0].numpy()
    np.testing.assert_allclose(twice, plain.label, atol=1e-7)


@pytest.mark.parametrize("resolution", [32, 16, 20])
def test_a_mirrored_outline_is_that_of_a_mirrored_person(tmp_path, resolution):
    numbers = np.random.default_rng(0)
    normal = np.full((64, 64, 3), 255, np.uint8)
    normal[10:50, 13:40] = np.rint((np.array([0.6, 0.0, 0.8]) + 1) * 127.5)
    mirrored = np.full((64, 64, 3), 255, np.uint8)
    mirrored[10:50, 24:51] = np.rint((np.array([-0.6, 0.0, 0.8]) + 1) * 127.5)
    image = np.dstack(
        [numbers.integers(0, 255, (64, 64, 3), dtype=np.uint8), 255 * (normal != 255).any(2).astype(np.uint8)]
    )
    row = body_label.canonical_label()[0].tolist()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, picture, map_ in (("img_a.png", image, normal), ("img_b.png", image[:, ::-1], mirrored)):
            archive.writestr(name, encode_png(np.ascontiguousarray(picture)))
            archive.writestr(normal_name(name), encode_png(map_))
        archive.writestr("dataset.json", json.dumps({"labels": {"img_a.png": [row], "img_b.png": [row]}}))
    dataset = ZipDataset([tmp_path / "a.zip"], resolution, mirror=True)
    for item, other in ((dataset[2], dataset[1]), (dataset[3], dataset[0])):
        assert np.abs(item.normal.astype(int) - other.normal).max() <= 1
        np.testing.assert_array_equal(item.image, other.image)


def test_cache_gives_the_same(shards):
    with_cache, without = ZipDataset(shards, 16), ZipDataset(shards, 16, cache_bytes=0)
    for _ in range(2):
        for a, b in zip(with_cache[4], without[4]):
            np.testing.assert_array_equal(a, b)
    assert not without._cache
    some = ZipDataset(shards, 16, cache_bytes=3 * 6 * 16**2)
    for index in [*range(9), *range(9)]:
        np.testing.assert_array_equal(some[index].normal, without[index].normal)
    assert len(some._cache) == 3


def test_names():
    assert is_image("images/img_a.PNG")
    assert not is_image("img_a_seg.png")
    assert not is_image("normal_a.png")
    assert not is_image("img.json")
    assert normal_name("images/img_0001.png") == "images/normal_0001.png"


def test_flat_label():
    assert flat_label([[1.0] * 25, [2.0] * 86], "x").sum() == 25 + 172
    assert flat_label([3.0] * 111, "x").sum() == 333
    for wrong in ([[1.0] * 25, [2.0] * 85], None, [["a"]], [[float("nan")] * 111]):
        with pytest.raises(UserError, match="label of y"):
            flat_label(wrong, "label of y")


@pytest.mark.parametrize("fault", ["no json", "no label", "no normal", "not labels", "empty"])
def test_faults_are_named(tmp_path, shards, fault):
    with zipfile.ZipFile(shards[0]) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    if fault == "no json":
        del entries["dataset.json"]
    elif fault == "no label":
        entries["dataset.json"] = json.dumps({"labels": {}}).encode()
    elif fault == "no normal":
        del entries["normal_4.png"]
    elif fault == "not labels":
        entries["dataset.json"] = b'{"labels": 3}'
    else:
        entries = {"dataset.json": b'{"labels": {}}'}
    path = tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="broken.zip"):
        ZipDataset([path], 16)


@pytest.mark.parametrize("resolution", [64, 32, 16, 24, 100])
def test_the_window_around_the_person_changes_nothing(resolution):
    drawn = np.random.default_rng(0)
    normal = drawn.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[5:41, 22:39] = drawn.random((36, 17)) < 0.9
    normal[~mask] = 255
    part = data.unit_normals(normal, mask, resolution)
    whole = data._unit_normals(normal, mask, (resolution, resolution))
    assert np.abs(part.astype(int) - whole).max() <= 1
    assert (data.unit_normals(np.full_like(normal, 255), np.zeros_like(mask), resolution) == 255).all()
    image = np.dstack([normal, 255 * mask.astype(np.uint8)])
    alpha = image[..., 3:] / np.float32(255)
    np.testing.assert_array_equal(
        data.composite_on_white(image), (image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    )
    np.testing.assert_array_equal(data.person_mask(normal, image), mask)
