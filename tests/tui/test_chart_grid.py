"""Charts side by side: how many there are, what they show, that they are read together, and live within an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from peftbench.analysis.trajectory import AVERAGE
from peftbench.report.charts.training import TRAINING
from peftbench.store.rows import InterimScore, RunRecord, TrainPoint
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.chart_grid import ChartGrid, panes
from peftbench.tui.widgets.curve_chart import CurveChart
from tests.factories import record
from tests.tui.world import Given, drive, going_on, run_record, screen_text, snapshot, until

TASKS = ("sst", "paraphrase", "sts")
STEPS = 40  # of a task in an epoch
WORK: dict[str, Any] = {
    "epochs": 10,
    "steps": dict.fromkeys(TASKS, STEPS),
    "most": None,
    "evaluated": [],
    "examples_per_step": 8,
}


def points(until_step: int) -> tuple[TrainPoint, ...]:
    made = []
    for step in range(5, until_step + 1, 5):
        task = TASKS[(step - 1) // STEPS % 3]
        value = 2 / step
        made.append(TrainPoint(step, 1 + (step - 1) // (3 * STEPS), task, 5, value, 0.5 + step / 9999, 1e-4, 1.5, 0.5))
    return tuple(made)


def with_steps(of: RunRecord, interim: tuple[InterimScore, ...] = ()) -> RunRecord:
    return replace(of, run=replace(of.run, conditions={**of.run.conditions, "course": WORK}), interim=interim)


def first_epoch(steps: int) -> RunRecord:
    """Return a run in its first epoch."""
    facts = {"state": "running", "finished_at": None, "exit_code": None, "best_epoch": None, "dev_avg": None}
    own = record(id="run00009", name="dora-r12-9", epochs=0, **facts)
    interim = tuple(
        InterimScore(step, 1, "sst", "accuracy", 0.3 + step / 100, None, 1.0, 500) for step in range(10, steps, 10)
    )
    return with_steps(replace(own, run=replace(own.run, epochs_planned=10)), interim)


def state(of: RunRecord, steps: int) -> DashboardState:
    own = snapshot(of)
    details = {run_id: replace(detail, points=points(steps)) for run_id, detail in own.details.items()}
    return replace(own, details=details)


def shown(app: PeftbenchApp) -> list[tuple[str, str]]:
    return [(chart.shown_task, chart.quantity) for chart in app.screen.query_one(ChartGrid).charts]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((80, 24), [(AVERAGE, "loss")]),
        ((120, 36), [("sst", "loss"), ("paraphrase", "loss"), ("sts", "loss"), (TRAINING, "loss")]),
        (
            (200, 60),
            [
                *[("sst", "loss"), ("paraphrase", "loss"), ("sts", "loss"), (TRAINING, "loss")],
                *[(AVERAGE, "loss"), (TRAINING, "metric")],
            ],
        ),
    ],
)
def test_a_screen_has_as_many_charts_as_it_has_room_for(size: tuple[int, int], expected: list[tuple[str, str]]) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert shown(app) == expected
        for chart in app.screen.query_one(ChartGrid).charts:
            assert chart.size.height >= 5 and chart.size.width >= 30
        widest = max(chart.region.right for chart in app.screen.query_one(ChartGrid).charts)
        assert widest <= size[0]

    drive(test, Given(state(with_steps(going_on()), 600)), size=size)


def test_a_workload_of_one_task_has_its_score_and_the_training_s_quantities() -> None:
    assert panes(())[0] == (AVERAGE, "loss")
    assert [quantity for task, quantity in panes(()) if task == TRAINING] == [
        "loss",
        "metric",
        "lr",
        "grad_norm",
        "its",
    ]


def test_the_next_task_shows_those_without_a_place() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        first = shown(app)
        await pilot.press("t")
        assert shown(app)[0] == (AVERAGE, "loss") and not set(shown(app)) & set(first)
        await pilot.press("t")
        assert shown(app) == first

    drive(test, Given(state(with_steps(going_on()), 600)))


@pytest.mark.slow
def test_cursor_range_and_axis_are_common() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        charts = app.screen.query_one(ChartGrid).charts
        charts[1].focus()
        await pilot.press("right", "right")
        assert charts[1].cursor_x is not None
        await until(pilot, lambda: len({chart.cursor_x for chart in charts}) == 1)
        await pilot.press("plus")
        await until(pilot, lambda: charts[0].view is not None and len({chart.view for chart in charts}) == 1)
        await pilot.press("x")
        assert {chart.axis for chart in charts} == {"step"}

    drive(test, Given(state(with_steps(going_on()), 600)))


def test_the_training_chart_has_other_quantities_a_log_axis_and_smoothing() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        chart = app.screen.query_one(ChartGrid).charts[-1]
        assert "training loss" in screen_text(app)
        await pilot.press("y")
        assert chart.log_y and "training loss, log" in screen_text(app)
        await pilot.press("v", "v")
        assert chart.quantity == "lr" and "learning rate, log" in screen_text(app)
        await pilot.press("v", "v")
        assert "steps/s" in screen_text(app) and "steps/s, log" not in screen_text(app)
        await pilot.press("full_stop")
        assert {each.weight for each in app.screen.query(CurveChart)} == {0.0}

    drive(test, Given(state(with_steps(going_on()), 600)))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
def test_a_run_in_its_first_epoch_has_a_curve(size: tuple[int, int]) -> None:
    source = Given(state(first_epoch(0), 0))

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert "no epoch has finished yet" in screen_text(app)
        source.snapshot = state(first_epoch(35), 35)
        chart = app.screen.query_one(ChartGrid).charts[0]

        def drawn() -> list[float]:
            scores = [x for own in chart._curves for x in own.dev[0]]
            return scores or [x for own in chart._training or () for x in own.raw[0]]

        await until(pilot, lambda: len(drawn()) >= 3)
        assert max(drawn()) <= 35 / (3 * STEPS)

    drive(test, source, size=size)


def test_interim_scores_join_the_curve_of_their_task() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        (own,) = app.screen.query_one(ChartGrid).charts[0]._curves
        assert own.dev[0] == pytest.approx([10 / 120, 20 / 120, 30 / 120])
        assert own.dev[1] == pytest.approx([0.4, 0.5, 0.6])
        assert own.train[0] and max(own.train[0]) == pytest.approx(35 / 120)

    drive(test, Given(state(first_epoch(35), 35)))


def test_finished_epochs_keep_their_scores_of_all_of_dev() -> None:
    interim = (InterimScore(10, 1, "sst", "accuracy", 0.1, None, 1.0, 500),)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        (own,) = app.screen.query_one(ChartGrid).charts[0]._curves
        assert own.dev[0] == pytest.approx([10 / 120, 1, 2, 3, 4, 5, 6])

    finished = with_steps(run_record(), interim)
    drive(test, Given(state(finished, 600)))
