"""Where tensors live."""

from __future__ import annotations

import pytest
import torch

from ag3d.core.device import choose_device
from ag3d.core.errors import UserError


def test_a_device_that_is_not_here_is_named_with_its_setting():
    with pytest.raises(UserError, match="fitting.device is 'cuda:77'.*auto or cpu"):
        choose_device("cuda:77", "fitting.device")


def test_a_process_without_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="this machine has 2; set machine.gpus"):
        choose_device("auto", "machine.device")
