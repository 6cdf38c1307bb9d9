"""Only the shell of a job dies, while the job puts its results in place: Snakemake takes the job for failed and removes what
is there, and the orphan goes on writing. The same command again ends with the results of an undisturbed run.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import psutil
import pytest
from support import ROOT, small_run

pytestmark = pytest.mark.slow
TARGETS = ("all",) if small_run.LONG else ("data",)
MOST_STARTS = 40
# Tells of every rule that starts a module and has several results.
TELLING = r"""
import json, re, sys
for each in workflow.rules:
    found = re.findall(r"\bag3d\.(?!core\.launch)[\w.]+", each.shellcmd or "")
    if found and len(each.output) > 1:
        print("SEVERAL", json.dumps(found[0]), file=sys.stderr)
"""


def modules_with_several_results(folder: Path) -> list[str]:
    snakefile = folder / "Snakefile"
    snakefile.write_text(f"include: '{ROOT}/Snakefile'\n{TELLING}")
    variants = f"ablations={{folder: {ROOT}/config/ablations}}"
    told = small_run.snakemake(folder, "--snakefile", str(snakefile), "--list-rules", "--config", variants)
    assert told.returncode == 0, told.stderr
    return [json.loads(found) for found in re.findall("^SEVERAL (.*)$", told.stderr, re.MULTILINE)]


def wait_for_orphans(folder: Path) -> None:
    def at_work() -> bool:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(folder):
                    return True
        return False

    end = time.monotonic() + 1200
    while at_work():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, open_body_path) -> dict[str, str]:
    return small_run.undisturbed(tmp_path_factory.mktemp("undisturbed"), open_body_path, *TARGETS)


@pytest.mark.parametrize("moment", [1, 2] if small_run.LONG else [1])
def test_shells_die_while_results_appear(tmp_path, open_body_path, whole, moment, capsys):
    small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=0))
    marks = tmp_path / "marks"
    marks.mkdir()
    modules = modules_with_several_results(tmp_path)
    (marks / "modules.json").write_text(json.dumps(modules))
    environment = {"AG3D_KILLED": str(marks), "AG3D_MOMENT": str(moment)}
    environment["PYTHONPATH"] = f"{ROOT}/tests/support/shell_killer:{ROOT}"
    for starts in range(1, MOST_STARTS):
        done = small_run.snakemake(tmp_path, *TARGETS, "--cores", "2", **environment)
        wait_for_orphans(tmp_path)
        killed = sorted(path.name for path in marks.glob("ag3d.*"))
        if done.returncode == 0:
            break
        assert len(killed) >= starts, done.stderr[-5000:]  # nothing else fails
    assert small_run.results(tmp_path) == whole
    assert small_run.leftovers(tmp_path) == []
    assert set(killed) <= set(modules)
    assert len(killed) >= 4, modules
    with capsys.disabled():
        print(f"\nshells killed after result {moment}: {', '.join(killed)}; {starts} starts")
