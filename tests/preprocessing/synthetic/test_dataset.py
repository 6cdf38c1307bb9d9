"""The data set straight from the truth: AG3D's zips, whose labels put the body where the person is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ag3d.core.dataset_format import flat_label, label_rows
from ag3d.core.shards import ShardReader
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import render_normals
from ag3d.preprocessing.synthetic import dataset


@pytest.fixture(scope="module")
def folder(open_body_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("open") / "people"
    words = ["--body", open_body_path, "--garments", open_body_path.with_name("garments.npz"), "--output", output]
    numbers = ["--number", "3", "--shard-size", "2", "--resolution", "64", "--seed", "4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["synthetic-dataset", *map(str, words), *numbers])
        dataset.main()
    return output


def test_every_person_is_in_one_shard(folder: Path) -> None:
    shards = [ShardReader(path) for path in sorted((folder / "dataset").iterdir())]
    assert [len(label_rows(shard)) for shard in shards] == [2, 1]
    poses = np.load(folder / "poses.npy")
    rows = [flat_label(row, name) for shard in shards for name, row in sorted(label_rows(shard).items())]
    assert np.array_equal(poses, np.stack(rows))
    assert len(np.unique(poses, axis=0)) == 3


def test_bodies_of_the_labels_are_inside_their_people_and_face_as_they_do(folder: Path, open_body: Body) -> None:
    shard = ShardReader(folder / "dataset" / "00000.zip")
    for name, row in label_rows(shard).items():
        label = torch.from_numpy(flat_label(row, name))[None]
        normals, covered = render_normals(open_body.from_label(label).vertices[0], open_body.faces, 64)
        crop, image = shard.image(name), shard.image(name.replace("img", "normal"))
        person = crop[..., 3] > 127
        assert (covered.numpy() & person).sum() > 0.97 * covered.sum()
        assert ((image == 255).all(-1) == (crop[..., 3] < 0.3 * 255)).all()
        both = covered.numpy() & person
        cosine = ((image[both] / 127.5 - 1) * normals.numpy()[both]).sum(-1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 40
