"""Learning curves of several runs on common axes (the study's Figure 2), live or finished."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench import formatting
from peftbench.analysis.scores import headlines
from peftbench.analysis.trajectory import AVERAGE, Axis, Points, curve, positions
from peftbench.analysis.within_epochs import interim_curve, step_axis, train_curve
from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Series
from peftbench.report.headlines import metrics_of, task_named
from peftbench.store.rows import ACTIVE_STATES, Run, RunRecord, TrainPoint
from peftbench.text import clean

LABELS = {"epoch": "epoch", "step": "steps", "time": "min", "energy": "kJ"}
_AT = {"epoch": "epoch {:,.2f}", "step": "step {:,.0f}", "time": "{:,.1f} min", "energy": "{:,.1f} kJ"}
SCALES = {"epoch": 1.0, "step": 1.0, "time": 1 / 60, "energy": 1e-3}


@dataclass(frozen=True, slots=True)
class Pinned:
    """A drawn run: its slot determines the marker; the colour is a terminal colour."""

    record: RunRecord
    slot: int
    color: str
    points: tuple[TrainPoint, ...] = ()  # of its training curve


@dataclass(frozen=True, slots=True)
class Curves:
    """A run's dev and train curves on the current x axis, in its unit."""

    of: Pinned
    dev: Points
    train: Points

    def reading(self, x: float | None) -> str:
        """Return `dev/train` at the last epoch up to x, or at the last epoch if x is None."""
        return "/".join(formatting.score(_at(points, x)) for points in (self.dev, self.train))


def curves_of(pinned: Sequence[Pinned], task: str, axis: Axis) -> tuple[Curves, ...]:
    """Return the curves of a task's metric, or of `AVERAGE`, for each run."""
    curves = []
    for pin in pinned:
        at = {epoch: x * SCALES[axis] for epoch, x in positions(pin.record, axis).items()}
        dev, train = (curve(pin.record, task, split, at) for split in ("dev", "train"))
        curves.append(Curves(pin, *_grown(pin, task, axis, dev, train)))
    return tuple(curves)


def _grown(pin: Pinned, task: str, axis: Axis, dev: Points, train: Points) -> tuple[Points, Points]:
    """Return the curves with what lies within epochs: interim scores, and the running metric after the last epoch."""
    steps = step_axis(pin.record, axis, pin.points)
    tasks = pin.record.tasks
    own = tasks[0] if task == AVERAGE and len(tasks) == 1 else task
    if steps is None or own == AVERAGE:
        return dev, train
    running = train_curve(pin.points, own, "metric", steps)
    scale, ended = SCALES[axis], train[0][-1] if train[0] else 0.0
    late = [(x * scale, y) for x, y in zip(*running, strict=True) if x * scale > ended and y is not None]
    within = [(x * scale, y) for x, y in zip(*interim_curve(pin.record, own, steps), strict=True)]
    return _with(dev, within), _with(train, late)


def _with(points: Points, more: Sequence[tuple[float, float | None]]) -> Points:
    if not more:
        return points
    rows = sorted([*zip(*points, strict=True), *more], key=lambda row: row[0])
    return [x for x, _ in rows], [y for _, y in rows]


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
    """Return the chart of curves: dev solid, train dashed, one colour and marker per run.

    Args:
        curves: curves of the runs; the last one is drawn on top.
        task: the task whose metric is shown, for the title.
        axis: the x axis.
        glyphs: characters that the terminal can show.
        x: the range to show; None: the whole range, including planned epochs. The values beside the curves are those
            at its end.
        cursor_x: where the legend's values are read, which the title then says; None: at the end of each curve.
        legend_rows: maximum number of legend rows.
    """
    train, dev = [], []
    for run_curves in curves:
        color, slot = run_curves.of.color, run_curves.of.slot
        train.append(Series("", *run_curves.train, color, dashed=True, marker=slot))
        name = clean(run_curves.of.record.run.name)
        dev.append(
            Series(
                name,
                *run_curves.dev,
                color,
                marker=slot,
                note=run_curves.reading(cursor_x),
                end=formatting.score(_at(run_curves.dev, None if x is None else x.high)),
            )
        )
    at = "" if cursor_x is None else f"at {at_words(axis, cursor_x)}: "
    dashed, solid = ("small", "capital") if glyphs.letters else (glyphs.dashed, glyphs.solid)
    return Chart(
        (*train, *dev),
        x=x
        or whole_range(
            [xs for own in curves for xs in (own.dev[0], own.train[0])], axis, [own.of.record.run for own in curves]
        ),
        title=f"{at}{metric_name(curves, task)}: {solid} dev {dashed} train",
        x_label=LABELS[axis],
        whole_x=axis in ("epoch", "step"),
        legend_rows=legend_rows,
        cursor_x=cursor_x,
        empty=_nothing(curves, axis),
    )


def tasks_of(pinned: Sequence[Pinned]) -> tuple[str, ...]:
    """Return what can be shown: the average, then all tasks of the runs in the workload's order."""
    return (AVERAGE, *dict.fromkeys(task for pin in pinned for task in pin.record.tasks))


def metric_name(curves: Sequence[Curves], task: str) -> str:
    """Return the name of the metric: the mean of the tasks' metrics, or a task with its metric."""
    runs = [run_curves.of.record.run for run_curves in curves]
    if task != AVERAGE:
        return task_named(task, runs)
    different = {tuple(headlines(run).items()) for run in runs}
    if len(different) != 1:
        return "mean of the tasks"
    return f"{'mean of ' * (len(different.pop()) > 1)}{metrics_of(runs)}"


def stops(curves: Sequence[Curves]) -> list[float]:
    """Return the x values of all points, ascending: the stops of the cursor."""
    return sorted({x for run_curves in curves for x in (*run_curves.dev[0], *run_curves.train[0])})


def at_words(axis: Axis, x: float) -> str:
    """Return a position on an axis in words."""
    return f"epoch {x:g}" if axis == "epoch" and x == int(x) else _AT[axis].format(x)


def _at(points: Points, x: float | None) -> float | None:
    xs, ys = points
    index = len(xs) if x is None else bisect_right(xs, x)
    return ys[index - 1] if index else None


def whole_range(xs: Sequence[Sequence[float]], axis: Axis, runs: Sequence[Run]) -> Range | None:
    """Return the range of epochs including planned ones; for other axes, from 0 to the longest curve's end.

    Args:
        xs: the positions of all curves, ascending.
        axis: the axis.
        runs: the runs that are drawn.
    """
    if not runs:
        return None
    ends = [own[-1] for own in xs if own]
    if axis == "epoch":
        last = max(*map(_last_epoch, runs), *ends) if ends else max(map(_last_epoch, runs))
        first = 0 if any(own[0] < 1 for own in xs if own) else 1
        return Range(first, last) if last > first else Range(0.5, 1.5)
    return Range(0, max(ends)) if ends and max(ends) > 0 else None


def _last_epoch(run: Run) -> int:
    return max(run.epochs_planned if run.state in ACTIVE_STATES else run.epochs_done, run.epochs_done, 1)


def _nothing(curves: Sequence[Curves], axis: Axis) -> str:
    if not curves:
        return "pin a run with the space bar to see its curves"
    if axis == "energy" and any(run_curves.of.record.epochs for run_curves in curves):
        return "no energy was measured"
    return "no epoch has finished yet"
