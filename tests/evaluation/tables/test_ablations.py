from __future__ import annotations

import sys

import pytest
import yaml
from support import ROOT
from support.measurements import measured, with_more

from ag3d.config.ablations import FULL, read_variants, variant
from ag3d.core.errors import UserError
from ag3d.core.files import write_json
from ag3d.evaluation.tables import ablations
from ag3d.evaluation.tables.formats import FORMATS, to_markdown

FOLDER = ROOT / "config" / "ablations"
DEMO = ROOT / "config.yaml"


def test_shipped_variants_change_what_they_say():
    base = yaml.safe_load(DEMO.read_text())
    full, *others = (variant(base, changes, 7) for changes in read_variants(FOLDER).values())
    assert full.training.seed == 7
    found = dict(zip(list(read_variants(FOLDER))[1:], others, strict=True))
    assert found["nearest-skinning"].network.skinning == "nearest"
    assert not found["without-face-discriminator"].network.use_face_discriminator
    assert not found["without-normals"].network.use_normal_discriminator
    weights = found["without-normal-discriminator"].training
    assert (weights.normal_weight, weights.face_normal_weight) == (0, 1)
    for other in others:  # beside that, nothing
        other.training.normal_weight, other.training.face_normal_weight = 1.0, -1.0
        other.network.skinning, other.network.use_face_discriminator, other.network.use_normal_discriminator = (
            "search",
            True,
            True,
        )
        assert other == full


def test_variants_are_laid_over_the_configuration(tmp_path):
    (tmp_path / "a.yaml").write_text("network: {departures: {solid_body: false}}\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    variants = read_variants(tmp_path)
    assert list(variants) == [FULL, "a", "empty"]
    base = {"network": {"face_fraction": 4, "departures": {"body_bounds": False}}, "training": {"batch_size": 4}}
    found = variant(base, variants["a"], 3)
    assert (found.network.departures.solid_body, found.network.departures.body_bounds) == (False, False)
    assert (found.network.face_fraction, found.training.batch_size, found.training.seed) == (4, 4, 3)
    assert base["network"]["departures"] == {"body_bounds": False}


def test_wrong_variants_are_named(tmp_path):
    with pytest.raises(UserError, match=r"'ablations\.folder': .*nowhere does not exist"):
        read_variants(tmp_path / "nowhere")
    (tmp_path / "a.yaml").write_text("dataset: {resolution: 64}\n")
    with pytest.raises(UserError, match=r"a\.yaml: 'dataset' cannot be varied"):
        read_variants(tmp_path)
    with pytest.raises(UserError, match="unknown key 'network.skining'; did you mean 'network.skinning'"):
        variant({}, {"network": {"skining": "nearest"}}, 0)
    with pytest.raises(UserError, match=r"'ablations\.seeds' is \[1, 1\]"):
        variant({"ablations": {"seeds": [1, 1]}}, {}, 0)


def of_seeds(*values: float, protocol: str = "p1") -> list[dict]:
    return [measured(str(seed), 3.0, value, protocol) for seed, value in enumerate(values)]


def not_run() -> dict:
    return {"run": "9", "kimg": 3.0, "metrics": {}}


def test_mean_and_spread_over_seeds():
    found = ablations.ablations({FULL: of_seeds(0.2, 0.4), "without-normals": of_seeds(0.9, 1.0)})
    text = to_markdown(found)
    assert "| full model | 3 | 2 | **0.300** ± 0.141 |" in text
    assert "| without normals | 3 | 2 | 0.950 ± 0.071 |" in text
    assert "standard deviation between seeds" in text


def test_what_cannot_be_told_apart_is_said():
    """image: 0.3 ± 0.14 and 0.35 ± 0.07; then with a clear winner; then with one seed each."""
    for other, text in (((0.3, 0.4), True), ((0.9, 1.0), False)):
        (table,) = ablations.ablations({FULL: of_seeds(0.2, 0.4), "b": of_seeds(*other)})
        assert any("Too close to say" in note and "image, normal" in note for note in table.notes) == text
    (table,) = ablations.ablations({FULL: of_seeds(0.2), "b": of_seeds(5.0)})
    assert any("Too close to say" in note for note in table.notes)


def test_what_was_not_run_says_so():
    some, none = [*of_seeds(0.5), not_run()], [not_run(), not_run()]
    text = to_markdown(ablations.ablations({FULL: of_seeds(0.2, 0.4), "some": some, "none": none}))
    assert "| some | 3 | 1 of 2 | 0.500 |" in text
    assert "| none | 3 | 0 of 2 | not run | not run |" in text


def test_a_variant_may_lack_a_metric():
    others = [with_more(m, precision=0.5) for m in of_seeds(0.9, 1.0)]
    first, second = ablations.ablations({FULL: of_seeds(0.2, 0.4), "b": others})
    assert first.name == "frechet_embedded"
    assert "| full model | 3 | 0 of 2 | not run |" in to_markdown([second])


@pytest.mark.parametrize("where", ["between variants", "between seeds"])
def test_protocols_are_never_mixed(where):
    if where == "between variants":
        variants = {FULL: of_seeds(0.2, 0.4), "b": of_seeds(0.9, 1.0, protocol="p2")}
    else:
        variants = {FULL: of_seeds(0.2, 0.4), "b": [*of_seeds(0.9), *of_seeds(0.9, protocol="p2")]}
    with pytest.raises(UserError, match="values of different protocols"):
        ablations.ablations(variants)


def test_command(tmp_path, monkeypatch):
    arguments = []
    for name, value in (("full", 0.5), ("b", 0.6)):
        write_json(tmp_path / name / "0" / "metrics" / "3.json", measured("0", 3.0, value))
        arguments += ["--measured", name, str(tmp_path / name / "0" / "metrics" / "3.json")]
    arguments += ["--measured", "c", str(tmp_path / "c" / "0" / "metrics" / "3.json")]
    monkeypatch.setattr(sys, "argv", ["ablations", *arguments, "--output", str(tmp_path / "t")])
    ablations.main()
    assert {p.name for p in (tmp_path / "t").iterdir()} == {f"ablations.{s}" for s in FORMATS}
    assert "| c | 3 | 0 of 1 | not run |" in (tmp_path / "t" / "ablations.md").read_text()
