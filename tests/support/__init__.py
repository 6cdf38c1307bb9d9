"""What tests share: small bodies, networks, results and runs, and servers; `from support import …`, as pytest puts tests/ on the path."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository
