"""Snakemake's report and the project's own page hold the same figures."""

from __future__ import annotations

import base64
import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from support import ROOT
from support.workflow import snakemake

pytestmark = pytest.mark.slow

SMOKE = ROOT / "config/smoke.yaml"


@pytest.fixture(scope="module")
def theirs(smoke_run, tmp_path_factory) -> dict[str, bytes]:
    """Name to content of what Snakemake's report carries."""
    path = tmp_path_factory.mktemp("report") / "report.zip"
    done = snakemake(smoke_run, "--configfile", str(SMOKE), "--report", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(path) as archive:
        return {name.split("/")[-1]: archive.read(name) for name in archive.namelist() if "/data/raw/" in name}


@pytest.fixture(scope="module")
def page(smoke_run) -> str:
    return (smoke_run / "results/smoke/report.html").read_text(encoding="utf-8")


def test_it_carries_the_page_and_the_workflows_figures(theirs, page):
    assert theirs["report.html"].decode() == page
    assert theirs.keys() >= {
        "samples.png",
        "normals.png",
        "meshes.png",
        "animation.mp4",
        "comparison.html",
        "viewer.html",
    }


def test_every_figure_of_theirs_stands_in_the_page(theirs, page):
    embedded = [base64.b64decode(data) for data in re.findall(r"data:(?:image|video)/\w+;base64,([^\"]+)", page)]
    pictures = [_thumbnail(data) for data in embedded if data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")]
    missing = []
    latest = max(name for name in theirs if name.endswith(".neighbours.png"))
    for name, data in theirs.items():
        if name.endswith(".mp4") and data not in embedded:
            missing.append(name)
        # Large pictures are JPEGs in the page; of the milestones' neighbours the page shows the last.
        if name.endswith(".png") and not (name.endswith(".neighbours.png") and name != latest):
            seen = _thumbnail(data)
            if min(np.abs(seen - one).mean() for one in pictures) > 2:
                missing.append(name)
    assert not missing
    tables = re.findall(r'<figure class="table">.*?</figure>', theirs["comparison.html"].decode(), re.DOTALL)
    assert tables
    assert all(table in page for table in tables)


def _thumbnail(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        shape = np.full((1, 64, 3), picture.width / picture.height * 100)
        return np.concatenate([np.asarray(flat.convert("RGB").resize((64, 64)), np.float64), shape])
