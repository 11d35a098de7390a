"""Which way a tensor is computed, the CPU's or a GPU's, and what is asked of its values.

Memory is predicted by running a model over tensors that have a shape and no values, on any machine: they lie on the
CPU and stand for tensors of the device that is `imagined`. Everything here that must know where a tensor is, or
what is in it, asks these functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

DeviceType = Literal["cpu", "cuda"]

_imagined: DeviceType | None = None


@contextmanager
def imagined(device: DeviceType) -> Iterator[None]:
    """Within it every tensor is one without values, and stands for one on the device."""
    global _imagined
    before, _imagined = _imagined, device
    try:
        yield
    finally:
        _imagined = before


def is_imagined() -> bool:
    """Tell whether tensors have no values now."""
    return _imagined is not None


def on_cpu(device: torch.device) -> bool:
    """Tell whether what lies on a device is computed the CPU's way."""
    return (_imagined or device.type) == "cpu"


def all_above(x: Tensor, smallest: float) -> bool:
    """Tell whether no absolute value is at or below `smallest`. (A GPU is waited for; pretrained weights are: true.)"""
    return _imagined is not None or bool(x.abs().min() > smallest)
