"""Garbage collection between redraws, when the user is idle.

Most of a dashboard's garbage is freed by reference counting. The rest are few and small cycles; a full collection
traverses every object, which takes 90 to 180 ms with twenty long runs and would delay redraws.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

EVERY_S = 2.0
_ALL_EVERY_S = 60.0
_ALL_AT_LATEST_S = 300.0  # even if the user is never idle
_QUIET_S = 1.0


class Collector:
    """Collects garbage on `turn`; Python's automatic collection is off from `begin` to `end`.

    Args:
        clock: monotonic clock in seconds.
        collect: collects up to a generation: 1 young objects, 2 all.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, collect: Callable[[int], object] = gc.collect
    ) -> None:
        self._clock, self._collect = clock, collect
        self._touched_at = self._all_at = clock()
        self._was_on = False

    def begin(self) -> None:
        """Turn off automatic collection, and exempt existing objects (modules, classes) with `gc.freeze`."""
        self._was_on = gc.isenabled()
        gc.disable()
        gc.freeze()
        self._touched_at = self._all_at = self._clock()

    def end(self) -> None:
        """Restore automatic collection."""
        gc.unfreeze()
        if self._was_on:
            gc.enable()

    def touched(self) -> None:
        """Record user input, which postpones a full collection."""
        self._touched_at = self._clock()

    def turn(self) -> None:
        """Collect young objects; every `_ALL_EVERY_S`, all objects if the user is idle."""
        now = self._clock()
        since_s, quiet = now - self._all_at, now - self._touched_at >= _QUIET_S
        if since_s >= _ALL_AT_LATEST_S or (quiet and since_s >= _ALL_EVERY_S):
            self._all_at = now
            self._collect(2)
        else:
            self._collect(1)
