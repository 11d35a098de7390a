"""Training dynamics: the best epoch, epochs to 95 % of its score, and growth of the gap between train and dev."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peftbench.analysis.groups import Group, Spread, spread
from peftbench.analysis.scores import run_sign
from peftbench.analysis.stats.student_t import quantile
from peftbench.analysis.trajectory import best_gap, gaps
from peftbench.store.rows import RunRecord

NEARLY = 0.95  # of the best Dev Avg; an error must be below the best one / 0.95
GROWS = 0.02  # least growth of the gap from the first epoch to the last; of an error, as a part of the best one


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The study's overfitting analysis of a group. The gap is train less dev, averaged over the tasks, at an epoch.

    `to_nearly` counts epochs until dev reached 95 % of its best Dev Avg. `grew` is the gap at the last epoch less that
    at the first; `grows`: it exceeds `GROWS` and, for several runs, its 95 % interval lies above zero.
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
        grows=grew is not None and grew.mean > GROWS * _unit(group) and _above_zero(grew),
    )


def _epochs_to_nearly(record: RunRecord) -> float | None:
    sign = run_sign(record.run)
    values = [(epoch.epoch, epoch.dev_avg) for epoch in record.epochs if epoch.dev_avg is not None]
    best = max((sign * value for _, value in values), default=None)
    if best is None or sign * best <= 0:
        return None
    least = best * (NEARLY if sign > 0 else 1 / NEARLY)
    return next(float(epoch) for epoch, value in values if sign * value >= least)


def _unit(group: Group) -> float:
    """Return what a gap is measured in: 1, or of an error, which has a unit, the mean of the runs' best ones."""
    if run_sign(group.first) > 0:
        return 1.0
    best = spread(record.run.dev_avg for record in group.records)
    return best.mean if best is not None else 1.0


def _above_zero(grew: Spread) -> bool:
    if grew.sd is None:
        return True
    return grew.mean - quantile(0.975, grew.n - 1) * grew.sd / math.sqrt(grew.n) > 0


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
