"""Files of style codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.model.avatars.latents import read_latents, write_latents


def test_they_come_back(tmp_path: Path) -> None:
    ws, label = torch.randn(3, 5, 4), torch.randn(3, 111)
    for name in ("a", "b"):
        write_latents(tmp_path / f"{name}.npz", ws, label, [7, 2, 9])
    found = read_latents(tmp_path / "a.npz", 5, 4)
    assert torch.equal(found.ws, ws)
    assert torch.equal(found.label, label)
    assert found.seeds == [7, 2, 9]
    chosen = found.select([9, 7], "a.npz")
    assert torch.equal(chosen.ws, ws[[2, 0]])
    assert torch.equal(chosen.label, label[[2, 0]])
    with pytest.raises(UserError, match="a.npz holds no person 3; it has 7, 2, 9"):
        found.select([3], "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_one_code_serves_all_layers(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).standard_normal((2, 4))
    np.save(tmp_path / "codes.npy", codes)
    np.savez(tmp_path / "codes.npz", ws=codes)
    for name in ("codes.npy", "codes.npz"):
        found = read_latents(tmp_path / name, 5, 4)
        assert found.ws.shape == (2, 5, 4)
        assert (found.ws == torch.from_numpy(codes).float()[:, None]).all()
        assert found.label is None
        assert found.seeds == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros((2, 4))}, r"'ws' is missing \(it has: z\)"),
        ({"ws": np.zeros((2, 6, 4))}, r"'ws' is \[2, 6, 4\]; this checkpoint needs \[people, 5, 4\] or \[people, 4\]"),
        ({"ws": np.zeros((0, 5, 4))}, "'ws' is"),
        ({"ws": np.zeros(4)}, "'ws' is"),
        ({"ws": np.full((2, 4), np.nan)}, "'ws' holds values that are no finite numbers"),
        ({"ws": np.array([["a"]])}, "'ws' holds no numbers"),
        ({"ws": np.zeros((2, 4)), "label": np.zeros((1, 111))}, r"'label' is \[1, 111\], expected \[2, 111\]"),
        ({"ws": np.zeros((2, 4)), "seed": np.array([1, 1])}, "'seed' must be 2 different whole numbers"),
        ({"ws": np.zeros((2, 4)), "seed": np.array([1.0, 2.0])}, "'seed' must be"),
        ({"ws": np.array([[None]])}, "'ws' holds Python objects"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "codes.npz", **arrays)
    with pytest.raises(UserError, match=f"codes.npz.*{message}"):
        read_latents(tmp_path / "codes.npz", 5, 4)


def test_no_file_of_codes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.npz does not exist"):
        read_latents(tmp_path / "none.npz", 5, 4)
    (tmp_path / "text.npz").write_text("codes")
    with pytest.raises(UserError, match="text.npz is no .npz file"):
        read_latents(tmp_path / "text.npz", 5, 4)
