"""Planning for ten million photographs: from a kept listing, without a look at the folder."""

from __future__ import annotations

import pytest
import yaml
from support import ROOT
from support.workflow import dry_run, job_counts

from ag3d.core.files import write_json

SHARDS = 1000


@pytest.mark.slow
def test_ten_million_photographs_are_planned_from_the_kept_listing(tmp_path):
    """The folder that it tells of is empty."""
    settings = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    photos = tmp_path / "photos"
    photos.mkdir()
    settings["photos"] = {"source": "folder", "path": str(photos), "shards": SHARDS}
    settings["machine"]["keep_listing"] = True
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    record = {"folder": str(photos), "shards": SHARDS, "number": 10_000_000}
    record["fingerprints"] = {shard: f"{shard:016x}" for shard in range(SHARDS)}
    write_json(tmp_path / "results" / settings["dataset_name"] / "scan/scan.json", record)
    counts = job_counts(dry_run(tmp_path))
    for stage in ("photos", "people", "matting", "fitting", "alignment", "normals", "dataset"):
        assert counts[stage] == SHARDS


def test_too_many_shards_for_a_command(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"photos": {"shards": 50_000}}))
    told = dry_run(tmp_path)
    assert told.returncode != 0
    assert "photos.shards is 50000" in told.stdout + told.stderr
