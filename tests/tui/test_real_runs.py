"""A dashboard session with real workers: from an empty database to two runs and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from peftbench.analysis.comparison import compare
from peftbench.report import comparison
from peftbench.store.reader import Reader
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.export import Export
from peftbench.tui.screens.new_run import NewRunScreen
from peftbench.tui.widgets.curve_chart import CurveChart
from peftbench.tui.widgets.runs_table import RunsTable
from tests.printing import printed
from tests.tiny import tiny_overrides
from tests.tui.world import drive, row_of, screen_text, until

pytestmark = pytest.mark.slow

PATIENCE_S = 90.0


async def fill(pilot: Pilot[int], app: PeftbenchApp, preset: str, overrides: list[str], **fields: str) -> None:
    """Open the form for a new run and fill it in."""
    await pilot.press("n")
    assert isinstance(app.screen, NewRunScreen)
    app.screen.query_one("#preset", Select).value = preset
    app.screen.query_one("#overrides", Input).value = " ".join(overrides)
    for name, value in fields.items():
        app.screen.query_one(f"#{name}", Input).value = value


async def start(pilot: Pilot[int], app: PeftbenchApp) -> None:
    """Submit the form and wait for the dashboard."""
    app.screen.query_one("#overrides", Input).focus()
    await until(pilot, lambda: "Enter starts" in screen_text(app))
    await pilot.pause()
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, Dashboard))


def states(app: PeftbenchApp) -> dict[str, str]:
    return {line.run.name: line.state for line in app.snapshot.lines}


def test_from_nothing_to_a_compared_pair(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    database = tmp_path / "runs.db"
    small = tiny_overrides(tiny_encoder)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert "No runs yet" in screen_text(app)

        await fill(pilot, app, "lora-r12", ["train.epoch=2"])
        await until(pilot, lambda: "did you mean 'epochs'" in screen_text(app))
        await pilot.press("enter")  # rejected with a message; nothing is queued
        assert isinstance(app.screen, NewRunScreen)
        await pilot.press("escape")
        assert not database.exists()

        await fill(pilot, app, "lora-r12", small)
        await until(pilot, lambda: "lora on quickstart" in screen_text(app))
        await start(pilot, app)
        await until(pilot, lambda: states(app).get("lora-r12-1") == "finished", PATIENCE_S)
        assert len(app.snapshot.pinned) == 1
        assert app.screen.query_one(CurveChart).pinned[0].record.run.epochs_done == 2
        assert "✓ finished" in row_of(app, "lora-r12-1")

        # a long run: watched, stopped, resumed, stopped again
        await fill(pilot, app, "dora-r12", [*small, "train.epochs=400"], seed="5")
        await until(pilot, lambda: "dora on quickstart" in screen_text(app))
        await start(pilot, app)
        table = app.screen.query_one(RunsTable)
        await until(pilot, lambda: "dora-r12-1" in states(app))
        dora = next(line.run.id for line in app.snapshot.lines if line.run.name == "dora-r12-1")
        assert table.run_id == dora
        await until(pilot, lambda: len(_curve(app, dora)) >= 2, PATIENCE_S)  # the curve grows while the run trains
        before = len(_curve(app, dora))
        await until(pilot, lambda: len(_curve(app, dora)) > before, PATIENCE_S)
        assert "running" in row_of(app, "dora-r12-1")
        await pilot.press("s")
        await until(pilot, lambda: states(app)["dora-r12-1"] == "stopped", PATIENCE_S)
        stopped_at = len(_curve(app, dora))
        await pilot.press("r")
        await until(pilot, lambda: states(app)["dora-r12-1"] == "running", PATIENCE_S)
        await until(pilot, lambda: len(_curve(app, dora)) > stopped_at, PATIENCE_S)
        await pilot.press("s")
        await until(pilot, lambda: states(app)["dora-r12-1"] == "stopped", PATIENCE_S)

        await pilot.press("c")
        assert isinstance(app.screen, Compare)
        await until(pilot, lambda: "Dev Avg" in screen_text(app), PATIENCE_S)
        shown = screen_text(app)
        for line in _comparison(database, [run_id for side in app.screen.sides for run_id in side]).splitlines()[:6]:
            assert line.strip() in shown, line
        await pilot.press("escape")

        await pilot.press("slash", *"stopped", "enter")
        assert table.row_count == 1

        await pilot.press("e")
        assert isinstance(app.screen, Export)
        assert app.screen.query_one("#path", Input).value == "dora-r12-1-csv"
        app.screen.query_one("#path", Input).value = str(tmp_path / "tables")
        await pilot.press("enter")
        await until(pilot, lambda: (tmp_path / "tables" / "scores.csv").exists(), PATIENCE_S)
        await until(pilot, lambda: any("written to" in notice.message for notice in app._notifications))
        await pilot.press("e")
        app.screen.query_one("#path", Input).value = str(tmp_path / "tables")
        await pilot.press("enter")  # an existing export is not overwritten
        await until(pilot, lambda: any("export failed" in notice.message for notice in app._notifications), PATIENCE_S)
        await pilot.press("q")

    drive(test, database=database, size=(120, 60))
    with Reader(database) as reader:
        assert {run.name: run.state for run in reader.runs()} == {"lora-r12-1": "finished", "dora-r12-1": "stopped"}


def test_leaving_touches_no_run(tmp_path: Path, tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from peftbench.jobs.follow import follow
    from peftbench.jobs.queue import enqueue

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    database = tmp_path / "runs.db"
    (run_id,) = enqueue(database, [tiny("lora-r12")])

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("q")

    drive(test, database=database)
    for update in follow(database, run_id):
        ended = update.run
    assert ended.state == "finished"


def _curve(app: PeftbenchApp, run_id: str) -> list[float]:
    screen = app.screen_stack[0]
    found = [one for one in screen.query_one(CurveChart)._curves if one.of.record.run.id == run_id]
    return found[0].dev[0] if found else []


def _comparison(database: Path, run_ids: list[str]) -> str:
    with Reader(database) as reader:
        records = [reader.record(reader.run(run_id), predictions=True) for run_id in run_ids]
    return printed(comparison.shown(compare(records)), 118)
