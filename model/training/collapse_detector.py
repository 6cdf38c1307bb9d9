"""Signs that a training has failed without a NaN: one side always wins, or the pictures no longer differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

WON = 0.01  # a loss below: the other side's logits are wrong by more than 4.6 in the mean
ALIKE = 0.002  # variety or contrast below, where white - black is 2: less than an 8-bit step


class Health:
    """Counts the ticks in a row that had a symptom. All was well until `since` images."""

    def __init__(self) -> None:
        self.ticks = 0
        self.since = 0
        self.symptoms: list[str] = []
        self._pictures: dict[str, float] = {}

    def replay(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take in what earlier starts of the training wrote."""
        for row in rows:
            self.tick(row)

    def tick(self, row: dict[str, Any]) -> None:
        """Take in a row of metrics.jsonl. Rows without pictures keep what the last pictures said."""
        self._pictures |= {name: row[name] for name in ("ema/variety", "ema/contrast") if name in row}
        self.symptoms = symptoms({**row, **self._pictures})
        self.ticks = self.ticks + 1 if self.symptoms else 0
        if not self.ticks:
            self.since = row["images"]


def symptoms(row: dict[str, float]) -> list[str]:
    """What is wrong, in words."""
    checks = {
        "loss/D": (WON, "the discriminators always tell generated people from real ones"),
        "loss/G": (WON, "the discriminators always take generated people for real ones"),
        "ema/variety": (ALIKE, "all generated people are alike"),
        "ema/contrast": (ALIKE, "the generated pictures are empty"),
    }
    return [words for name, (least, words) in checks.items() if row.get(name, 1.0) < least]
