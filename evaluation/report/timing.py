"""Time and memory of the rules, from the benchmark files that the workflow leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ag3d.evaluation.report.figures import COLORS, plain, plot


@dataclass
class RuleTime:
    """All jobs of a rule."""

    name: str
    jobs: int
    seconds: float  # summed over the jobs
    longest: float
    memory: float  # MiB, the largest of the jobs

    @property
    def memory_text(self) -> str:
        return f"{self.memory / 1024:.1f} GB" if self.memory else "–"


def rule_times(folders: Iterable[Path]) -> list[RuleTime]:
    """Read <folder>/benchmarks/<rule>.tsv and <folder>/benchmarks/<rule>/<job>.tsv, the longest rule first."""
    of_rule: dict[str, list[tuple[float, float]]] = {}
    for folder in dict.fromkeys(folders):
        base = folder / "benchmarks"
        for path in sorted(base.rglob("*.tsv")):
            rule = path.relative_to(base).parts[0].removesuffix(".tsv")
            try:
                table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
                seconds = float(table["s"].iloc[-1])
                memory = float(pd.to_numeric(table["max_rss"], errors="coerce").fillna(0).max())
            except (ValueError, KeyError, IndexError, OSError):
                continue  # a job that is being written
            of_rule.setdefault(rule, []).append((seconds, memory))
    rules = [
        RuleTime(rule, len(jobs), sum(s for s, _ in jobs), max(s for s, _ in jobs), max(m for _, m in jobs))
        for rule, jobs in of_rule.items()
    ]
    return sorted(rules, key=lambda rule: -rule.seconds)


def time_bars(rules: list[RuleTime]) -> str:
    """Seconds of each rule as horizontal bars."""
    with plot(7.4, 0.6 + 0.24 * len(rules)) as figure:
        axes = figure.axes[0]
        names = [plain(rule.name) for rule in reversed(rules)]
        axes.barh(names, [rule.seconds for rule in reversed(rules)], color=COLORS[0], alpha=0.85)
        for row, rule in enumerate(reversed(rules)):
            axes.text(rule.seconds, row, f" {duration(rule.seconds)}", va="center", fontsize=8)
        axes.margins(x=0.12)
        axes.set_xlabel("seconds, all jobs together")
        axes.grid(axis="y", visible=False)
    return figure.uri


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 03 min"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
