"""Inception's features and the distances on them, against the package clean-fid."""

from __future__ import annotations

import importlib
import types

import numpy as np
import pytest
import torch
from support.stand_in_inception import Narrow, StandIn, Writer, save
from support.without_torchvision import torchvision_or_stand_in

from ag3d.config import Evaluation, load
from ag3d.core.errors import UserError
from ag3d.evaluation.metrics import fid_math, inception, kid

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    return save(StandIn(), tmp_path_factory.mktemp("inception"))


@pytest.fixture(scope="module")
def cleanfid():
    """clean-fid's modules."""
    with torchvision_or_stand_in():
        pytest.importorskip("cleanfid")
        yield types.SimpleNamespace(
            **{name: importlib.import_module(f"cleanfid.{name}") for name in ("fid", "resize", "inception_torchscript")}
        )


def pictures(side: int, count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(side)
    smooth = np.linspace(0, 255, side)[None, :, None] * np.ones((side, 1, 3))
    return [(0.5 * smooth + random.integers(0, 128, (side, side, 3))).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("side", [17, 64, 256, 299, 512])
def test_resizing_equals_clean_fids_bit_for_bit(cleanfid, side):
    theirs = cleanfid.resize.build_resizer("clean")
    for image in pictures(side):
        ours = inception.resize(image)
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs(image))


@pytest.mark.parametrize("mode", inception.MODES)
def test_features_equal_clean_fids(cleanfid, weights, mode):
    theirs = cleanfid.inception_torchscript.InceptionV3W(
        str(weights.parent), download=False, resize_inside=mode == "legacy_tensorflow"
    )
    images = pictures(40, 5)
    resized = [cleanfid.resize.build_resizer(mode)(image) for image in images]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float()).numpy()
    ours = inception.Inception(weights, mode, CPU, batch=5)(images)
    np.testing.assert_array_equal(ours, expected)


def test_modes_differ_and_batches_do_not_matter(weights):
    clean = inception.Inception(weights, "clean", CPU, batch=2)(pictures(40, 5))
    legacy = inception.Inception(weights, "legacy_tensorflow", CPU)(pictures(40, 5))
    assert np.abs(clean - legacy).max() > 1e-3
    np.testing.assert_allclose(clean, inception.Inception(weights, "clean", CPU)(pictures(40, 5)), atol=1e-5)


def test_pictures_may_be_unrounded_in_legacy_mode_only(weights):
    half = [np.full((32, 32, 3), 100.4, np.float32)]
    whole = [np.full((32, 32, 3), 100, np.uint8)]
    legacy, clean = (inception.Inception(weights, mode, CPU) for mode in inception.MODES)
    assert np.abs(legacy(half) - legacy(whole)).max() > 1e-5
    np.testing.assert_array_equal(clean(half), clean(whole))


@pytest.mark.parametrize("dimensions", [8, 96])
def test_frechet_distance_equals_clean_fids(cleanfid, dimensions):
    random = np.random.default_rng(dimensions)
    mixing = random.normal(size=(2, dimensions, dimensions))
    x, y = (random.normal(size=(4 * dimensions, dimensions)) @ m + k for k, m in enumerate(mixing))
    expected = cleanfid.fid.fid_from_feats(x, y)
    assert fid_math.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert fid_math.frechet_distance_approx(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_equals_clean_fids_where_variances_span_six_orders(cleanfid):
    random = np.random.default_rng(0)
    scales = np.logspace(-3, 0, 64)  # of the deviations
    turn = np.linalg.qr(random.normal(size=(64, 64)))[0]
    x, y = ((random.normal(size=(500, 64)) * scales) @ turn for _ in range(2))
    assert fid_math.frechet_distance(x, 1.1 * y) == pytest.approx(cleanfid.fid.fid_from_feats(x, 1.1 * y), rel=1e-6)


def test_distance_of_a_networks_features_equals_clean_fids(cleanfid, weights):
    network = inception.Inception(weights, "clean", CPU)
    x, y = network(pictures(24, 40))[:, :24], network(pictures(32, 44))[:, :24]
    assert fid_math.frechet_distance(x, y) == pytest.approx(cleanfid.fid.fid_from_feats(x, y), rel=1e-6)


def test_kernel_distance_equals_clean_fids(cleanfid):
    # clean-fid's subsets are whole here, so that its random choice changes nothing. It divides the mixed term by m²
    # and the others by m (m - 1), as we do.
    random = np.random.default_rng(0)
    x, y = random.normal(size=(50, 6)), random.normal(0.3, size=(50, 6))
    assert kid.kernel_distance(x, y) == pytest.approx(cleanfid.fid.kernel_distance(x, y, num_subsets=1), rel=1e-9)


def test_a_missing_file_is_an_error_that_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pt.*evaluation\.inception.*https://"):
        inception.Inception(tmp_path / "nowhere.pt", "clean", CPU)
    with pytest.raises(UserError, match=r"'evaluation\.inception' is missing"):
        Evaluation(metrics=["frechet", "fid5k_full"])
    with pytest.raises(UserError, match="did you mean 'fid5k_full'"):
        load({"evaluation": {"metrics": ["fid5k"]}})


def test_programs_that_reach_files_are_not_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(Writer(), tmp_path)
    with pytest.raises(UserError, match=r"calls torch\.save.*not loaded"):
        inception.Inception(path, "legacy_tensorflow", CPU)
    assert not (tmp_path / "written.bin").exists()


@pytest.mark.parametrize("mode", inception.MODES)
def test_other_networks_and_damaged_files_are_named(tmp_path, mode):
    path = save(Narrow(), tmp_path)
    with pytest.raises(UserError, match=r"is not the network inception-2015-12-05\.pt"):
        inception.Inception(path, mode, CPU)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="not a whole TorchScript file"):
        inception.Inception(path, mode, CPU)
