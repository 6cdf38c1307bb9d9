from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from ag3d.cli import VERBS


def ag3d(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ag3d", *arguments], capture_output=True, text=True)


def test_unknown_verb():
    answer = ag3d("fly")
    assert answer.returncode == 2
    assert "no verb 'fly'" in answer.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_answers_help(verb, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"ag3d {verb}", "--help"])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"ag3d.{VERBS[verb][0]}").main()
    assert caught.value.code == 0
    assert f"ag3d {verb}" in capsys.readouterr().out
