"""Evaluations within an epoch (`eval.every`), on a fixed part of dev: for curves, never to choose an epoch.

They change nothing that is trained: no random number is drawn, and the model returns to training as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from peftbench.spec.evaluation import interval, steps_between
from peftbench.training.checkpoint import Position


class InterimSchedule:
    """Tells after which steps to evaluate; never after the last of an epoch, which is evaluated as a whole.

    Args:
        every: `eval.every`; None: never.
        clock: monotonic seconds.
    """

    def __init__(self, every: int | str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.every, self.clock = every, clock
        self.done_at: Position | None = None  # of the last evaluation: part of a checkpoint
        self._last_s = clock()

    def is_due(self, position: Position, steps: int) -> bool:
        """Tell whether to evaluate at a position, the task's epoch having so many steps."""
        if self.every is None or not 0 < position.step < steps or position == self.done_at:
            return False
        between = steps_between(self.every, steps)
        if between is not None:
            return position.step % between == 0
        return self.clock() - self._last_s >= interval(self.every)[0]

    def done(self, position: Position) -> None:
        """An evaluation has ended: the next interval begins."""
        self.done_at, self._last_s = position, self.clock()
