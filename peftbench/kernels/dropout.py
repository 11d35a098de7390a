"""Dropout with fast random bits."""

from __future__ import annotations

import torch
from torch import Tensor

from peftbench.kernels.device import on_cpu


def keep_mask(shape: tuple[int, ...], p: float, device: torch.device) -> tuple[Tensor, float]:
    """Return a bool mask that is True with probability 1 - p, and the scale that makes dropout unbiased.

    On the CPU it uses 16 random bits per element (p is rounded to a multiple of 2^-16, and the scale matches the
    rounded p): torch's `bernoulli_` takes several times as long. It draws from the device's global generator.
    """
    if not on_cpu(device):
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(1 - p), 1 / (1 - p)
    count = 1
    for size in shape:
        count *= size
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = max(1, round((1 - p) * 2**16))
    mask = words.view(torch.int16)[:count].view(shape) < kept - 2**15
    return mask, 2**16 / kept


def dropped(x: Tensor, p: float) -> Tensor:
    """Return dropout(x), scaled; x itself if p is 0."""
    if not p:
        return x
    mask, scale = keep_mask(tuple(x.shape), p, x.device)
    return x * mask * scale
