"""AG3D data sets (see ag3d.core.dataset_format), read at random."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ag3d.core.dataset_format import flat_label, is_image, label_rows, normal_name
from ag3d.core.errors import UserError
from ag3d.core.shards import ShardReader, decode_image
from ag3d.model.body import label as body_label
from ag3d.model.training import image_batch


class Item(NamedTuple):
    """One person: image and normal map uint8 [3,R,R], label float32 [111]."""

    image: np.ndarray
    normal: np.ndarray
    label: np.ndarray


class ZipDataset:
    """Random access to the people in AG3D zips, in the order of their names whatever shard they are in.

    With `mirror`, items N ... 2N-1 are the mirrored items 0 ... N-1, labels and normals included. As many
    people as fit into `cache_bytes` stay decoded in memory. Safe to use from several threads. Raises UserError naming the zip and the entry.
    """

    def __init__(
        self, paths: Iterable[str | Path], resolution: int, mirror: bool = False, cache_bytes: int = 512 << 20
    ) -> None:
        self.resolution = resolution
        self._shards = [_Shard(Path(path)) for path in paths]
        entries = sorted((name, number) for number, shard in enumerate(self._shards) for name in shard.labels)
        if not entries:
            raise UserError(f"no labelled images in {', '.join(str(shard.path) for shard in self._shards)}")
        self.names = [name for name, _ in entries]
        self._shard_of = [number for _, number in entries]
        labels = np.array([self._shards[number].labels[name] for name, number in entries], dtype=np.float32)
        if mirror:
            labels = np.concatenate([labels, body_label.mirror(torch.from_numpy(labels)).numpy()])
        self.labels = labels  # [N or 2N,111]
        self._room = cache_bytes // (6 * resolution**2)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Item:
        pair = self._cache.get(index) or self._read(index)
        if len(self._cache) < self._room:
            self._cache[index] = pair
        image, normal = (np.ascontiguousarray(part.transpose(2, 0, 1)) for part in pair)
        return Item(image, normal, self.labels[index])

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        number = index % len(self.names)
        shard, name = self._shards[self._shard_of[number]], self.names[number]
        image, normal = shard.image(name), shard.image(normal_name(name))
        if index >= len(self.names):
            image, normal = image_batch.mirror(image, normal)
        return image_batch.prepare(image, normal, self.resolution)


class _Shard:
    """A zip, its labels, and reading by several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = ShardReader(path)
        self._lock = threading.Lock()
        self.labels = self._read_labels()

    def image(self, name: str) -> np.ndarray:
        with self._lock:
            data = self._reader.read(name)
        return decode_image(data, f"{self.path}:{name}")

    def _read_labels(self) -> dict[str, np.ndarray]:
        rows = label_rows(self._reader)
        present = set(self._reader.names)
        found = {}
        for name in filter(is_image, self._reader.names):
            if name not in rows:
                raise UserError(f"{self.path}: dataset.json has no label for '{name}'")
            if normal_name(name) not in present:
                raise UserError(f"{self.path}: '{name}' has no normal map '{normal_name(name)}'")
            found[name] = flat_label(rows[name], f"{self.path}: label of '{name}'")
        return found


def collate(items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """images uint8 [B,3,R,R], normals uint8 [B,3,R,R], labels float32 [B,111]."""
    image, normal, label = (torch.from_numpy(np.stack(parts)) for parts in zip(*items, strict=True))
    return image, normal, label
