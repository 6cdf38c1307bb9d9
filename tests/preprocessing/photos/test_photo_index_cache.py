"""A listing that is made once and kept."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.core.errors import UserError
from ag3d.preprocessing.photos.photo_index import cached_fingerprints, fingerprints, listing_table


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for index in range(12):
        pixels = np.random.default_rng(index).integers(0, 255, (140, 140, 3), np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if index % 2 else ".") / f"{index}.png")
    shutil.copy(folder / "0.png", folder / "copy of 0.png")
    (folder / os.fsdecode(b"no-unicode-\xff.png")).write_bytes(b"x")
    return folder


def test_shards_are_as_those_of_the_folder(folder, tmp_path):
    place, settings = tmp_path / "scan", Photos(shards=3)
    assert cached_fingerprints(folder, 3, place) == fingerprints(folder, 3)
    reasons = []
    for shard in range(3):
        expected = manifest_table(folder, shard, settings)
        found = manifest_table(folder, shard, settings, listing_table(place, shard))
        pd.testing.assert_frame_equal(found, expected)
        reasons += list(found["reason"])
    assert any("duplicate of 0.png" in reason for reason in reasons)  # also where it is in another shard
    assert any("not valid Unicode" in reason for reason in reasons)


def test_the_listing_is_kept_until_it_is_deleted(folder, tmp_path):
    place = tmp_path / "scan"
    before = cached_fingerprints(folder, 3, place)
    shutil.copy(folder / "2.png", folder / "new.png")
    assert cached_fingerprints(folder, 3, place) == before
    shutil.rmtree(place)
    assert cached_fingerprints(folder, 3, place) == fingerprints(folder, 3) != before


def test_a_listing_of_something_else_is_refused(folder, tmp_path):
    cached_fingerprints(folder, 3, tmp_path / "scan")
    with pytest.raises(UserError, match="another folder or number of shards"):
        cached_fingerprints(folder, 4, tmp_path / "scan")
