"""Which tests a run left out, and whether that was to be expected: tests/expected_skips.txt."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from support import ROOT

LIST = ROOT / "tests/expected_skips.txt"


class Expected(NamedTuple):
    tests: str  # pattern of test ids
    reason: re.Pattern[str]  # found in what the skipped test says


def read_expected(path: Path = LIST) -> list[Expected]:
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [
        Expected(tests.strip(), re.compile(reason.strip())) for tests, reason in (line.split("|", 1) for line in lines)
    ]


class SkipReport:
    """Lists at the end what was skipped and why; with CI=true, a skip that is not expected fails the run.

    Works in the one process of a plain run, and in the controller of pytest-xdist, whose workers send it their reports.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}  # by test id

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
            self.reasons[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")

    def unexpected(self) -> dict[str, str]:
        expected = read_expected()
        return {
            test: reason
            for test, reason in self.reasons.items()
            if not any(fnmatch.fnmatchcase(test, e.tests) and e.reason.search(reason) for e in expected)
        }

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if os.environ.get("CI") == "true" and self.unexpected() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        unexpected = self.unexpected()
        if self.reasons:
            terminalreporter.section("left out")
        for reason, count in Counter(r for t, r in self.reasons.items() if t not in unexpected).most_common():
            terminalreporter.write_line(f"{count} expected: {reason}")
        for test, reason in unexpected.items():
            terminalreporter.write_line(f"NOT EXPECTED (tests/expected_skips.txt): {test}: {reason}", red=True)
