"""Training dynamics: the best epoch, epochs to 95 % of its score, and growth of the gap between train and dev."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peftbench.analysis.groups import Group, Spread, spread
from peftbench.analysis.stats.student_t import quantile
from peftbench.analysis.trajectory import best_gap, gaps
from peftbench.store.rows import RunRecord

NEARLY = 0.95  # of the best Dev Avg
GROWS = 0.02  # least growth of the gap from the first epoch to the last


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The study's overfitting analysis of a group. The gap is train less dev, averaged over the tasks, at an epoch.

    `to_nearly` counts epochs until dev reached 95 % of its best Dev Avg. `grew` is the gap at the last epoch less that
    at the first; `grows`: it exceeds 0.02 and, for several runs, its 95 % interval lies above zero.
    """

    best_epochs: tuple[int | None, ...]  # by run
    epochs: tuple[int, ...]
    to_nearly: Spread | None
    gap_first: Spread | None
    gap_best: Spread | None
    gap_last: Spread | None
    grew: Spread | None
    grows: bool


def dynamics(group: Group) -> Dynamics:
    """Summarise the epochs of a group's runs; a figure that a run lacks is None."""
    records = group.records
    of_runs = [list(gaps(record).values()) for record in records]
    grew = spread(_less(of[-1], of[0]) if len(of) > 1 else None for of in of_runs)
    return Dynamics(
        best_epochs=tuple(record.run.best_epoch for record in records),
        epochs=tuple(record.run.epochs_done for record in records),
        to_nearly=spread(_epochs_to_nearly(record) for record in records),
        gap_first=spread(of[0] if of else None for of in of_runs),
        gap_best=spread(best_gap(record) for record in records),
        gap_last=spread(of[-1] if of else None for of in of_runs),
        grew=grew,
        grows=grew is not None and grew.mean > GROWS and _above_zero(grew),
    )


def _epochs_to_nearly(record: RunRecord) -> float | None:
    best = max((epoch.dev_avg for epoch in record.epochs if epoch.dev_avg is not None), default=None)
    if best is None or best <= 0:
        return None
    return next(float(e.epoch) for e in record.epochs if e.dev_avg is not None and e.dev_avg >= NEARLY * best)


def _above_zero(grew: Spread) -> bool:
    if grew.sd is None:
        return True
    return grew.mean - quantile(0.975, grew.n - 1) * grew.sd / math.sqrt(grew.n) > 0


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
