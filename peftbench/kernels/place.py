"""Which way a tensor is computed, the CPU's or a GPU's, and what is asked of its values.

Memory is predicted by running a model over tensors that have a shape and no values, on any machine: they lie on the
CPU and stand for tensors of the device that is `imagined`. Everything here that must know where a tensor is, or
what is in it, asks these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

DeviceType = Literal["cpu", "cuda"]

Context = AbstractContextManager[Any]

_imagined: DeviceType | None = None
_again: Callable[[], Context] = nullcontext


@contextmanager
def imagined(device: DeviceType, again: Callable[[], Context] = nullcontext) -> Iterator[None]:
    """Within it every tensor is one without values, and stands for one on the device.

    Args:
        device: which.
        again: makes the context for what backward computes anew: torch's own modes do not reach into it.
    """
    global _imagined, _again
    before = _imagined, _again
    _imagined, _again = device, again
    try:
        yield
    finally:
        _imagined, _again = before


def recomputing() -> tuple[Context, Context]:
    """Return the contexts of what is computed now and once more in backward: torch's `checkpoint` asks for both."""
    return nullcontext(), _again()


def is_imagined() -> bool:
    """Tell whether tensors have no values now."""
    return _imagined is not None


def on_cpu(device: torch.device) -> bool:
    """Tell whether what lies on a device is computed the CPU's way."""
    return (_imagined or device.type) == "cpu"


def all_above(x: Tensor, smallest: float) -> bool:
    """Tell whether no absolute value is at or below `smallest`. (A GPU is waited for; pretrained weights are: true.)"""
    return _imagined is not None or bool(x.abs().min() > smallest)
