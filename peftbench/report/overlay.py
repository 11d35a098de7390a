"""Curves of several runs on common axes: the study's Figure 2, live or afterwards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.analysis.course import AVERAGE, Axis, Points, curve, positions
from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Series
from peftbench.report import figures
from peftbench.store.rows import ACTIVE_STATES, RunRecord
from peftbench.text import clean

LABELS = {"epoch": "epoch", "step": "steps", "time": "min", "energy": "kJ"}
_SCALES = {"epoch": 1.0, "step": 1.0, "time": 1 / 60, "energy": 1e-3}


@dataclass(frozen=True, slots=True)
class Pinned:
    """A run that is drawn: its place decides its marker, and its colour is one that a terminal knows."""

    record: RunRecord
    place: int
    color: str


@dataclass(frozen=True, slots=True)
class Curves:
    """A run's dev and train curve on the axis that is shown, in its unit."""

    of: Pinned
    dev: Points
    train: Points

    def reading(self, x: float | None) -> str:
        """Return `dev/train` at the last epoch that lies no further than x; at the very last one where x is None."""
        return "/".join(figures.score(_at(points, x)) for points in (self.dev, self.train))


def curves_of(pinned: Sequence[Pinned], task: str, axis: Axis) -> tuple[Curves, ...]:
    """Return the curves of a task's metric, or of `AVERAGE`, for each run."""
    found = []
    for one in pinned:
        at = {epoch: x * _SCALES[axis] for epoch, x in positions(one.record, axis).items()}
        found.append(Curves(one, *(curve(one.record, task, split, at) for split in ("dev", "train"))))
    return tuple(found)


def overlay(
    curves: Sequence[Curves],
    task: str,
    axis: Axis,
    glyphs: Glyphs = BRAILLE,
    *,
    x: Range | None = None,
    cursor_x: float | None = None,
    legend_rows: int = 2,
) -> Chart:
    """Return the chart of curves: dev solid, train dashed, a colour and a marker a run.

    Args:
        curves: of the runs, the last one on top.
        task: which metric they show, for the title.
        axis: what they are drawn over.
        glyphs: what the terminal can show.
        x: the range to show; None: all of it, with room for the epochs to come.
        cursor_x: where the legend's values are read; None: at each curve's end.
        legend_rows: so many rows at most.
    """
    train, dev = [], []
    for one in curves:
        color, place = one.of.color, one.of.place
        train.append(Series("", *one.train, color, dashed=True, marker=place))
        name = clean(one.of.record.run.name)
        dev.append(
            Series(
                name, *one.dev, color, marker=place, note=one.reading(cursor_x), end=figures.score(_at(one.dev, None))
            )
        )
    dashed, solid = ("small", "capital") if glyphs.letters else (glyphs.dashed, glyphs.solid)
    return Chart(
        (*train, *dev),
        x=x or _whole_x(curves, axis),
        title=f"{metric_name(curves, task)}: {solid} dev {dashed} train",
        x_label=LABELS[axis],
        whole_x=axis in ("epoch", "step"),
        legend_rows=legend_rows,
        cursor_x=cursor_x,
        empty=_nothing(curves, axis),
    )


def tasks_of(pinned: Sequence[Pinned]) -> tuple[str, ...]:
    """Return what can be shown: the average, then every task of a run, in the workload's order."""
    return (AVERAGE, *dict.fromkeys(task for one in pinned for task in one.record.tasks))


def metric_name(curves: Sequence[Curves], task: str) -> str:
    """Return what the curves show: `Dev Avg`, or a task with its metric."""
    if task == AVERAGE:
        return "mean of the tasks"
    metric = next((s.metric for one in curves for s in one.of.record.scores if s.task == task), None)
    return f"{clean(task)} {figures.metric(metric) if metric else ''}".strip()


def stops(curves: Sequence[Curves]) -> list[float]:
    """Return every x at which a curve has a point, ascending: where a reader's cursor stops."""
    return sorted({x for one in curves for x in one.dev[0]})


def _at(points: Points, x: float | None) -> float | None:
    xs, ys = points
    place = len(xs) if x is None else bisect_right(xs, x)
    return ys[place - 1] if place else None


def _whole_x(curves: Sequence[Curves], axis: Axis) -> Range | None:
    """Return the range of the epochs, those to come included; of another axis, from 0 to the furthest run's end."""
    if not curves:
        return None
    if axis == "epoch":
        last = max(_last_epoch(one) for one in curves)
        return Range(1, last) if last > 1 else Range(0.5, 1.5)
    ends = [one.dev[0][-1] for one in curves if one.dev[0]]
    return Range(0, max(ends)) if ends and max(ends) > 0 else None


def _last_epoch(curves: Curves) -> int:
    run = curves.of.record.run
    return max(run.epochs_planned if run.state in ACTIVE_STATES else run.epochs_done, run.epochs_done, 1)


def _nothing(curves: Sequence[Curves], axis: Axis) -> str:
    if not curves:
        return "pin a run with the space bar to see its curves"
    if axis == "energy" and any(one.of.record.epochs for one in curves):
        return "no energy was measured"
    return "no epoch has ended yet"
