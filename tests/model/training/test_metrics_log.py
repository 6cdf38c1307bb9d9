from __future__ import annotations

import pytest
import torch

from ag3d.model.training.distributed import Processes
from ag3d.model.training.monitoring import Averages, MetricsFile, bad_values


def test_means_over_all_elements_and_exact_state():
    a, b = Averages(), Averages()
    a.add("x", torch.tensor([1.0, 2.0]))
    a.add("x", torch.tensor(0.1))
    a.add("y", torch.tensor([float("nan")]))
    b.restore(a.sums())
    for averages in (a, b):
        averages.add("x", torch.tensor([0.7]))
        averages.add("z", torch.tensor([3.0]))
    assert a.means()["x"] == b.means()["x"]
    assert abs(a.means()["x"] - 0.95) < 1e-6
    assert bad_values(a.means()) == ["y"]


class Second(Processes):
    """The second of two processes; the first has added 5 to everything."""

    def sum_numbers(self, numbers: list[float]) -> list[float]:
        return [number + 5 for number in numbers]


@pytest.mark.parametrize(("rank", "mine"), [(0, (8.0, 6)), (1, (0.0, 0))])
def test_every_process_keeps_the_names_when_the_first_takes_the_numbers(rank, mine):
    averages = Averages()
    averages.add("loss/R1", torch.tensor([3.0]))
    averages.fold(Second(rank, 2))
    assert averages.sums() == {"loss/R1": mine}
    averages.add("loss/D", torch.tensor([1.0]))
    assert list(averages.sums()) == ["loss/D", "loss/R1"]
    restored = Averages()
    restored.restore({"loss/R1": [8.0, 6]}, first=rank == 0)
    assert restored.sums() == {"loss/R1": mine}


def test_resuming_never_doubles_a_row(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.rewind(3)
    for images in (0, 8, 16, 24):
        file.append({"images": images})
    with file.path.open("a") as handle:
        handle.write('{"images": 3')
    file.rewind(16)
    file.append({"images": 24})
    assert [row["images"] for row in file.rows()] == [0, 8, 16, 24]


def test_a_damaged_row_takes_no_other_with_it(tmp_path, caplog):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for images in (8, 16, 24, 32, 40, 48, 56):
        file.append({"images": images, "loss/G": 0.1 * images})
    lines = file.path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"1.6", b"1.7")  # still a number
    lines[2] = b"\xff\xfe" + lines[2]
    lines[3] = b"[" * 100_000 + b"\n"
    lines[4] = b'{"images": "40"}\n'
    lines[5] = b'{"images": 48, "loss/G": NaN}\n'
    file.path.write_bytes(b"".join(lines) + b'{"images": 6')
    assert [row["images"] for row in file.rows()] == [8, 56]
    assert "5 damaged rows are left out, the first is line 2" in caplog.text
    file.rewind(100)
    caplog.clear()
    assert file.rows() == [{"images": 8, "loss/G": 0.8}, {"images": 56, "loss/G": 0.1 * 56}]
    assert not caplog.text


def test_rows_of_before_there_were_checksums_count(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"images": 8}\n')
    assert MetricsFile(tmp_path / "metrics.jsonl").rows() == [{"images": 8}]
