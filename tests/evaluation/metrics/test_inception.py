"""Inception's features and the distances on them, against the package clean-fid."""

from __future__ import annotations

import importlib
import types
import zipfile

import numpy as np
import pytest
import torch
from support.stand_in_inception import Other, StandIn, Writer, save, state_dict
from support.without_torchvision import torchvision_or_stand_in

from ag3d.config import Evaluation, load
from ag3d.core.errors import UserError
from ag3d.evaluation.metrics import fid_math, inception, kid
from ag3d.evaluation.metrics.inception_file import read_network
from ag3d.evaluation.metrics.inception_network import convolutions, layers, resize_tensorflow

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
    np.testing.assert_allclose(ours, expected, atol=2e-4)  # of features about 7: theirs runs the file's program
    assert expected.std() > 1


def test_modes_differ_and_batches_do_not_matter(weights):
    clean = inception.Inception(weights, "clean", CPU, batch=2)(pictures(40, 5))
    legacy = inception.Inception(weights, "legacy_tensorflow", CPU)(pictures(40, 5))
    assert np.abs(clean - legacy).max() > 1e-2
    np.testing.assert_allclose(clean, inception.Inception(weights, "clean", CPU)(pictures(40, 5)), atol=1e-4)


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
    x, y = network(pictures(24, 12))[:, :6], network(pictures(32, 14))[:, :6]
    # Random weights give features that are nearly the same: the square root that clean-fid takes is then a little off.
    assert fid_math.frechet_distance(x, y) == pytest.approx(cleanfid.fid.fid_from_feats(x, y), rel=1e-5)


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


def test_a_files_program_is_neither_run_nor_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.jit, "load", None)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match="not all of Inception v3's layers"):
        inception.Inception(save(Writer(), tmp_path), "legacy_tensorflow", CPU)
    assert not (tmp_path / "written.bin").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_pytorch_fid_give_torch_fidelitys_features(tmp_path, zipped):
    torch.manual_seed(1)
    path = tmp_path / "pt_inception.pth"
    torch.save(state_dict(), path, _use_new_zipfile_serialization=zipped)
    with torchvision_or_stand_in():
        pytest.importorskip("torch_fidelity")
        theirs = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
            "inception", ["2048"], feature_extractor_weights_path=str(path)
        )
    images = pictures(40, 2)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))[0].numpy()
    ours = inception.Inception(path, "legacy_tensorflow", CPU)(images)
    np.testing.assert_allclose(ours, expected, atol=2e-4)
    assert expected.std() > 1


@pytest.mark.parametrize("size", [(64, 48), (299, 299), (512, 300)])
def test_resizing_equals_tensorflows_as_torch_fidelity_has_it(size):
    with torchvision_or_stand_in():
        theirs = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = torch.rand(2, 3, *size) * 255
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(images, (299, 299), align_corners=False)
    torch.testing.assert_close(resize_tensorflow(images), expected, atol=1e-2, rtol=0)


def test_the_network_has_inceptions_shape():
    network = layers()
    normalised = sum(c.weight.numel() + 2 * c.out_channels for c in convolutions(network))
    assert normalised == 21_785_568  # 23.8 M with the classifier
    with torch.inference_mode():
        assert network[:7](torch.zeros(1, 3, 299, 299)).shape == (1, 192, 35, 35)
        assert network[7:](torch.zeros(1, 192, 35, 35)).shape == (1, 2048)


def test_unknown_weights_are_told(weights, caplog):
    inception.Inception(weights, "clean", CPU)
    assert "compare with each other alone" in caplog.text


@pytest.mark.parametrize("mode", inception.MODES)
def test_other_networks_and_damaged_files_are_named(tmp_path, mode):
    path = save(Other(), tmp_path)
    with pytest.raises(UserError, match=r"is not the network inception-2015-12-05\.pt"):
        inception.Inception(path, mode, CPU)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="not a whole zip file"):
        inception.Inception(path, mode, CPU)
    path.write_bytes(b"no pickle at all")
    with pytest.raises(UserError, match="is not the network"):
        inception.Inception(path, mode, CPU)


def _rewritten(weights, path, change):
    """The weights' file with other entries: `change` is given each entry's name and bytes, and yields what is written."""
    with zipfile.ZipFile(weights) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            for name, data in change(entry, source.read(entry)):
                target.writestr(name, data)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_tensors_stay_inside_their_bytes(weights, tmp_path):
    def shortened(name, data):
        yield name, data[:-4] if name.endswith("data/7") else data

    with pytest.raises(UserError, match="a tensor states"):
        read_network(_rewritten(weights, tmp_path / "short.pt", shortened))

    def twice(name, data):
        yield name, data
        if name.endswith("data.pkl"):
            yield name, data

    with pytest.raises(UserError, match="stands in it twice"):
        read_network(_rewritten(weights, tmp_path / "twice.pt", twice))

    def hostile(name, data):
        yield name, b"cos\nsystem\n(S'touch PWNED'\ntR." if name.endswith("data.pkl") else data

    with pytest.raises(UserError, match=r"names os\.system.*Nothing in it was executed"):
        read_network(_rewritten(weights, tmp_path / "hostile.pt", hostile))
