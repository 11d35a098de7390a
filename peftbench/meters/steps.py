"""Single steps timed: by the clock on the CPU, by CUDA events on a GPU, where a step is only queued.

An event is recorded on the stream and read later, when the step is long done: nothing waits for it.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch

DRAIN_EVERY = 256  # steps after which finished events are read, so that they do not pile up


class StepTimer(Protocol):
    """Times what is done inside `with`."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def seconds(self) -> list[float]:
        """Return the time of each step; on a GPU after a synchronise."""


class HostStepTimer:
    """By the clock."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds.append(time.perf_counter() - self._started)

    def seconds(self) -> list[float]:
        """Return the time of each step."""
        return self._seconds


class CudaStepTimer:
    """By pairs of CUDA events: the device's own time from the step's first kernel to its last."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._open: list[tuple[Any, Any]] = []

    def __enter__(self) -> None:
        self._begin = torch.cuda.Event(enable_timing=True)
        self._begin.record()

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:  # after a fault of the device this would raise another, and hide it
            return
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        self._open.append((self._begin, end))
        if len(self._open) >= DRAIN_EVERY:
            self._drain()

    def _drain(self) -> None:
        done = next((index for index, (_, end) in enumerate(self._open) if not end.query()), len(self._open))
        self._seconds += [begin.elapsed_time(end) / 1e3 for begin, end in self._open[:done]]
        del self._open[:done]

    def seconds(self) -> list[float]:
        """Return the time of each step; call it after a synchronise."""
        self._drain()
        return self._seconds


def step_timer(device: torch.device) -> StepTimer:
    """Return what times steps on a device."""
    return CudaStepTimer() if device.type == "cuda" else HostStepTimer()
