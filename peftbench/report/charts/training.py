"""Training curves of several runs by step: loss, running metric, learning rate, gradient norm or pace."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench import formatting
from peftbench.analysis.trajectory import AVERAGE, Axis, Points
from peftbench.analysis.within_epochs import Quantity, smoothed, step_axis, train_curve
from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Series
from peftbench.report.charts.overlay import LABELS, SCALES, Pinned, at_words, whole_range
from peftbench.text import clean

TRAINING = "training"  # in place of a task's name: the training curve, not scores
NAMES: dict[Quantity, str] = {
    "loss": "training loss",
    "metric": "training metric",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "its": "steps/s",
}
LOGARITHMIC: tuple[Quantity, ...] = ("loss", "lr", "grad_norm")  # can be drawn on a logarithmic axis
WEIGHTS = (0.9, 0.0, 0.98)  # of smoothing, in the order of its key


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """A run's curve on the current x axis, in its unit, as it is and smoothed; tasks that take turns are not joined."""

    of: Pinned
    raw: Points
    smooth: Points

    def reading(self, x: float | None) -> str:
        """Return the smoothed value at the last point up to x, or at the last one."""
        return _number(_last(self.smooth, x))


def training_curves(
    pinned: Sequence[Pinned], task: str, quantity: Quantity, axis: Axis, weight: float
) -> tuple[TrainingCurve, ...]:
    """Return the curves of a task's training, or of all tasks' in turn (`AVERAGE`), for each run.

    Args:
        pinned: the runs, with their points.
        task: a task, or `AVERAGE`.
        quantity: what is drawn.
        axis: the x axis.
        weight: of smoothing (`within_epochs.smoothed`); 0: none.
    """
    curves = []
    for pin in pinned:
        steps = step_axis(pin.record, axis, pin.points)
        tasks = pin.record.tasks if task == AVERAGE else (task,)
        parts = [] if steps is None else [train_curve(pin.points, each, quantity, steps) for each in tasks]
        raw = _in_turn(parts, SCALES[axis])
        smooth = _in_turn([(xs, smoothed(ys, weight)) for xs, ys in parts], SCALES[axis]) if weight else raw
        curves.append(TrainingCurve(pin, raw, smooth))
    return tuple(curves)


def training_chart(
    curves: Sequence[TrainingCurve],
    quantity: Quantity,
    axis: Axis,
    glyphs: Glyphs = BRAILLE,
    *,
    log_y: bool = False,
    x: Range | None = None,
    cursor_x: float | None = None,
    legend_rows: int = 1,
) -> Chart:
    """Return the chart of training curves: smoothed solid, as measured dashed; in each run's colour.

    Args:
        curves: of the runs; the last one is drawn on top.
        quantity: what is drawn, for the title.
        axis: the x axis.
        glyphs: characters that the terminal can show.
        log_y: a logarithmic y axis, on which values of 0 and below are gaps.
        x: the range to show; None: the whole range.
        cursor_x: where the legend's values are read; None: at the end of each curve.
        legend_rows: maximum number of legend rows.
    """
    log_y = log_y and quantity in LOGARITHMIC
    raw, smooth = [], []
    for own in curves:
        color = own.of.color
        if own.raw is not own.smooth:
            raw.append(Series("", own.raw[0], _scaled(own.raw[1], log_y), color, dashed=True))
        name, end = clean(own.of.record.run.name), _number(_last(own.smooth, None if x is None else x.high))
        ys = _scaled(own.smooth[1], log_y)
        smooth.append(Series(name, own.smooth[0], ys, color, note=own.reading(cursor_x), end=end))
    at = "" if cursor_x is None else f"at {at_words(axis, cursor_x)}: "
    return Chart(
        (*raw, *smooth),
        x=x or whole_range([own.raw[0] for own in curves], axis, [own.of.record.run for own in curves]),
        title=f"{at}{NAMES[quantity]}{', log' if log_y else ''}",
        x_label=LABELS[axis],
        whole_x=axis in ("epoch", "step"),
        legend_rows=legend_rows,
        cursor_x=cursor_x,
        log_y=log_y,
        empty=_nothing(curves, axis),
    )


def _in_turn(parts: Sequence[Points], scale: float) -> Points:
    """Return several tasks' points in the order of their positions, with a gap wherever the task changes."""
    rows = sorted((x * scale, number, y) for number, (xs, ys) in enumerate(parts) for x, y in zip(xs, ys, strict=True))
    made: list[tuple[float, float | None]] = []
    before = None
    for x, number, y in rows:
        if before not in (None, number):
            made.append((x, None))
        made.append((x, y))
        before = number
    return [x for x, _ in made], [y for _, y in made]


def _scaled(ys: Sequence[float | None], log_y: bool) -> list[float | None]:
    if not log_y:
        return list(ys)
    return [math.log10(y) if y is not None and y > 0 else None for y in ys]


def _last(points: Points, x: float | None) -> float | None:
    xs, ys = points
    end = len(xs) if x is None else bisect_right(xs, x)
    return next((y for y in reversed(ys[:end]) if y is not None), None)


def _number(value: float | None) -> str:
    return formatting.NOTHING if value is None else f"{value:.3g}"


def _nothing(curves: Sequence[TrainingCurve], axis: Axis) -> str:
    if not curves:
        return "pin a run with the space bar to see its curves"
    if all(not own.of.points for own in curves):
        return "no training step is recorded yet"
    return "not known within an epoch" if axis == "energy" else "not recorded"
