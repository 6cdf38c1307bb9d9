"""Parts of work that fit into the memory."""

from __future__ import annotations

import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.model.avatars.batching import is_out_of_memory, map_with_oom_backoff


def test_everything_once_and_in_order() -> None:
    asked = list(map_with_oom_backoff(7, 3, lambda part: list(range(7))[part]))
    assert asked == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(map_with_oom_backoff(0, 3, lambda part: part)) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_much_is_halved(error: RuntimeError, caplog: pytest.LogCaptureFixture) -> None:
    sizes = []

    def make(part: slice) -> list[int]:
        sizes.append(part.stop - part.start)
        if sizes[-1] > limit:
            raise error
        return list(range(10))[part]

    limit = 2
    assert [one for part in map_with_oom_backoff(10, 8, make) for one in part] == list(range(10))
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    assert "going on with 2 images at once" in caplog.text
    limit = 0
    with pytest.raises(UserError, match="the memory does not suffice for one picture"):
        list(map_with_oom_backoff(10, 8, make, "picture"))


def test_other_errors_pass() -> None:
    def make(part: slice) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        list(map_with_oom_backoff(4, 4, make))


def test_a_processor_without_memory() -> None:
    """The words of the torch at hand."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
