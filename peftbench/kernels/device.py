"""Device and value queries that also work for fake tensors.

Memory is predicted by running a model on fake tensors (with shapes but no values) on any machine: they are on the CPU
and stand for tensors of the `fake_device` device. Kernels that depend on a tensor's device or values must use these
functions.
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
def fake_device(device: DeviceType, again: Callable[[], Context] = nullcontext) -> Iterator[None]:
    """Context in which all tensors are fake and stand for tensors on the device.

    Args:
        device: the simulated device.
        again: creates the context for recomputation in backward, which torch's modes do not cover.
    """
    global _imagined, _again
    before = _imagined, _again
    _imagined, _again = device, again
    try:
        yield
    finally:
        _imagined, _again = before


def recomputing() -> tuple[Context, Context]:
    """Return the contexts for the forward pass and for recomputation in backward, for torch's `checkpoint`."""
    return nullcontext(), _again()


def is_fake() -> bool:
    """Return whether tensors are currently fake."""
    return _imagined is not None


def on_cpu(device: torch.device) -> bool:
    """Return whether tensors on a device use the CPU code path."""
    return (_imagined or device.type) == "cpu"


def all_above(x: Tensor, smallest: float) -> bool:
    """Return whether all absolute values exceed `smallest`. (Synchronises a GPU; fake tensors: True, as usual.)"""
    return _imagined is not None or bool(x.abs().min() > smallest)
