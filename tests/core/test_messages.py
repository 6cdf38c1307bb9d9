"""What commands print is one line of letters, whatever files and their names hold."""

import logging
import re

import pytest

from ag3d.core import console
from ag3d.core.errors import UserError, printable

HOSTILE = "a\x1b[31mred\nerror: forged\r\u202egpj.exe\x00\ud800" + "x" * 5000


def test_printable_is_one_short_line_of_letters():
    shown = printable(HOSTILE)
    assert shown.isprintable()
    assert len(shown) < 1600
    assert shown.startswith(r"a\x1b[31mred error: forged \u202egpj.exe\x00\ud800xxx")
    assert printable("Größe 5 × 3 → 日本") == "Größe 5 × 3 → 日本"


def test_errors_and_log_lines_are_single_lines(capsys, monkeypatch):
    def main():
        logging.getLogger("ag3d").warning("the file %s", HOSTILE)
        raise UserError(f"{HOSTILE} is damaged")

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit) as stopped:
        console.run(main)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    assert re.match(r"\d\d:\d\d:\d\d ag3d: the file a\\x1b", lines[0])
    assert lines[1].startswith(r"error: a\x1b[31mred error: forged")
    assert all(line.isprintable() for line in lines)
