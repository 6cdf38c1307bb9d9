"""A second opinion on KID and precision/recall: the package torch-fidelity, on the same features."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from support.without_torchvision import torchvision_or_stand_in

from ag3d.evaluation.metrics import fid_math, kid, precision_recall


@pytest.fixture(scope="module")
def fidelity():
    """A function that imports modules of torch-fidelity."""
    with torchvision_or_stand_in():
        pytest.importorskip("torch_fidelity")
        yield lambda name: importlib.import_module(f"torch_fidelity.{name}")


def features(count: int, dimensions: int, seed: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(shift, 1, (count, dimensions)) @ random.normal(size=(dimensions, dimensions))


@pytest.mark.parametrize(("count", "dimensions"), [(50, 6), (120, 200)])
def test_kid_is_theirs(fidelity, count, dimensions):
    """Their subsets are whole here, so that the choice of subsets changes nothing."""
    x, y = features(count, dimensions, 0), features(count, dimensions, 1, 0.3)
    whole = {"kid_subsets": 1, "kid_subset_size": count, "verbose": False}
    theirs = fidelity("metric_kid").kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **whole)
    assert kid.kernel_distance(x, y) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_is_the_mean_of_their_subsets(fidelity):
    x, y = features(400, 8, 2), features(400, 8, 3, 0.2)
    subsets = {"kid_subsets": 400, "kid_subset_size": 100, "verbose": False}
    theirs = fidelity("metric_kid").kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **subsets)
    error = theirs["kernel_inception_distance_std"] / np.sqrt(400)
    assert kid.kernel_distance(x, y) == pytest.approx(theirs["kernel_inception_distance_mean"], abs=4 * error)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("shift", [0.0, 0.6, 2.0])
def test_precision_and_recall_are_theirs(fidelity, k, shift):
    fake, real = features(150, 5, 4, shift), features(130, 5, 5)
    settings = {"prc_neighborhood": k, "verbose": False}
    theirs = fidelity("metric_prc").prc_features_to_metric(torch.from_numpy(fake), torch.from_numpy(real), **settings)
    ours = precision_recall.precision_recall(fake, real, k)
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


def test_frechet_distance_is_theirs(fidelity):
    fid = fidelity("metric_fid")
    x, y = features(300, 24, 6), features(260, 24, 7, 0.5)
    statistics = (fid.fid_features_to_statistics(torch.from_numpy(part)) for part in (x, y))
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid_math.frechet_distance(x, y) == pytest.approx(theirs, rel=1e-6)
