"""Where a step within an epoch lies on an axis, and the curves along steps: losses, metrics, interim scores."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from peftbench.analysis.time_left import Course
from peftbench.analysis.trajectory import AVERAGE, Axis, Points, positions
from peftbench.store.rows import RunRecord, TrainPoint

Quantity = Literal["loss", "metric", "lr", "grad_norm", "its"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "metric", "lr", "grad_norm", "its")


@dataclass(frozen=True, slots=True)
class StepAxis:
    """Maps a step of the run to its position on an axis.

    edges: the last step of each epoch, from the 0th, and their positions; between two of them it is linear in steps.
    beyond: steps of the epoch in training, with their positions; empty where they are not known on this axis.
    """

    edges: tuple[tuple[int, float], ...]
    beyond: tuple[tuple[int, float], ...] = ()

    def at(self, step: int) -> float | None:
        """Return the position of a step; None where it is not known."""
        known = (*self.edges, *self.beyond)
        index = bisect_left(known, (step, -1.0))
        if index == len(known):
            return None
        upper_step, upper = known[index]
        if upper_step == step or index == 0:
            return upper if upper_step == step else None
        lower_step, lower = known[index - 1]
        return lower + (upper - lower) * (step - lower_step) / (upper_step - lower_step)


def step_axis(record: RunRecord, axis: Axis, points: Sequence[TrainPoint]) -> StepAxis | None:
    """Return how the steps of a run lie on an axis; None for a run that did not record what it had to do.

    Args:
        record: the run.
        axis: the axis.
        points: its training curve, from which the time of the epoch in training is known.
    """
    course = Course.of(record.run.conditions)
    if course is None:
        return None
    ends = [0]
    for epoch in range(1, course.epochs + 1):
        ends.append(ends[-1] + sum(steps for (kind, _), steps in course.parts(epoch).items() if kind == "train"))
    if axis == "step":
        return StepAxis(((0, 0.0), (max(ends[-1], 1), float(max(ends[-1], 1)))))
    if axis == "epoch":
        return StepAxis(_ascending((step, float(epoch)) for epoch, step in enumerate(ends)))
    known = positions(record, axis)
    edges = [(0, 0.0), *((ends[epoch], at) for epoch, at in sorted(known.items()) if epoch < len(ends))]
    done_step, done = edges[-1]
    beyond: list[tuple[int, float]] = []
    if axis == "time" and done_step == ends[min(len(record.epochs), course.epochs)]:
        for point in points:
            if point.step > done_step and point.wall_s is not None:
                done += point.wall_s
                beyond.append((point.step, done))
    return StepAxis(_ascending(edges), tuple(beyond))


def _ascending(edges: Iterable[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Return edges without those that add no step, as of epochs in which every task has reached its maximum."""
    kept: list[tuple[int, float]] = []
    for step, at in edges:
        if not kept or step > kept[-1][0]:
            kept.append((step, at))
    return tuple(kept)


def train_curve(points: Sequence[TrainPoint], task: str, quantity: Quantity, axis: StepAxis) -> Points:
    """Return a quantity of a task's training, or of all tasks' (`AVERAGE`), by position.

    `its` is steps per second.
    """
    xs: list[float] = []
    ys: list[float | None] = []
    for point in points:
        x = axis.at(point.step) if task in (AVERAGE, point.task) else None
        if x is not None:
            xs.append(x)
            ys.append(_value(point, quantity))
    return xs, ys


def _value(point: TrainPoint, quantity: Quantity) -> float | None:
    if quantity == "its":
        return point.steps / point.wall_s if point.wall_s else None
    value: float | None = getattr(point, quantity)
    return value


def interim_curve(record: RunRecord, task: str, axis: StepAxis) -> Points:
    """Return a task's scores within epochs, by position."""
    rows = [
        (x, score.value) for score in record.interim if score.task == task and (x := axis.at(score.step)) is not None
    ]
    return [x for x, _ in rows], [value for _, value in rows]


def smoothed(values: Sequence[float | None], weight: float) -> list[float | None]:
    """Return an exponential moving average, without the bias of its start (Kingma and Ba 2015, section 3).

    A missing value stays missing and changes nothing.

    Args:
        values: in order.
        weight: of what was before, from 0 (no smoothing) to below 1.
    """
    if not weight:
        return list(values)
    mean, share = 0.0, 1.0
    made: list[float | None] = []
    for value in values:
        if value is None:
            made.append(None)
            continue
        mean, share = weight * mean + (1 - weight) * value, share * weight
        made.append(mean / (1 - share))
    return made
