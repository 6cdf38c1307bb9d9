"""The benchmark of the metric pass measures every part of it, and the shares add up."""

from __future__ import annotations

import argparse
import sys

import pytest
from support import ROOT

from ag3d.config import Evaluation, Network
from ag3d.evaluation.metrics.protocols import requested_protocols
from ag3d.model.generator import Generator

FOLDER = ROOT / "benchmarks"
SIZES = {
    **{"image_resolution": 32, "plane_resolution": 16, "z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8},
    **{
        "sr_channels": 8,
        "decoder_hidden": 8,
        "depth_resolution": 4,
        "depth_resolution_importance": 4,
        "face_fraction": 4,
    },
}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    for name in ("metrics", "network", "inception"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import metrics

    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fid5k_full", "clean_fid5k_full"])
def test_every_part_is_measured_and_scaled(benchmark, tiny_body, tmp_path, monkeypatch, name):
    weights = str(benchmark.stand_in.save(tmp_path / "inception.pth"))
    args = argparse.Namespace(samples=4, size=40, batch=2, poses=None, data=[], models=tmp_path, inception=weights)
    generator = Generator(Network(**SIZES), tiny_body).eval().requires_grad_(False)
    settings = Evaluation(metrics=[name], num_images=4, batch=2, inception=weights, bootstrap=2)
    (protocol,) = requested_protocols(settings)
    monkeypatch.setattr(protocol.source.__class__, "ray_samples", 4)  # and not the reference's 48
    row = benchmark.Pass(args, generator, tmp_path).row(protocol, settings)
    assert (row["data_people"], row["dimensions"]) == (4, 2048)
    whole = benchmark.shares(row)
    assert (
        min(seconds for part, seconds in whole.items() if part != "features") > 0
    )  # that is a difference of two times
    assert whole["generation"] == pytest.approx(10 * row["generate_s"])
    assert whole["resizing"] + whole["features"] == pytest.approx(10 * sum(row["networks_s"].values()))
    assert {"matrix root", "bootstrap", "kernel", "precision and recall"} <= whole.keys()
