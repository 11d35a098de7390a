"""Where training stands, told now and then, with what the meters have seen."""

from __future__ import annotations

import math
import time

from peftbench.meters.session import MeterSession
from peftbench.store.rows import Progress, now
from peftbench.training.recorder import Recorder

PROGRESS_EVERY_S = 0.25


class ProgressTeller:
    """Tells a recorder where the run stands, a few times a second at most."""

    def __init__(self, recorder: Recorder, meters: MeterSession, total: int) -> None:
        self.recorder, self.meters, self.total = recorder, meters, total
        self._told_at = -math.inf
        self._rate_from: tuple[str, float, int] | None = None

    def tell(self, phase: str, epoch: int, task: str, step: int, steps: int, done: int) -> None:
        """Take where it stands: `step` of `steps` in this phase, `done` steps of the run; tell it if it is time.

        Raises:
            Interrupted: the run is to stop. One that was asked for is told at once, to hear it.
        """
        moment = time.monotonic()
        if self._rate_from is None or self._rate_from[0] != f"{phase} {task}" or step <= self._rate_from[2]:
            self._rate_from = (f"{phase} {task}", moment, step)
        if moment - self._told_at < PROGRESS_EVERY_S and step < steps and not self.recorder.asked():
            return
        self._told_at = moment
        _, since, first = self._rate_from
        its = (step - first) / (moment - since) if phase == "train" and moment > since else None
        self.recorder.progress(Progress(epoch, phase, task, step, steps, done, self.total, its, now()))
        if rows := self.meters.rows():
            self.recorder.samples(rows)
