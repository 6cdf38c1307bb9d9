"""Readers of the model: bodies, checkpoints, states of trainings, avatars, the data set as a training reads it."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import arrays, pickles, pictures, seeds, seeds_model
from tests.fuzz import mutators as m
from tests.fuzz.runner import PICTURE_MEMORY, Target, writes
from tests.fuzz.tables import in_table


def _body(path: Path) -> object:
    from ag3d.model.body.body import Body

    return Body.load(path)


def _released(path: Path) -> object:
    from ag3d.model.legacy.reader import read_released

    return read_released(path)


def _checkpoint(path: Path) -> object:
    from ag3d.model.checkpoint import load_generator

    return load_generator(path.parent, seeds_model.tiny_body())


def _beside_checkpoint(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(seeds_model.generator_weights())


def _checkpoint_settings(path: Path) -> object:
    from ag3d.model.checkpoint import read_description, settings_of
    from ag3d.model.training.training_state import is_milestone

    return settings_of(read_description(path.parent)), is_milestone(path.parent, "k")


def _weights(path: Path) -> object:
    import torch

    from ag3d.model.checkpoint import load_weights, read_weights

    return load_weights(torch.nn.Linear(4, 3), read_weights(path), str(path))


def _state(path: Path) -> object:
    from ag3d.model.training.training_state import newest_state

    return newest_state([path.parent], "k", 100)


def _start(path: Path) -> object:
    from ag3d.model.training.weight_transfer import start_tensors, weights_hash

    return weights_hash(path.parent), start_tensors(path.parent)


def _beside_state(folder: Path) -> None:
    for name, content in seeds_model.state().items():
        (folder / name).write_bytes(content)


def _run_folder(path: Path) -> object:
    import shutil

    from ag3d.model.training.run_folder import RunFolder

    for aside in path.parent.glob("other-*"):
        shutil.rmtree(aside)
    (path.parent / "metrics.jsonl").write_bytes(seeds_model.metrics_lines()[0])
    return RunFolder(path.parent).adopt(seeds_model.training_plan(0), "data")


def _metrics_log(path: Path) -> object:
    from ag3d.evaluation.report.training import read_curves
    from ag3d.model.training.monitoring import MetricsFile

    return MetricsFile(path).rows(), read_curves(path), MetricsFile(path).rewind(8)


def _lock(path: Path) -> object:
    from ag3d.model.training.run_folder import run_lock

    with run_lock(path.parent):
        return None


def _index(path: Path) -> object:
    from ag3d.model.training.stage import content_of

    return content_of([path.parent / "data.zip"], path)


def _motion(path: Path) -> object:
    import torch

    from ag3d.model.avatars.motion import motion_labels
    from ag3d.model.avatars.motion_sources import named_motion

    motion = named_motion(str(path))
    return motion_labels(motion.resampled(min(12.0, motion.fps)), torch.zeros(10))


def _latents(path: Path) -> object:
    from ag3d.model.avatars.latents import read_latents

    return read_latents(path, 4, 8).select([0], str(path))


def _poses(path: Path) -> object:
    from ag3d.model.avatars.identities import read_poses

    return read_poses(path.with_name("poses.npy"))


def _label(path: Path) -> object:
    from ag3d.model.avatars.invert import read_label

    return read_label(path)


def _picture(path: Path) -> object:
    from ag3d.core.shards import decode_image

    return decode_image(path.read_bytes(), str(path))


def _glb(path: Path) -> object:
    from ag3d.viewer.page import page_of_files

    return page_of_files([path])


def _avatars(path: Path) -> object:
    from ag3d.viewer.page import page_of_run

    return page_of_run(next(folder for folder in path.parents if (folder / "avatars").is_dir()))


def _beside_avatars(folder: Path) -> None:
    (folder / "avatars/people").mkdir(parents=True, exist_ok=True)
    (folder / "avatars/people/000001.png").write_bytes(seeds_model.strip()[0])
    (folder / "avatars/avatars.json").write_bytes(seeds_model.avatars_json()[0])


def _dataset(path: Path) -> object:
    from ag3d.model.training.data import ZipDataset

    data = ZipDataset([path], 16, mirror=True)
    return [data[k] for k in range(min(4, len(data)))]


JSON, NPZ, NPY = (
    (m.in_json, m.in_json, m.in_bytes),
    (arrays.in_npz, arrays.in_npz, m.in_bytes),
    (arrays.in_npy, arrays.in_npy, m.in_bytes),
)
PICKLE = (pickles.in_instructions, pickles.in_instructions, m.in_bytes)
PNG, JPEG = (pictures.in_png, pictures.in_png, m.in_bytes), (pictures.in_jpeg, pictures.in_jpeg, m.in_bytes)
TENSORS = (m.in_safetensors, m.in_bytes)
LINES = (m.in_json_lines, m.in_lines, m.in_bytes)
WEIGHTS = "generator_ema.safetensors"
TARGETS = [
    Target("body.npz", "body.npz", _body, seeds_model.body_files, NPZ),
    Target("body.pkl", "body.pkl", _body, seeds_model.smpl_pickles, PICKLE),
    Target("body.grammar", "body.pkl", _body, list, (pickles.invented,)),
    Target("released", "network.pkl", _released, seeds_model.released, PICKLE, cost=50),
    Target("released.grammar", "network.pkl", _released, list, (pickles.invented,)),
    Target("checkpoint.json", "checkpoint.json", _checkpoint, seeds_model.checkpoint_json, JSON, _beside_checkpoint,
           cost=20),
    Target("checkpoint.settings", "checkpoint.json", _checkpoint_settings, seeds_model.checkpoint_json, JSON),
    Target("weights", "w.safetensors", _weights, seeds_model.tensors, TENSORS),
    Target("state.json", "state.json", _state, seeds_model.state_json, JSON, _beside_state),
    Target("state.tensors", "state.safetensors", _state, seeds_model.state_tensors, TENSORS, _beside_state),
    Target("start.state", "state.json", _start, seeds_model.state_json, JSON, _beside_state),
    Target("start.weights", WEIGHTS, _start, seeds_model.tensors, TENSORS),
    Target("run.json", "run.json", _run_folder, seeds_model.run_json, JSON),
    Target("metrics.jsonl", "metrics.jsonl", _metrics_log, seeds_model.metrics_lines, LINES),
    Target("lock.json", "lock.json", _lock, seeds_model.lock_json, JSON),
    Target("index.json", "index.json", _index, seeds_model.index_json, JSON, writes("data.zip", seeds.dataset_zips)),
    Target("motion", "walk.npz", _motion, seeds_model.motions, NPZ),
    Target("motion.fits", "fitting.parquet", _motion, seeds.fits_table, (in_table, m.in_bytes), cost=4),
    Target("latents.npz", "people.npz", _latents, seeds_model.latents, NPZ),
    Target("poses.npy", "poses.npy", _poses, seeds_model.poses, NPY),
    Target("poses.json", "poses.json", _poses, seeds_model.poses_json, JSON, writes("poses.npy", seeds_model.poses)),
    Target("label.npy", "label.npy", _label, seeds_model.labels_npy, NPY),
    Target("label.json", "label.json", _label, seeds_model.labels_json, JSON),
    Target("picture.png", "a.png", _picture, seeds.pngs, PNG, memory=PICTURE_MEMORY),
    Target("picture.jpg", "a.jpg", _picture, seeds.jpegs, JPEG, memory=PICTURE_MEMORY),
    Target("picture.other", "a.webp", _picture, seeds.other_pictures, (m.in_bytes,), memory=PICTURE_MEMORY),
    Target("glb", "a.glb", _glb, seeds_model.glb, (m.in_glb, m.in_bytes)),
    Target("avatars.json", "avatars/avatars.json", _avatars, seeds_model.avatars_json, JSON, _beside_avatars),
    Target("avatars.png", "avatars/people/000001.png", _avatars, seeds_model.strip, PNG, _beside_avatars,
           memory=PICTURE_MEMORY),
    Target("dataset", "00000.zip", _dataset, seeds.dataset_zips, pictures.IN_DATASET, cost=2),
]  # fmt: skip
