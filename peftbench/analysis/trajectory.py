"""Progress of a run at the end of each epoch: in epochs, optimiser steps, seconds or joules."""

from __future__ import annotations

from typing import Literal

from peftbench.analysis.cost import since_training_began
from peftbench.analysis.scores import average_of, run_sign
from peftbench.store.rows import RunRecord

Axis = Literal["epoch", "step", "time", "energy"]
AXES: tuple[Axis, ...] = ("epoch", "step", "time", "energy")
AVERAGE = "Dev Avg"  # in place of a task's name: the mean of all tasks' metrics

Points = tuple[list[float], list[float | None]]


def positions(record: RunRecord, axis: Axis) -> dict[int, float]:
    """Return each finished epoch's position on an axis: its number, or steps, seconds or joules since training began.

    An epoch without that figure is left out, as all are for `energy` on a GPU that does not report it. Time and
    energy are those of `peftbench show --reach`.
    """
    epochs = [epoch.epoch for epoch in record.epochs]
    if axis == "epoch":
        return {epoch: float(epoch) for epoch in epochs}
    if axis == "step":
        return _steps(record, epochs)
    column = 0 if axis == "energy" else 1
    values = {epoch: since_training_began(record, epoch)[column] for epoch in epochs}
    return {epoch: value for epoch, value in values.items() if value is not None}


def curve(record: RunRecord, task: str, split: str, at: dict[int, float]) -> Points:
    """Return a task's metric, or `AVERAGE`, after each epoch: the positions, ascending, and the values."""
    values = _averages(record, split) if task == AVERAGE else _values(record, task, split)
    points = sorted((at[epoch], value) for epoch, value in values.items() if epoch in at)
    return [x for x, _ in points], [y for _, y in points]


def gaps(record: RunRecord) -> dict[int, float | None]:
    """Return the gap, train less dev, of the tasks' mean metric after each epoch; None where a task has no score.

    Of an error it is dev less train, so that a gap is positive where a model is better on what it was trained on.
    """
    train, dev, sign = _means(record, "train"), _means(record, "dev"), run_sign(record.run)
    return {epoch: _less(train.get(epoch), value, sign) for epoch, value in dev.items()}


def best_gap(record: RunRecord) -> float | None:
    """Return the gap at the best epoch."""
    return None if record.run.best_epoch is None else gaps(record).get(record.run.best_epoch)


def _less(a: float | None, b: float | None, sign: int) -> float | None:
    return None if a is None or b is None else sign * (a - b)


def _steps(record: RunRecord, epochs: list[int]) -> dict[int, float]:
    of_epoch = dict.fromkeys(epochs, 0)
    for phase in record.phases:
        if phase.phase in ("warmup", "train") and phase.epoch in of_epoch:
            of_epoch[phase.epoch] += phase.steps or 0
    cumulative, steps = {}, 0
    for epoch in epochs:
        steps += of_epoch[epoch]
        cumulative[epoch] = float(steps)
    return cumulative


def _values(record: RunRecord, task: str, split: str) -> dict[int, float | None]:
    return {s.epoch: s.value for s in record.scores if s.task == task and s.split == split}


def _averages(record: RunRecord, split: str) -> dict[int, float | None]:
    if split == "dev":
        return {epoch.epoch: epoch.dev_avg for epoch in record.epochs}
    return _means(record, split)


def _means(record: RunRecord, split: str) -> dict[int, float | None]:
    """Return the mean of the tasks' metrics after each epoch, None where one is missing."""
    of_epoch: dict[int, dict[str, tuple[str, float | None]]] = {epoch.epoch: {} for epoch in record.epochs}
    for score in record.scores:
        if score.split == split:
            of_epoch.setdefault(score.epoch, {})[score.task] = score.metric, score.value
    count = len(record.tasks)
    return {epoch: average_of(scores) if len(scores) == count else None for epoch, scores in of_epoch.items()}
