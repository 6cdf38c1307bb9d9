"""AG3D data sets (see core.dataset_format) as the networks see them.

Read at random, in an endless order that is a function of the seed, ahead by threads.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ag3d.core.dataset_format import flat_label, is_image, label_rows, normal_name
from ag3d.core.errors import UserError
from ag3d.core.shards import ShardReader, decode_image
from ag3d.model.body import label as body_label

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, normals uint8 [b,3,R,R]; labels [b,111]
WHITE = 255
MIN_ALPHA = 0.3  # less is background in the normal map, as in AG3D


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
        self._cache_size = cache_bytes // (6 * resolution**2)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Item:
        pair = self._cache.get(index) or self._read(index)
        if len(self._cache) < self._cache_size:
            self._cache[index] = pair
        image, normal = (np.ascontiguousarray(part.transpose(2, 0, 1)) for part in pair)
        return Item(image, normal, self.labels[index])

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        person = index % len(self.names)
        shard, name = self._shards[self._shard_of[person]], self.names[person]
        image, normal = shard.image(name), shard.image(normal_name(name))
        if index >= len(self.names):
            image, normal = mirror_person(image, normal)
        return prepare_person(image, normal, self.resolution)


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
        labels = {}
        for name in filter(is_image, self._reader.names):
            if name not in rows:
                raise UserError(f"{self.path}: dataset.json has no label for '{name}'")
            if normal_name(name) not in present:
                raise UserError(f"{self.path}: '{name}' has no normal map '{normal_name(name)}'")
            labels[name] = flat_label(rows[name], f"{self.path}: label of '{name}'")
        return labels


def collate(items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """images uint8 [B,3,R,R], normals uint8 [B,3,R,R], labels float32 [B,111]."""
    image, normal, label = (torch.from_numpy(np.stack(parts)) for parts in zip(*items, strict=True))
    return image, normal, label


class Sampler:
    """Every pass over the data set is a fresh permutation. Position p is the p-th image of the whole run."""

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError("an empty data set cannot be sampled")
        self.size, self.seed = size, seed
        self._permutation = functools.lru_cache(maxsize=2)(self._permute)

    def _permute(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, self.size)
        return int(self._permutation(epoch)[offset])

    def range(self, start: int, stop: int) -> list[int]:
        """Indices of the images at positions start ... stop-1."""
        return [self[position] for position in range(start, stop)]


class Loader:
    """Yields (images uint8 [b,3,R,R], normals uint8 [b,3,R,R], labels [b,111]) of one process's share of each batch.

    The share is the positions `first` ... `first + share - 1` within every global batch of `batch` images. Iterating
    starts at `position` images, so resuming needs that number alone. `workers` 0 reads in the calling thread.
    """

    def __init__(
        self,
        dataset: ZipDataset,
        sampler: Sampler,
        batch: int,
        position: int = 0,
        first: int = 0,
        share: int | None = None,
        workers: int = 2,
        ahead: int = 3,
    ) -> None:
        self.dataset, self.sampler, self.batch, self.position = dataset, sampler, batch, position
        self.first, self.share = first, batch - first if share is None else share
        self.ahead = ahead
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="loader") if workers else None

    def _indices(self, position: int) -> list[int]:
        return self.sampler.range(position + self.first, position + self.first + self.share)

    def __iter__(self) -> Iterator[Batch]:
        if self._pool is None:
            while True:
                batch = collate([self.dataset[index] for index in self._indices(self.position)])
                self.position += self.batch
                yield batch
        queue: deque[list[Future[Item]]] = deque()
        position = self.position
        while True:
            while len(queue) < self.ahead:
                queue.append([self._pool.submit(self.dataset.__getitem__, index) for index in self._indices(position)])
                position += self.batch
            batch = collate([future.result() for future in queue.popleft()])
            self.position += self.batch
            yield batch

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


# Pictures as the networks see them: composited on white, at the network's resolution, unit normals.


def composite_on_white(image: np.ndarray) -> np.ndarray:
    """Grey, RGB or RGBA uint8 to RGB uint8; RGBA is laid on white."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    if image.shape[2] == 3:
        return image
    on_white = np.full((*image.shape[:2], 3), WHITE, np.uint8)
    window = bounding_slices(image[..., 3] > 0)
    part = image[window]
    alpha = part[..., 3:].astype(np.float32) / 255
    on_white[window] = part[..., :3] * alpha + WHITE * (1 - alpha)
    return on_white


def bounding_slices(mask: np.ndarray, step: int = 1) -> tuple[slice, slice]:
    """Rows and columns around all that is set in [H,W], at multiples of `step`: most of a picture is background."""
    slices = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        covered = np.flatnonzero(mask.any(axis=axis))
        first, last = (covered[0], covered[-1] + 1) if len(covered) else (0, 0)
        slices.append(slice(int(first) // step * step, min(-(-int(last) // step) * step, length)))
    return slices[0], slices[1]


def person_mask(normal: np.ndarray, image: np.ndarray) -> np.ndarray:
    """bool [H,W]: where the normal map shows the person. Exact white and low alpha are background."""
    mask = cv2.inRange(normal, (WHITE,) * 3, (WHITE,) * 3) == 0
    if image.ndim == 3 and image.shape[2] == 4:
        mask &= image[..., 3] >= MIN_ALPHA * 255
    return mask


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H,W] or [H,W,C] to `size` (height, width): area averages when it shrinks, bilinear when it grows."""
    if image.shape[:2] == size:
        return image
    shrinks = min(size) < max(image.shape[:2])
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def unit_normals(normal: np.ndarray, mask: np.ndarray, resolution: int) -> np.ndarray:
    """Normal map uint8 [H,W,3] with its mask to uint8 [R,R,3]: unit vectors on white.

    Vectors are averaged over the person alone and made unit again; pixels that the person covers in part are then
    blended with the white background, as volume rendering does.
    """
    step, rest = divmod(mask.shape[0], resolution)
    if rest or not step or mask.shape[0] != mask.shape[1]:
        return _unit_normals(normal, mask, (resolution, resolution))
    rows, columns = bounding_slices(mask, step)
    small = tuple(slice(part.start // step, part.stop // step) for part in (rows, columns))
    normals = np.full((resolution, resolution, 3), WHITE, np.uint8)
    size = (small[0].stop - small[0].start, small[1].stop - small[1].start)
    if min(size) > 0:
        normals[small] = _unit_normals(normal[rows, columns], mask[rows, columns], size)
    return normals


def _unit_normals(normal: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    vectors = normal.astype(np.float32) / 127.5 - 1
    vectors *= (mask / (np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors)) + 1e-8))[..., None]
    cover = resize(mask.astype(np.float32), size)[..., None]
    vectors = resize(vectors, size)
    vectors *= cover / (np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors))[..., None] + 1e-8)
    return np.rint((vectors + (2 - cover)) * 127.5).clip(0, WHITE).astype(np.uint8)


def prepare_person(image: np.ndarray, normal: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The decoded files of one person to image and normal map, uint8 [R,R,3] each."""
    if normal.ndim != 3 or normal.shape[:2] != image.shape[:2]:
        normal = cv2.resize(composite_on_white(normal), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    normal = np.ascontiguousarray(normal[..., :3])
    normals = unit_normals(normal, person_mask(normal, image), resolution)
    return resize(composite_on_white(image), (resolution, resolution)), normals


def mirror_person(image: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The decoded files flipped left to right; the normals' x changes sign, the white background stays."""
    normal = composite_on_white(normal)[:, ::-1].copy()
    person = (normal != WHITE).any(axis=2)
    normal[person, 0] = WHITE - normal[person, 0]
    return image[:, ::-1].copy(), normal
