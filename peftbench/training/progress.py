"""Progress of training, reported at intervals with the meters' samples, and the pace of its parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from peftbench.meters.session import MeterSession
from peftbench.store.conditions import PlannedWork
from peftbench.store.rows import Progress, now
from peftbench.training.plan import Plan
from peftbench.training.recorder import Recorder

PROGRESS_EVERY_S = 0.25


@dataclass(slots=True)
class _Stretch:
    """A phase of one task as observed so far: time and step of its first and last observation."""

    phase: str
    task: str
    first_s: float
    first: int
    last_s: float
    last: int

    def unit_s(self) -> float | None:
        """Return the seconds per step or example."""
        return (self.last_s - self.first_s) / (self.last - self.first) if self.last > self.first else None


class ProgressReporter:
    """Reports a run's progress to a recorder, at most a few times a second.

    Args:
        recorder: receives the reports.
        meters: the run's meters.
        total: steps of the run.
        clock: monotonic seconds.
    """

    def __init__(
        self, recorder: Recorder, meters: MeterSession, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.recorder, self.meters, self.total, self.clock = recorder, meters, total, clock
        self._reported_at = -math.inf
        self._here: _Stretch | None = None
        self._epoch: int | None = None  # the first epoch of this process, before any finished epoch gives the pace
        self._pace: dict[tuple[str, str], float] = {}

    def tell(self, phase: str, epoch: int, task: str, step: int, steps: int, done: int) -> None:
        """Update the progress: `step` of `steps` in this phase, `done` steps of the run; report it when due.

        Raises:
            Interrupted: the run is to stop. A pending stop request makes a report due at once.
        """
        moment = self.clock()
        here = self._here
        if here is None or (here.phase, here.task) != (phase, task) or step <= here.first:
            self._ended(here, epoch)
            here = self._here = _Stretch(phase, task, moment, step, moment, step)
        here.last_s, here.last = moment, step
        if moment - self._reported_at < PROGRESS_EVERY_S and step < steps and not self.recorder.asked():
            return
        self._reported_at = moment
        unit_s = here.unit_s() if phase == "train" else None
        its = 1 / unit_s if unit_s else None
        self.recorder.progress(Progress(epoch, phase, task, step, steps, done, self.total, its, now()))
        if rows := self.meters.rows():
            self.recorder.samples(rows)

    def _ended(self, stretch: _Stretch | None, epoch: int) -> None:
        """Record the pace of a part of the first epoch once it ends; later epochs are measured as a whole."""
        self._epoch = epoch if self._epoch is None else self._epoch
        unit_s = stretch.unit_s() if stretch is not None else None
        if stretch is None or unit_s is None or epoch != self._epoch or not stretch.phase.startswith(("train", "eval")):
            return
        self._pace[stretch.phase, stretch.task] = unit_s
        parts = [(phase, task, seconds) for (phase, task), seconds in self._pace.items()]
        self.recorder.describe(conditions={"pace": {"parts": parts}})


def schedule(
    plan: Plan,
    examples_per_step: int,
    evaluated: Iterable[tuple[str, str, int]],
    tested: Iterable[tuple[str, str, int]] = (),
    interim: Mapping[str, int] | None = None,
) -> PlannedWork:
    """Return a run's planned work, for its conditions (`analysis.time_left.Course`).

    Args:
        plan: the run's steps.
        examples_per_step: in training.
        evaluated: task, split and examples of each part of an evaluation, in order.
        tested: likewise, of the evaluation after training.
        interim: examples evaluated within an epoch, by task.
    """
    work: PlannedWork = {
        "epochs": plan.epochs,
        "steps": dict(plan.per_epoch),
        "most": plan.most,
        "evaluated": list(evaluated),
        "tested": list(tested),
        "examples_per_step": examples_per_step,
    }
    if interim:
        work["interim"] = dict(interim)
    return work
