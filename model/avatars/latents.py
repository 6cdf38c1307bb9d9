"""Files of style codes: who the people of a picture were, to be shown again in other ways.

| entry | meaning |
| --- | --- |
| ws [n,num_ws,w_dim] or [n,w_dim] | style codes; one for all layers, or one for each |
| label [n,111] | camera, pose and build; may be missing |
| seed [n] | numbers that name the people; may be missing |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ag3d.core.bounded import read_npy, read_npz
from ag3d.core.errors import UserError
from ag3d.core.files import atomic
from ag3d.model.body import label as labels


@dataclass
class Latents:
    ws: torch.Tensor  # [n,num_ws,w_dim]
    label: torch.Tensor | None  # [n,111]
    seeds: list[int]

    def select(self, seeds: list[int], name: str) -> Latents:
        """Those people in that order. Raises UserError where one is not there."""
        for seed in seeds:
            if seed not in self.seeds:
                raise UserError(f"{name} holds no person {seed}; it has {', '.join(map(str, self.seeds))}")
        rows = [self.seeds.index(seed) for seed in seeds]
        return Latents(self.ws[rows], None if self.label is None else self.label[rows], seeds)


def read_latents(path: str | Path, num_ws: int, w_dim: int) -> Latents:
    """The people of a file (.npz; or .npy with ws alone), for a network of that size. Raises UserError."""
    if Path(path).suffix == ".npy":
        arrays = {"ws": read_npy(path)}
    else:
        with read_npz(path) as archive:
            arrays = {name: archive[name] for name in ("ws", "label", "seed") if name in archive}
            present = ", ".join(sorted(archive))
    if "ws" not in arrays:
        raise UserError(f"{path} holds no style codes: 'ws' is missing (it has: {present})")
    ws = _numbers(arrays["ws"], "ws", path)
    if ws.ndim == 2:
        ws = ws[:, None].expand(-1, num_ws, -1)
    if ws.ndim != 3 or len(ws) == 0 or ws.shape[1:] != (num_ws, w_dim):
        raise UserError(
            f"{path}: 'ws' is {list(arrays['ws'].shape)}; this checkpoint needs [people, {num_ws}, {w_dim}] or [people, {w_dim}]"
        )
    label = None
    if "label" in arrays:
        label = _numbers(arrays["label"], "label", path)
        if label.shape != (len(ws), labels.LENGTH):
            raise UserError(f"{path}: 'label' is {list(label.shape)}, expected [{len(ws)}, {labels.LENGTH}]")
    seeds = np.asarray(arrays.get("seed", np.arange(len(ws))))
    if seeds.dtype.kind not in "iu" or seeds.shape != (len(ws),) or len(set(seeds.tolist())) < len(ws):
        raise UserError(f"{path}: 'seed' must be {len(ws)} different whole numbers")
    return Latents(ws.contiguous(), label, seeds.tolist())


def write_latents(path: str | Path, ws: torch.Tensor, label: torch.Tensor, seeds: list[int]) -> None:
    """Write people so that `read_latents` finds them again, atomically."""
    codes, rows = (values.float().cpu().numpy() for values in (ws, label))
    with atomic(path) as beside:
        np.savez(beside, allow_pickle=False, ws=codes, label=rows, seed=np.array(seeds))


def _numbers(values: np.ndarray, key: str, path: str | Path) -> torch.Tensor:
    if values.dtype.kind not in "fiu":
        raise UserError(f"{path}: '{key}' holds no numbers")
    return finite(values, f"{path}: '{key}'")


def finite(values: np.ndarray, what: str) -> torch.Tensor:
    """Numbers as float32. Raises UserError, which begins with `what`, where some are not finite."""
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{what} holds values that are no finite numbers")
    return torch.from_numpy(values)
