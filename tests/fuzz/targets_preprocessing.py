"""Readers of the preprocessing: photographs, lists, fits, mattes and normals from elsewhere, shards, tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.fuzz import arrays, pickles, pictures, seeds
from tests.fuzz import mutators as m
from tests.fuzz.runner import HUGE, PROGRAMS, Target
from tests.fuzz.tables import in_table


def _fits(kind: str, path: Path) -> object:
    from ag3d.config.data import FitImport
    from ag3d.preprocessing.fitting.importers import Imports

    return Imports(FitImport(path=str(path), kind=kind)).of("walk.jpg")


def _target_of_fits(
    kind: str, suffix: str, made: Callable[[str], list[bytes]], mutators: tuple[m.Mutator, ...]
) -> Target:
    return Target(f"fits.{kind}.{suffix}", f"walk.{suffix}", partial(_fits, kind), partial(made, kind), mutators)


def _shard(path: Path) -> object:
    from ag3d.core.shards import ShardReader, content_hash

    shard = ShardReader(path)
    pictures = [shard.image(name) for name in shard.names[:4] if name.endswith(".png")]
    return pictures, shard.record(), content_hash([shard])


def _dataset_index(path: Path) -> object:
    import pandas as pd

    from ag3d.preprocessing.dataset.index import index
    from ag3d.preprocessing.schemas import REJECTED

    return index([path], pd.DataFrame(columns=REJECTED.names), 1)


def _pose_distribution(path: Path) -> object:
    from ag3d.preprocessing.dataset.pose_distribution import collect

    return collect([path])


def _import_zip(path: Path) -> object:
    from ag3d.core.dataset_format import write_dataset
    from ag3d.core.shards import ShardReader
    from ag3d.preprocessing.dataset.import_zip import import_shard

    with write_dataset(path.parent / "out.zip", {}) as output:
        return import_shard([ShardReader(path)], 0, 1, 8, output)


def _photo(path: Path) -> object:
    from ag3d.preprocessing.photos.read_image import read_photo

    return read_photo(path, 1_000_000)


def _video(path: Path) -> object:
    from ag3d.preprocessing.photos import video

    numbers = [number for number, _ in video.sampled_frames(path, 0, 2.0)]
    return numbers, video.FrameReader(path, [0, 2]).read(2)


def _photo_list(path: Path) -> object:
    from ag3d.preprocessing.photos.photo_index import Entry
    from ag3d.preprocessing.photos.source_check import select_listed

    return select_listed([Entry("MEN/Denim/id_00000089/04_7_additional.jpg", 1, 1)], str(path))


def _scan(path: Path) -> object:
    from ag3d.preprocessing.photos.photo_index import cached_fingerprints

    return cached_fingerprints("/photographs", 2, path.parent)


def _matte(path: Path) -> object:
    from ag3d.preprocessing.matting.backends import FolderBackend

    return FolderBackend(str(path.parent)).alpha("walk.jpg", (32, 32))


def _normals(path: Path) -> object:
    from ag3d.preprocessing.normals.backends import FolderBackend

    return FolderBackend(str(path.parent)).normals("walk", 32)


def _normal_network(path: Path) -> object:
    from ag3d.preprocessing.normals.unet import UNetBackend

    return UNetBackend(path.with_suffix(".safetensors"))


def _beside_normal_network(folder: Path) -> None:
    from ag3d.preprocessing.normals.unet import NormalNetwork, save

    save(NormalNetwork((8, 8)), {"side": 32}, folder / "normals.safetensors")


def _onnx(path: Path) -> object:
    from ag3d.config.data import OnnxMatting
    from ag3d.preprocessing.onnx_model import OnnxNetwork

    network = OnnxNetwork(OnnxMatting(file=str(path)), "matting.onnx")
    if network.height * network.width > 1 << 20:
        return None
    return network(np.zeros((network.height, network.width, 3), np.uint8))


def _manifest(path: Path) -> object:
    from ag3d.preprocessing.photos.manifest import Manifest

    return list(Manifest(path).photos())


def _beside_manifest(folder: Path) -> None:
    (folder / "walk.png").write_bytes(seeds.image("PNG"))


def _listing(path: Path) -> object:
    from ag3d.preprocessing.photos.photo_index import read_listing

    return read_listing(path)


def _verdicts(path: Path) -> object:
    from ag3d.preprocessing.stage import passed, read_verdicts

    return passed(read_verdicts(path.with_suffix(".zip")))


def _beside_verdicts(folder: Path) -> None:
    (folder / "00000.zip").write_bytes(seeds.dataset_zips()[1])


def _dedup(path: Path) -> object:
    from ag3d.preprocessing.dataset.dedup import find_duplicates, read_people

    return find_duplicates(read_people([path], [path]), 4)


def _gathered(path: Path) -> object:
    from ag3d.preprocessing.dataset.rejected import gather

    return gather(path.parents[1])


def _beside_gathered(folder: Path) -> None:
    from ag3d.preprocessing.stage import STAGES

    people = seeds.rejected_people()[0]
    for stage in STAGES:
        (folder / stage).mkdir(exist_ok=True)
        (folder / stage / "00000.parquet").write_bytes(people)
    (folder / "dataset").mkdir()
    (folder / "dataset/00000.zip").write_bytes(seeds.empty_dataset())


JSON, NPZ, TABLE = (
    (m.in_json, m.in_json, m.in_bytes),
    (arrays.in_npz, arrays.in_npz, m.in_bytes),
    (in_table, m.in_bytes),
)
PICKLE = (pickles.in_instructions, pickles.in_instructions, m.in_bytes)
PNG, JPEG = (pictures.in_png, pictures.in_png, m.in_bytes), (pictures.in_jpeg, pictures.in_jpeg, m.in_bytes)
PHOTO = {"clean": ("PhotoError",), "memory": HUGE}
KINDS = ("pymaf", "hmr2", "smplifyx")
TARGETS = [
    Target("photo.png", "a.png", _photo, seeds.pngs, PNG, cost=4, **PHOTO),
    Target("photo.jpg", "a.jpg", _photo, seeds.jpegs, JPEG, cost=4, **PHOTO),
    Target("photo.other", "a.tif", _photo, seeds.other_pictures, (m.in_bytes,), cost=4, **PHOTO),
    Target("video", "a.mp4", _video, seeds.video, (m.in_bytes,), events=PROGRAMS, cost=500, **PHOTO),
    Target("photos.list", "list.txt", _photo_list, seeds.lists, (m.in_json, m.in_lines, m.in_bytes)),
    Target("scan.json", "scan.json", _scan, seeds.scan_json, JSON),
    Target("listing", "00000.parquet", _listing, seeds.listing, TABLE, cost=2),
    Target("manifest", "00000.parquet", _manifest, seeds.manifest, TABLE, _beside_manifest, events=PROGRAMS, cost=4),
    Target("matte", "walk.png", _matte, seeds.pngs, PNG, **PHOTO),
    Target("normals", "walk.png", _normals, seeds.pngs, PNG, clean=("ValueError",), memory=HUGE),
    Target("normals.json", "normals.json", _normal_network, seeds.normal_card, JSON, _beside_normal_network, cost=4),
    Target("onnx", "a.onnx", _onnx, seeds.onnx_network, (m.in_bytes,), cost=4, needs=("onnx",)),
    Target("fits.grammar", "walk.pkl", partial(_fits, "smplifyx"), list, (pickles.invented,)),
    *(_target_of_fits(kind, "npz", seeds.fits_npz, NPZ) for kind in KINDS),
    *(_target_of_fits(kind, "pkl", seeds.fits_pickle, PICKLE) for kind in KINDS),
    Target("verdicts", "00000.parquet", _verdicts, seeds.people_table, TABLE, _beside_verdicts, cost=2),
    Target("shard", "00000.zip", _shard, seeds.dataset_zips, pictures.IN_DATASET),
    Target("pose_distribution", "00000.zip", _pose_distribution, seeds.dataset_zips, pictures.IN_DATASET),
    Target("dataset.index", "00000.zip", _dataset_index, seeds.dataset_zips, pictures.IN_DATASET, cost=2),
    Target("import_zip", "data.zip", _import_zip, seeds.dataset_zips, pictures.IN_DATASET, cost=4),
    Target("dedup", "00000.parquet", _dedup, seeds.aligned_table, TABLE, cost=4),
    Target("gathered", "people/00000.parquet", _gathered, seeds.rejected_people, TABLE, _beside_gathered, cost=20),
]  # fmt: skip
