"""Steps within an epoch on each axis, and the curves along them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peftbench.analysis.trajectory import AVERAGE
from peftbench.analysis.within_epochs import StepAxis, interim_curve, smoothed, step_axis, train_curve
from peftbench.store.rows import Epoch, InterimScore, Phase, RunRecord, TrainPoint
from tests.factories import comparable_record
from tests.meters.fakes import usage

WORK: dict[str, Any] = {
    "epochs": 3,
    "steps": {"a": 6, "b": 4},
    "most": None,
    "evaluated": [],
    "examples_per_step": 8,
}


def record(epochs: int, **work: Any) -> RunRecord:
    """Return a run that has finished so many epochs, each of 10 steps in 20 seconds."""
    own = comparable_record(conditions={"course": {**WORK, **work}}, epochs_done=epochs)
    load = Phase("load", None, None, None, 5.0, usage=usage(5.0, started_s=100.0))
    phases = [load]
    for epoch in range(1, epochs + 1):
        measured = usage(20.0, started_s=85.0 + 20 * epoch)
        phases.append(Phase("train", epoch, "a", "train", 20.0, steps=10, usage=measured))
    rows = tuple(Epoch(epoch, 0.5, None, None, "2026-01-01T00:00:00.000Z") for epoch in range(1, epochs + 1))
    interim = (
        InterimScore(3, 1, "a", "accuracy", 0.25, None, 1.0, 5),
        InterimScore(9, 1, "b", "accuracy", None, "x", 1, 5),
    )
    return RunRecord(own.run, epochs=rows, phases=tuple(phases), interim=interim)


def point(step: int, task: str = "a", **more: Any) -> TrainPoint:
    return TrainPoint(step, 1, task, 1, loss=float(step), wall_s=0.5, **more)


def test_on_the_axis_of_epochs_an_epoch_ends_at_its_number() -> None:
    axis = step_axis(record(1), "epoch", ())
    assert axis is not None
    assert [axis.at(step) for step in (0, 5, 10, 15, 30, 31)] == [0.0, 0.5, 1.0, 1.5, 3.0, None]


def test_with_a_maximum_of_steps_the_last_epochs_are_shorter() -> None:
    axis = step_axis(record(1, most=8), "epoch", ())
    assert axis is not None  # 10 steps, then 2 of a and 4 of b
    assert [axis.at(step) for step in (10, 13, 16)] == [1.0, 1.5, 2.0]


def test_steps_are_themselves() -> None:
    axis = step_axis(record(0), "step", ())
    assert axis is not None and [axis.at(step) for step in (0, 7, 30)] == [0.0, 7.0, 30.0]


def test_time_is_that_of_finished_epochs_then_of_the_steps_since() -> None:
    axis = step_axis(record(1), "time", [point(5), point(12), point(14)])
    assert axis is not None
    assert [axis.at(step) for step in (5, 10, 12, 13, 14, 15)] == [10.0, 20.0, 20.5, 20.75, 21.0, None]


def test_time_is_unknown_where_that_of_a_finished_epoch_is() -> None:
    own = record(1)
    axis = step_axis(replace(own, phases=()), "time", [point(12)])
    assert axis is not None and axis.at(12) is None


def test_energy_within_the_epoch_in_training_is_not_known() -> None:
    axis = step_axis(record(1), "energy", [point(12)])
    assert axis is not None and axis.at(12) is None


def test_a_run_that_did_not_record_its_work_has_no_axis() -> None:
    assert step_axis(comparable_record(), "epoch", ()) is None


def test_curves_of_a_task_and_of_all() -> None:
    axis = StepAxis(((0, 0.0), (10, 1.0)))
    points = [point(2, metric=0.5), point(4, "b", lr=0.1), point(6), point(50)]
    assert train_curve(points, "a", "loss", axis) == ([0.2, 0.6], [2.0, 6.0])
    assert train_curve(points, AVERAGE, "loss", axis)[0] == [0.2, 0.4, 0.6]
    assert train_curve(points, "a", "metric", axis)[1] == [0.5, None]
    assert train_curve(points, "b", "lr", axis) == ([0.4], [0.1])
    assert train_curve(points, "b", "its", axis)[1] == [2.0]
    assert interim_curve(record(0), "a", axis) == ([0.3], [0.25])
    assert interim_curve(record(0), "b", axis) == ([0.9], [None])


def test_smoothing_starts_without_a_bias_and_skips_what_is_missing() -> None:
    assert smoothed([3.0, 3.0, None, 3.0], 0.9) == pytest.approx([3.0, 3.0, None, 3.0])
    assert smoothed([1.0, 2.0], 0.5) == pytest.approx([1.0, (0.25 + 1.0) / 0.75])
    assert smoothed([1.0, None, 2.0], 0) == [1.0, None, 2.0]
