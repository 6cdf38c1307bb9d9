from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from support import ROOT
from support.stand_in_inception import StandIn, save

from ag3d.config import Evaluation, Network, load
from ag3d.config.results import METRICS, RENAMED_METRICS
from ag3d.core.dataset_format import people_in, read_labels, write_dataset
from ag3d.core.errors import UserError
from ag3d.core.files import read_json, write_json
from ag3d.core.shards import ShardReader
from ag3d.evaluation.metrics import distances, feature_cache, image_sets, stage
from ag3d.evaluation.metrics.feature_extraction import make_extractors
from ag3d.evaluation.metrics.image_sets import generated_images, sample_inputs
from ag3d.evaluation.metrics.protocols import Protocol, Source, requested_protocols
from ag3d.evaluation.tables.comparison import comparison
from ag3d.evaluation.tables.formats import to_markdown
from ag3d.model.checkpoint import describe, save_weights
from ag3d.model.generator import Generator

CPU = torch.device("cpu")
FEW = Source(5)
EMBEDDED = Protocol("frechet_embedded", FEW, "embedded")
SIZES = {
    **{
        "image_resolution": 32,
        "plane_resolution": 16,
        "z_dim": 8,
        "w_dim": 8,
        "channel_base": 128,
        "channel_max": 8,
        "face_fraction": 4,
        "beta_init": 0.01,
    },
    **{
        "sr_channels": 8,
        "decoder_hidden": 8,
        "depth_resolution": 4,
        "depth_resolution_importance": 4,
        "discriminator_mapping_layers": 1,
    },
}


@pytest.fixture(scope="module")
def network(tiny_body) -> Generator:
    torch.manual_seed(0)
    return Generator(Network(**SIZES), tiny_body).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def poses(small_results) -> np.ndarray:
    return np.load(small_results / "data" / "poses.npy")


@pytest.fixture(scope="module")
def data(small_results):
    return [small_results / "data" / "dataset" / "00000.zip"]


@pytest.fixture(scope="module")
def embedded(blazepose_folder):
    return make_extractors([EMBEDDED], blazepose_folder, Evaluation(), CPU)["embedded"]


def test_pictures_do_not_depend_on_the_batch(network, poses):
    one = [p for batch in generated_images(network, poses, FEW, 1, seed=3) for p in batch.image]
    three = [p for batch in generated_images(network, poses, FEW, 3, seed=3) for p in batch.image]
    assert len(one) == len(three) == 5
    for a, b in zip(one, three, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
    other = next(generated_images(network, poses, FEW, 3, seed=4)).image[0]
    assert np.abs(other.astype(int) - three[0].astype(int)).max() > 1
    (last,) = generated_images(network, poses, FEW, 3, seed=3, part=range(3, 5))
    np.testing.assert_array_equal(last.image[1], three[4])


def test_the_references_protocol_has_its_sizes_noise_and_rays(network, poses, data, monkeypatch):
    seen = []
    synthesis, render = network.synthesis, network.renderer.render
    monkeypatch.setattr(network, "synthesis", lambda *a, **k: seen.append(a[2]) or synthesis(*a, **k))
    monkeypatch.setattr(network.renderer, "render", lambda *a: seen.append(a[2][:2]) or render(*a))
    source = Source(4, reference=True)
    first = [next(generated_images(network, poses, source, 4, seed=1)) for _ in range(2)]
    assert seen == ["random", (48, 48)] * 2
    np.testing.assert_array_equal(first[0].image, first[1].image)
    assert {name: v[0].shape[0] for name, v in first[0].streams().items()} == {"image": 32, "normal": 256, "face": 8}
    assert first[0].normal[0].dtype == np.uint8
    (photographs,) = image_sets.RealImages(data, network, source).batches(8)
    assert photographs.normal[0].shape == (256, 256, 3)
    assert photographs.normal[0].dtype == np.float32
    assert (photographs.normal[0] != np.rint(photographs.normal[0])).any()


def test_faces_of_the_references_protocol_have_64_pixels_from_256_on():
    class Big:
        settings = Network(image_resolution=512, face_fraction=4)

    assert Source(1, reference=True).face_side(Big) == 64
    assert Source(1).face_side(Big) == 128
    Big.settings = Network(image_resolution=128, face_fraction=4)
    assert Source(1, reference=True).face_side(Big) == 32


def test_which_protocols():
    def names(*metrics: str) -> list[str]:
        return [p.name for p in requested_protocols(Evaluation(metrics=list(metrics), inception="x.pt"))]

    assert names("pck") == []
    assert names("kid") == ["frechet_embedded"]
    assert names("fid5k_full", "kid") == ["fid5k_full"]
    assert names("swd", "clean_fid50k_full", "frechet") == ["frechet_embedded", "clean_fid50k_full", "sliced_patches"]
    (protocol,) = requested_protocols(Evaluation(metrics=["clean_fid50k_full"], inception="x.pt"))
    assert protocol.source == Source(50_000, reference=True)
    assert [protocol.metric_name(kind) for kind in ("fid", "kid")] == ["clean_fid50k_full", "clean_kid50k_full"]
    assert EMBEDDED.metric_name("kid") == "kid_embedded"


def test_draw_is_uniform_over_poses():
    _, labels = sample_inputs(np.eye(4, 111, dtype=np.float32), 4000, 2, seed=0)
    np.testing.assert_allclose(labels[:, :4].mean(0), 0.25, atol=0.03)


def test_real_pictures_have_the_networks_sizes(network, data):
    (batch,) = image_sets.RealImages(data, network, FEW).batches(8)
    assert {name: (len(v), v[0].shape) for name, v in batch.streams().items()} == {
        "image": (6, (32, 32, 3)),
        "normal": (6, (16, 16, 3)),
        "face": (6, (8, 8, 3)),
    }
    assert (batch.image[0][0, 0] == 255).all()


def test_command_measures_and_keeps_features_by_content(
    network, small_results, tiny_body_path, blazepose_folder, tmp_path, monkeypatch
):
    checkpoint, data = tmp_path / "myrun" / "training" / "000001", small_results / "data"
    save_weights(network, checkpoint / "generator_ema.safetensors")
    write_json(checkpoint / "checkpoint.json", describe(network.settings, network.body, kimg=1.0))
    command = ["metrics", "--checkpoint", checkpoint, "--body", tiny_body_path, "--poses", data / "poses.npy"]
    command += ["--data", data / "dataset" / "00000.zip", "--models", blazepose_folder, "--cache", tmp_path / "cache"]
    command += ["--samples", 10, "--bootstrap", 5, "--batch", 4, "--people", 2, "--voxels", 24]
    every = list(METRICS[:1] + METRICS[5:])
    command += ["--metrics", json.dumps(every), "--picture", tmp_path / "nearest.png"]
    results = []
    for name in ("a.json", "b.json"):
        monkeypatch.setattr(sys, "argv", [str(part) for part in (*command, "--output", tmp_path / name)])
        stage.main()
        results.append(read_json(tmp_path / name))
        kept = list((tmp_path / "cache").iterdir())
        assert len(kept) == 1
        monkeypatch.setattr(stage, "real_features", _only_from_cache(kept[0], stage.real_features))
    first, second = results
    assert first["metrics"] == second["metrics"]
    assert (first["run"], first["kimg"], first["counts"]) == ("myrun", 1.0, {"poses": 6, "people": 2})
    streams = ("image", "normal", "face")
    kinds = ("frechet_embedded", "kid_embedded", "precision_embedded", "recall_embedded", "diversity_embedded")
    assert set(first["metrics"]) >= {
        *(f"{kind}_{stream}" for kind in kinds for stream in streams),
        *(f"frechet_embedded_{stream}_detection" for stream in streams),
        *("copied_embedded_image", "swd_patches_image", "swd_patches_normal", "pck"),
        *(f"mesh_consistency_{name}" for name in ("angle", "overlap", "body")),
        *(f"view_consistency_{name}" for name in ("silhouette", "color", "identity")),
        "temporal_consistency",
    }
    assert all(m["protocol_id"] in first["protocols"] for m in first["metrics"].values())
    assert all(np.isfinite(m["value"]) for m in first["metrics"].values())
    assert 0 < first["metrics"]["mesh_consistency_body"]["value"] < 60  # a new network is the body, nearly
    assert first["metrics"]["view_consistency_silhouette"]["value"] > 0.7
    assert any("the distance is too large" in note for note in first["notes"])
    conditions = first["protocols"][first["metrics"]["frechet_embedded_image"]["protocol_id"]]
    assert (conditions["side"], conditions["samples"], conditions["noise"]) == (32, 10, "const")
    assert cv2.imread(str(tmp_path / "nearest.png")).shape == (4 * 128, 2 * (5 * 128 + 6) + 18, 3)
    assert not (tmp_path / "blocks").exists()


def test_one_photograph_is_too_few_and_says_so(network, poses, data, blazepose_folder, tmp_path):
    shard = ShardReader(data[0])
    person = people_in(shard)[0]
    with write_dataset(tmp_path / "one.zip", {}) as writer:
        image, normal = (shard.image(f"{kind}_{person}.png") for kind in ("img", "normal"))
        writer.write_person(person, image, normal, read_labels(shard)[f"img_{person}.png"])
    settings = Evaluation(
        metrics=["frechet", "kid", "precision_recall", "neighbours", "swd"], num_images=8, bootstrap=2
    )
    one = [tmp_path / "one.zip"]
    work = stage.Measurement(network, poses, one, blazepose_folder, tmp_path, tmp_path / "blocks", settings)
    found = work.run(tmp_path / "nearest.png")
    assert found["metrics"] == {}
    assert found["notes"][0] == "frechet_embedded: nothing is measured, one photograph is too few"
    assert (tmp_path / "nearest.png").exists()  # an output of the rule
    (table,) = comparison([{"run": "r", "kimg": 1, **found}])
    assert "one photograph is too few" in to_markdown([table])


def test_photographs_that_are_all_the_same_leave_out_what_has_no_value(
    network, poses, data, blazepose_folder, tmp_path
):
    shard = ShardReader(data[0])
    person = people_in(shard)[0]
    image, normal = (shard.image(f"{kind}_{person}.png") for kind in ("img", "normal"))
    with write_dataset(tmp_path / "same.zip", {}) as writer:
        for name in ("a", "b", "c", "d", "e"):
            writer.write_person(name, image, normal, read_labels(shard)[f"img_{person}.png"])
    settings = Evaluation(metrics=["frechet", "precision_recall"], num_images=8, bootstrap=2)
    same = [tmp_path / "same.zip"]
    work = stage.Measurement(network, poses, same, blazepose_folder, tmp_path, tmp_path / "blocks", settings)
    found = work.run()
    write_json(tmp_path / "metrics.json", found)  # refuses what is no number
    assert not any("diversity" in name for name in found["metrics"])
    assert any("diversity" in note and "no finite number" in note for note in found["notes"])


def test_fid_by_name_of_its_protocol(network, poses, data, tmp_path, monkeypatch):
    """With other sample numbers, so that the test is quick: everything else is the command's."""
    monkeypatch.setattr("ag3d.evaluation.metrics.protocols.FID_SAMPLES", {"fid5k_full": 6, "fid50k_full": 8})
    weights = save(StandIn(), tmp_path)
    wanted = ["fid5k_full", "clean_fid5k_full", "kid", "precision_recall", "neighbours"]
    settings = Evaluation(metrics=wanted, inception=str(weights), bootstrap=2)
    work = stage.Measurement(network, poses, data, tmp_path, tmp_path, tmp_path / "blocks", settings)
    found = work.run(tmp_path / "nearest.png")
    streams = ("image", "normal", "face")
    kinds = (
        "fid5k_full",
        "clean_fid5k_full",
        "kid5k_full",
        "clean_kid5k_full",
        "precision5k_full",
        "clean_recall5k_full",
    )
    assert set(found["metrics"]) >= {f"{kind}_{stream}" for kind in kinds for stream in streams} | {
        "copied5k_full_image"
    }
    ids = {name: found["metrics"][name]["protocol_id"] for name in ("fid5k_full_image", "clean_fid5k_full_image")}
    assert len(set(ids.values())) == 2
    conditions = found["protocols"][ids["fid5k_full_image"]]
    assert conditions["network"].keys() == {"inception_legacy_tensorflow"}
    assert (conditions["samples"], conditions["noise"], conditions["ray_samples"]) == (6, "random", 48)
    assert (tmp_path / "nearest.png").exists()


def test_blocks_are_kept_shared_and_equal_to_a_single_pass(network, poses, embedded, tmp_path, monkeypatch):
    whole = feature_cache.fake_features(network, poses, FEW, embedded, tmp_path / "none", 2, seed=0)
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(feature_cache, "BLOCK_SIZE", 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert feature_cache.fake_features(network, poses, FEW, embedded, tmp_path / "blocks", 2, seed=0) is None
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["00001.npz"]
    monkeypatch.setenv("RANK", "0")
    (tmp_path / "blocks" / "00000.npz").write_bytes(b"half a file")
    shared = feature_cache.fake_features(network, poses, FEW, embedded, tmp_path / "blocks", 2, seed=0)
    assert len(list((tmp_path / "blocks").iterdir())) == 3
    for name, values in whole.items():
        np.testing.assert_allclose(shared[name], values, atol=1e-5)
    monkeypatch.setattr(feature_cache, "generated_images", lambda *_: pytest.fail("nothing is generated twice"))
    again = feature_cache.fake_features(network, poses, FEW, embedded, tmp_path / "blocks", 2, seed=0)
    np.testing.assert_array_equal(again["image/detection"], shared["image/detection"])
    feature_cache.remove_blocks(tmp_path / "blocks")
    assert not (tmp_path / "blocks").exists()


def _only_from_cache(path, load):
    """`load`, with the data set's zips out of reach of the pictures."""
    stamp = path.stat().st_mtime_ns

    def checked(*arguments):
        found = load(*arguments)
        assert path.stat().st_mtime_ns == stamp
        return found

    return checked


def test_equal_pictures_measure_zero(network, data, embedded, tmp_path):
    found = feature_cache.real_features(data, network, FEW, embedded, tmp_path, 4)
    settings = Evaluation(metrics=["frechet", "precision_recall"], bootstrap=3)
    values = distances.compute_distances(EMBEDDED, found, found, settings, CPU)
    assert all(m["value"] == pytest.approx(0, abs=1e-6) for name, m in values.items() if name.startswith("frechet"))
    assert values["precision_embedded_image"]["value"] == values["diversity_embedded_image"]["value"] == 1
    assert {m["table"] for m in values.values()} == {"frechet_embedded", "precision_recall_embedded"}


def test_floor_is_what_halves_of_the_data_set_score():
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 6))
    pair = distances.FeaturePair(x + 1, x, Evaluation(bootstrap=2), CPU)
    entry = distances._frechet(pair)
    assert 0 < entry["floor"] < 0.2 < entry["value"]
    assert distances.FeaturePair(x[:5], x[:5], Evaluation(), CPU).floor(lambda a, b: 0.0) is None


def test_damaged_cache_is_replaced(network, data, embedded, tmp_path):
    first = feature_cache.real_features(data, network, FEW, embedded, tmp_path, 4)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    second = feature_cache.real_features(data, network, FEW, embedded, tmp_path, 4)
    np.testing.assert_array_equal(first["image/segmentation"], second["image/segmentation"])


def test_other_contents_have_other_caches(network, data, embedded, tmp_path):
    feature_cache.real_features(data, network, FEW, embedded, tmp_path, 4)
    feature_cache.real_features(data, network, Source(9), embedded, tmp_path, 4)
    assert len(list(tmp_path.iterdir())) == 1  # how many fakes there are does not concern the reals
    feature_cache.real_features(data, network, FEW, embedded[:1], tmp_path, 4)
    assert len(list(tmp_path.iterdir())) == 2


def test_unknown_metrics_are_named():
    with pytest.raises(UserError, match=r"'evaluation\.metrics\[0\]' is 'pcks'.*did you mean 'pck'"):
        load({"evaluation": {"metrics": ["pcks"]}})


def test_names_of_version_0_1_are_taken_with_a_warning(caplog):
    assert Evaluation(metrics=["kid", "pose", "sliced"]).metrics == ["kid", "pck", "swd"]
    assert "'pose', which is now 'pck'" in caplog.text
    assert RENAMED_METRICS.keys().isdisjoint(METRICS)
    assert set(RENAMED_METRICS.values()) <= set(METRICS)


def test_blocks_of_another_version_are_not_gone_on_with(network, poses, data, embedded, tmp_path, monkeypatch):
    folders = []
    monkeypatch.setattr(stage, "fake_features", lambda *arguments: folders.append(arguments[4]))
    work = stage.Measurement(network, poses, data, tmp_path, tmp_path, tmp_path / "blocks", Evaluation())
    for version in ("1", "1", "2"):
        monkeypatch.setattr("ag3d.core.provenance.code_version", lambda version=version: version)
        assert work.features(FEW, embedded) is None
    assert folders[0] == folders[1] != folders[2]


def test_features_of_the_data_set_go_on_after_a_stop(network, data, embedded, tmp_path, monkeypatch):
    whole = feature_cache.real_features(data, network, FEW, embedded, tmp_path / "whole", 2)
    monkeypatch.setattr(feature_cache, "BLOCK_SIZE", 2)
    looked, extract_features = [], feature_cache.extract_features

    def stopped(pictures, networks):
        looked.append(len(looked))
        if len(looked) == 2:
            raise KeyboardInterrupt
        return extract_features(pictures, networks)

    monkeypatch.setattr(feature_cache, "extract_features", stopped)
    with pytest.raises(KeyboardInterrupt):
        feature_cache.real_features(data, network, FEW, embedded, tmp_path / "again", 2)
    found = feature_cache.real_features(data, network, FEW, embedded, tmp_path / "again", 2)
    assert len(looked) == 4  # three blocks, and the one that was stopped
    for name, values in whole.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
    assert [path.suffix for path in (tmp_path / "again").iterdir()] == [".npz"]  # and no blocks


@pytest.mark.slow
def test_two_processes_share_pictures_and_the_data_set(
    network, small_results, tiny_body_path, blazepose_folder, tmp_path
):
    """By torchrun, as the workflow starts them; what they find is what one finds."""
    checkpoint, data = tmp_path / "myrun" / "training" / "000001", small_results / "data"
    save_weights(network, checkpoint / "generator_ema.safetensors")
    write_json(checkpoint / "checkpoint.json", describe(network.settings, network.body, kimg=1.0))
    script = str(ROOT / "tests/support/small_blocks.py")
    command = ["--checkpoint", checkpoint, "--body", tiny_body_path, "--poses", data / "poses.npy", "--samples", 8]
    command += ["--data", data / "dataset" / "00000.zip", "--models", blazepose_folder, "--bootstrap", 2, "--batch", 2]
    command += ["--metrics", '["frechet", "kid"]', "--device", "cpu"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    results, readers = {}, {}
    for name, start in (("one", []), ("two", launcher)):
        places = ["--cache", tmp_path / f"{name} cache", "--output", tmp_path / name / "000001.json"]
        line = [sys.executable, *start, script, *map(str, (*command, *places))]
        done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        results[name] = read_json(tmp_path / name / "000001.json")
        readers[name] = dict(reversed(line) for line in re.findall(r"process (\d) reads (\d)", done.stdout))
        assert [path.suffix for path in (tmp_path / f"{name} cache").iterdir()] == [".npz"]
        assert [path.name for path in (tmp_path / name).iterdir()] == ["000001.json"]
    assert readers == {"one": {"0": "0", "2": "0", "4": "0"}, "two": {"0": "0", "2": "1", "4": "0"}}
    for name, metric in results["one"]["metrics"].items():
        assert results["two"]["metrics"][name]["value"] == pytest.approx(metric["value"], rel=1e-4, abs=1e-6)
    assert results["one"]["protocols"] == results["two"]["protocols"]
