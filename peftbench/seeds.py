"""Derive independent random streams from the run's single seed, one per use."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *use: str | int) -> int:
    """Return a 63-bit seed for one use of the run's seed, such as `(seed, "order", epoch, task)`.

    Streams are independent: adding a task or a target module leaves all other streams unchanged.
    """
    text = "/".join(str(part) for part in (seed, *use))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *use: str | int) -> torch.Generator:
    """Return a CPU generator for one use of the run's seed."""
    return torch.Generator().manual_seed(derive_seed(seed, *use))
