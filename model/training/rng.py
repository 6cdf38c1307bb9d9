"""Random numbers of a step: functions of (seed, step, purpose), so they do not depend on what ran before or where."""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, step: int, purpose: str, place: int = 0) -> int:
    """A 63-bit seed."""
    text = f"{seed}:{step}:{purpose}:{place}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def generator(seed: int, step: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, step, purpose))


def latents(seed: int, step: int, phase: str, batch: int, z_dim: int) -> torch.Tensor:
    """z of the whole batch, [batch,z_dim]; the same on every device and process."""
    return torch.randn(batch, z_dim, generator=generator(seed, step, f"{phase} z"))


def rows(seed: int, step: int, phase: str, batch: int, size: int) -> torch.Tensor:
    """Which of `size` labels the generated people get, [batch]."""
    return torch.randint(size, (batch,), generator=generator(seed, step, f"{phase} label"))


def seed_everything(seed: int, step: int, phase: str, place: int) -> None:
    """Seed the devices' own generators, which noise and ray jitter use, for the chunk that starts at `place`."""
    torch.manual_seed(seed_of(seed, step, f"{phase} noise", place))
