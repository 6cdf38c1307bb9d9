"""What the documentation names is there."""

from __future__ import annotations

import re

import pytest
from support import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/NOTES.md"])
TOP = "ag3d|benchmarks|config|docs|envs|evaluation|model|preprocessing|profiles|tests|workflow"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_tests_that_a_page_names_exist(page):
    text = re.sub(
        r"config/mine\.yaml|\bag3d\.(sif|yaml|zip|def|post-deploy\.sh)\b", "", page.read_text()
    )  # the reader's own, and files
    missing = []
    for path, test in re.findall(rf"(?<![\w/.-])((?:{TOP})/[\w./-]*\w)(?:::(\w+))?", text):
        file = ROOT / path
        if not file.exists() and not file.with_suffix(".py").exists():
            missing.append(path)
        elif test and not re.search(rf"def {test}\b", file.read_text()):
            missing.append(f"{path}::{test}")
    for module in re.findall(r"\bag3d(?:\.\w+)+\b", text):
        parts = module.split(".")
        if not any(
            (ROOT.joinpath(*parts[:n]).with_suffix(".py")).exists() or ROOT.joinpath(*parts[:n]).is_dir()
            for n in range(len(parts), 1, -1)
        ):
            missing.append(module)
    assert missing == []


def test_every_page_is_in_the_menu():
    named = set(re.findall(r"(\w+\.md)", (ROOT / "mkdocs.yml").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} == named
