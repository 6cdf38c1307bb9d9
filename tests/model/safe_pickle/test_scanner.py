"""The check of a pickle's instructions agrees with the writers of pickles."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from ag3d.model.safe_pickle.scanner import check_pickle

HONEST = {
    "numbers": [0, -1, 255, 70_000, 2**40, -(10**30), 1.5, True, None],
    "text": ["", "a", "é" * 300, "line\nline", b"", b"\0" * 300, bytearray(b"ab")],
    "containers": ({"a": [1, (2, 3)], 4: {5, 6}}, frozenset([7]), OrderedDict(b=1), [[]] * 300),
    "arrays": [np.arange(12.0).reshape(3, 4), np.float32(3), torch.arange(4), torch.nn.Parameter(torch.zeros(2))],
    "large": bytes(100_000),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", HONEST)
def test_honest_pickles_pass_whole(protocol, kind):
    data = pickle.dumps(HONEST[kind], protocol)
    assert check_pickle(data) == len(data)
    assert check_pickle(b"before" + data + b"after", start=6) == 6 + len(data)
    for length in range(0, len(data), max(1, len(data) // 50)):
        with pytest.raises((EOFError, ValueError)):
            check_pickle(data[:length])


def test_number_of_instructions():
    data = pickle.dumps([[]] * 100, 2)
    assert check_pickle(data, max_instructions=1000) == len(data)
    with pytest.raises(ValueError, match="more than 50 instructions"):
        check_pickle(data, max_instructions=50)


@pytest.mark.parametrize("data", [b"}r\xff\xff\xff\xff.", b"}q\x03.", b"}p9\n.", b"}p2x\n.", b"}p-1\n.", b"}p\n."])
def test_places_in_the_memo_follow_one_another(data):
    with pytest.raises(ValueError, match="."):
        check_pickle(data)


def test_persistent_ids_only_where_they_are_wanted():
    assert check_pickle(b"Pname\n.", persistent=True) == 7
    with pytest.raises(ValueError, match="self-contained"):
        check_pickle(b"Pname\n.")
