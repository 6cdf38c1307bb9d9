"""The stages photos, people and matting over a folder of everything that goes wrong: processed rightly, or told why not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut
from support.bad_photos import write_bad_photos
from support.figure import Figure, backdrop
from support.stage_tables import manifest_table, people_table

from ag3d.config.data import Matting, People, Photos
from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader, write_shard
from ag3d.preprocessing.matting import stage as matting
from ag3d.preprocessing.people import stage as people
from ag3d.preprocessing.people.blazepose import BlazePose
from ag3d.preprocessing.people.person_search import find_people
from ag3d.preprocessing.photos.manifest import Manifest, recorded_folder


def test_nothing_crashes_and_nothing_disappears(tmp_path: Path, blazepose: BlazePose, standing: Figure) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    expected = write_bad_photos(folder, standing.rgb, standing.mask, backdrop(640, 448, 3), huge=3000)
    settings = Photos(shards=1, max_pixels=2_000_000)
    path = tmp_path / "photos" / "00000.parquet"
    listed = manifest_table(folder, 0, settings)
    write_table(
        path, listed, {"settings": {"max_pixels": settings.max_pixels}, "folder": recorded_folder(folder, path)}
    )
    found = people_table(path, blazepose)
    with write_shard(tmp_path / "mattes.zip", {}) as output:
        rows = list(
            matting.mattes_of_shard(Manifest(path), found, matting.blazepose_backend(blazepose), Matting(), output)
        )
    status = {row["person_id"]: row for row in rows}
    assert set(listed["path"]) == set(expected)
    assert set(found["photo_id"]) == set(listed["photo_id"][listed["status"] == "ok"])
    assert set(status) == set(found["person_id"][found["status"] == "ok"])
    verdicts: dict[str, tuple[str, str]] = {name: ("", "") for name in expected}
    for stage, table in (("photos", listed), ("people", found)):
        for row in table[table["status"] != "ok"].to_dict("records"):
            verdicts[row["path"]] = (stage, row["reason"])
    names = dict(zip(found["person_id"], found["path"], strict=True))
    for person, entry in status.items():
        if entry["status"] != "ok":
            verdicts[names[person]] = ("matting", entry["reason"])
    for name, (stage, reason) in expected.items():
        assert verdicts[name][0] == stage, (name, verdicts[name])
        assert re.search(reason, verdicts[name][1]), (name, verdicts[name])
    _mattes_are_upright(found, ShardReader(tmp_path / "mattes.zip"), standing)


def _mattes_are_upright(found, mattes: ShardReader, standing: Figure) -> None:
    turned = found[found["path"].str.startswith(("turned/", "formats/"))]
    assert len(turned) > 20
    for person, path in zip(turned["person_id"], turned["path"], strict=True):
        matte = mattes.image(f"{person}.png") > 127
        assert matte.shape == standing.mask.shape, path
        assert (matte & standing.mask).sum() / (matte | standing.mask).sum() > 0.96, path


def test_half_a_person_is_not_in_full_view(blazepose: BlazePose) -> None:
    picture = astronaut()
    found = find_people(blazepose, picture, 0.5)
    assert len(found.people) == 1
    verdict = people.check_person(found, picture.shape, People())
    assert verdict.status == "rejected"
    assert "not in full view" in verdict.reason
    assert verdict.value is not None
    assert verdict.value > 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_holds_nobody(blazepose: BlazePose, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    assert find_people(blazepose, noise, 0.5).people == []
