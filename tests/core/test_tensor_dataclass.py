"""Dataclasses of tensors are moved, cut and joined as one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ag3d.core.tensor_dataclass import TensorDataclass


@dataclass
class Inner(TensorDataclass):
    mask: torch.Tensor


@dataclass
class Outer(TensorDataclass):
    points: torch.Tensor
    name: str
    inner: Inner | None = None


def example() -> Outer:
    return Outer(torch.arange(12.0).view(4, 3), "who", Inner(torch.tensor([True, False, True, False])))


def test_rows_are_taken_from_every_tensor() -> None:
    taken = example()[torch.tensor([3, 0])]
    assert taken.points[:, 0].tolist() == [9, 0]
    assert taken.inner.mask.tolist() == [False, True]
    assert taken.name == "who"
    assert example()[example().inner.mask].points.shape == (2, 3)


def test_what_is_split_can_be_joined_again() -> None:
    parts = example().split([1, 3])
    assert [len(part.points) for part in parts] == [1, 3]
    joined = Outer.cat(parts)
    torch.testing.assert_close(joined.points, example().points)
    assert joined.inner.mask.tolist() == example().inner.mask.tolist()


def test_tensors_change_and_nothing_else() -> None:
    doubled = Outer(torch.ones(2, 3), "who").map(lambda tensor: 2 * tensor).to("cpu")
    assert doubled.inner is None
    assert doubled.points.sum() == 12
