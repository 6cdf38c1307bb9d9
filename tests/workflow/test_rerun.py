"""What a change of the configuration makes run again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.workflow import dry_run, job_counts

pytestmark = pytest.mark.slow

SMOKE = ROOT / "config/smoke.yaml"
DATA_AFTER_FITS = {
    "fitting",
    "alignment",
    "normals",
    "dedup",
    "dataset",
    "pose_distribution",
    "rejected",
    "index",
    "truth",
}
AFTER_TRAINING = {"training", "metrics", "tables", "avatars", "export", "viewer"}


def would_run(directory: Path, file: Path) -> set[str]:
    """The rules, but for the files of settings, the report, which shows them all, and the target."""
    return set(job_counts(dry_run(directory, "--configfile", str(file)))) - {"all", "config", "report"}


def test_nothing_runs_twice(smoke_run):
    assert would_run(smoke_run, SMOKE) == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"machine.workers": 2, "machine.log_every_images": 8}, set()),
        ({"avatars.frames": 5}, {"avatars", "viewer"}),
        ({"avatars.seed": 5}, {"avatars", "export", "viewer"}),
        ({"export.max_faces": 1000}, {"export", "viewer"}),
        ({"evaluation.num_images": 17}, {"metrics", "tables"}),
        ({"training.r1_gamma": 3.0}, AFTER_TRAINING),
        ({"network.depth_resolution": 7}, AFTER_TRAINING),
        ({"dataset.version": 2}, {"index"} | AFTER_TRAINING),
        ({"fitting.iterations": 100}, DATA_AFTER_FITS | AFTER_TRAINING),
        ({"fitting.iterations": 100, "evaluation.num_images": 17}, DATA_AFTER_FITS | AFTER_TRAINING),
        ({"training.kimg": 0.06, "training.milestones": 3}, AFTER_TRAINING),
    ],
)
def test_only_what_depends_on_a_setting_runs_again(smoke_run, tmp_path, changes, expected):
    settings = yaml.safe_load(SMOKE.read_text())
    for key, value in changes.items():
        section, name = key.split(".")
        settings.setdefault(section, {})[name] = value
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(settings))
    assert would_run(smoke_run, tmp_path / "changed.yaml") == expected
