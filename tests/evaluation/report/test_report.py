from __future__ import annotations

import base64
import re
import shutil
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.core.files import write_json
from ag3d.evaluation.report import __main__ as report
from ag3d.evaluation.report.__main__ import render
from ag3d.evaluation.report.media import picture_file
from ag3d.evaluation.report.page import Page
from ag3d.evaluation.report.poses import lean, standing_heights, yaw
from ag3d.evaluation.report.timing import duration, rule_times
from ag3d.evaluation.report.training import curve_figures, group_of, read_curves

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Every tag is closed, and nothing is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    beside = {source for source in checker.sources if not source.startswith(("data:", "#"))}
    assert beside <= {"viewer.html"}
    return checker


@pytest.fixture(scope="module")
def page(small_results, tiny_body):
    truth = small_results / "data" / "truth.json"
    measure = {
        "name": "overlap",
        "unit": "%",
        "mean": 0.913,
        "median": 0.92,
        "p90": 0.97,
        "count": 6,
        "meaning": "IoU of mattes",
    }
    write_json(truth, {"stages": {"matting": [measure]}})
    return report.build(
        small_results / "data",
        small_results / "run",
        tiny_body,
        {"body": {"file": "body <1>"}, "training": {"kimg": 3.0, "milestones": 2}},
    )


def test_page_is_self_contained_and_whole(page):
    checker = check(report.render(page))
    assert checker.counts["video"] == 4
    assert "viewer.html" in checker.sources
    assert checker.counts["img"] > 60


def test_every_stage_shows_who_passed_and_who_did_not(page):
    by_name = {stage.name: stage for stage in page.stages}
    assert by_name["photos"].count == "8 of 9 passed"
    assert by_name["fitting"].count == "6 of 7 passed"
    assert by_name["normals"].count == "all 6 passed"
    for name, stage in by_name.items():
        assert sum(not p.rejected for p in stage.pictures) == 6, name
        assert sum(p.rejected for p in stage.pictures) == (name in ("photos", "people", "fitting")), name
    assert [p.caption for p in by_name["fitting"].pictures if p.rejected] == ["landmark error (0.25)"]
    assert {row[0] for row in page.rejected_counts.rows} == {"photos", "people", "fitting"}
    assert all(picture is not None for row in page.journey for picture in row)


def test_filters_are_shown_with_their_limits(page, small_results):
    svg = "".join(base64.b64decode(f.uri.partition("base64,")[2]).decode() for f in page.filters)
    for text in ("people.min_height 96", "fitting.max_reprojection 0.05", "0 of 7 beyond it", "photos.min_side 128"):
        assert text in svg, text


def test_values_reach_the_page(page):
    html = report.render(page)
    for text in (
        "6 of 9",
        "3 kimg",
        "91.3 %",
        "IoU of mattes",
        "half against half",
        "without thing",
        "file: body &lt;1&gt;",
        "1 min 45 s",
    ):
        assert text in html, text
    assert "9 kimg" not in html
    assert "after 200 images" in html
    assert "after 3,000 images" in html
    assert "NaN" not in re.sub(r"base64,[^\"]*", "", html)


def test_command(small_results, tiny_body_path, monkeypatch, tmp_path):
    out = tmp_path / "report.html"
    options = ["--dataset", small_results / "data", "--run", small_results / "run", "--body", tiny_body_path]
    monkeypatch.setattr(sys, "argv", ["report", *map(str, options), "--output", str(out)])
    report.main()
    assert 50_000 < out.stat().st_size < 25e6


def test_unfinished_run_is_an_error_unless_asked_for(small_results, tiny_body, tmp_path):
    shutil.copytree(small_results / "data", tmp_path / "data")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="does not exist; finish the run"):
        report.build(tmp_path / "data", tmp_path / "run", tiny_body, {})
    (tmp_path / "data" / "fitting" / "00000.parquet").unlink()
    for stage in ("alignment", "normals", "dataset", "metrics"):
        shutil.rmtree(tmp_path / "data" / stage, ignore_errors=True)
    html = report.render(report.build(tmp_path / "data", tmp_path / "run", tiny_body, {}, partial=True))
    check(html)
    assert "Not finished" in html
    assert "Avatars</h2>" not in html


def test_viewing_angle():
    front, half, quarter = [np.pi, 0, 0], [0, 0, np.pi], [np.pi / np.sqrt(2), 0, -np.pi / np.sqrt(2)]
    angles = yaw(torch.tensor([front, half, quarter], dtype=torch.float32))
    assert angles[0] == pytest.approx(0, abs=1e-3)
    assert abs(angles[1]) == pytest.approx(180, abs=1e-3)
    assert abs(angles[2]) == pytest.approx(90, abs=1e-3)
    assert lean(torch.tensor([[np.pi, 0, 0], [np.pi - 0.1, 0, 0]])) == pytest.approx([0, np.degrees(0.1)], abs=0.05)


def test_facing_the_images_right_is_positive():
    from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle

    upright = axis_angle_to_matrix(torch.tensor([[np.pi, 0.0, 0.0]], dtype=torch.float32))
    for angle in (0.5, -1.2):
        turn = axis_angle_to_matrix(torch.tensor([[0.0, angle, 0.0]]))
        orient = matrix_to_axis_angle(turn @ upright)
        front = axis_angle_to_matrix(orient)[0, :, 2]
        assert np.sign(yaw(orient)[0]) == np.sign(float(front[0]))
        assert abs(yaw(orient)[0]) == pytest.approx(np.degrees(abs(angle)), abs=1e-2)


def test_standing_height(tiny_body):
    rest = tiny_body.v_template[:, 1]
    assert standing_heights(torch.zeros(1, 10), tiny_body)[0] == pytest.approx(float(rest.max() - rest.min()), rel=1e-6)
    assert standing_heights(torch.eye(10)[:1], tiny_body)[0] > standing_heights(torch.zeros(1, 10), tiny_body)[0]


def test_times(small_results):
    times = rule_times([small_results / "data", small_results / "run", small_results / "nothing"])
    assert [(t.name, t.jobs, t.seconds, t.longest, t.memory) for t in times] == [
        ("training", 1, 100.0, 100.0, 2000.0),
        ("photos", 2, 5.0, 3.0, 150.0),
    ]
    assert [duration(s) for s in (3.14, 125, 7500)] == ["3.1 s", "2 min 05 s", "2 h 05 min"]


def test_curves_skip_a_line_cut_off(small_results):
    curves = read_curves(small_results / "run" / "training" / "metrics.jsonl")
    assert len(curves["loss/G"][0]) == 15
    assert curves["loss/G"][0][-1] == pytest.approx(3.0)
    assert group_of("logit/real/full") == ("logit, full", "real")
    assert group_of("loss/G")[0] == group_of("loss/D")[0]


def test_names_of_curves_are_no_formulas(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"kimg": 1, "$\\\\frac{$": 2, "loss/$x$": 3}\n"text"\n[1]\n{"kimg": 2, "a": 1e400}\n{"a": '
        + "9" * 400
        + "}\n"
        + '{"a":' * 3000
        + "\n\xff"
    )
    series = read_curves(tmp_path / "metrics.jsonl")
    assert set(series) == {"$\\frac{$", "loss/$x$"}
    assert len(curve_figures(series)) == 2


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_pictures_of_results_that_are_damaged_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    with pytest.raises(UserError, match=name):
        picture_file(tmp_path / name, 100)


def test_the_page_runs_no_scripts_and_asks_nothing_of_the_network():
    html = render(Page("<b>x</b>", "<script>alert(1)</script>"))
    assert "default-src &#39;none&#39;" in html
    assert "script-src" not in html
    assert "<script" not in html
