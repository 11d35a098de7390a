"""Tags set on the dashboard: shown beside the name, stored, filtered by."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from peftbench.store.reader import Reader
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.ask import Ask
from peftbench.tui.widgets.runs_table import RunsTable
from tests.stored import store_scored_run as fill
from tests.tui.world import Given, drive, run_record, screen_text, snapshot, until

pytestmark = pytest.mark.slow


def test_tags_are_set_shown_filtered_by_and_taken_away(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    for preset in ("lora-r12", "dora-r12"):
        fill(database, preset, 0)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await until(pilot, lambda: app.screen.query_one(RunsTable).row_count == 2)
        await pilot.press("T")
        assert isinstance(app.screen, Ask) and "Tags of dora-r12-1" in screen_text(app)
        await pilot.press(*"baseline paper", "enter")
        await until(pilot, lambda: "dora-r12-1 #baseline #paper" in screen_text(app))
        await pilot.press("slash", *"tag:base", "enter")
        await until(pilot, lambda: app.screen.query_one(RunsTable).row_count == 1)
        await pilot.press("T")
        await pilot.press(*["backspace"] * len(" paper"), "enter")
        await until(pilot, lambda: "#paper" not in screen_text(app))
        await pilot.press("T", *" a:b", "enter")
        await until(pilot, lambda: any("tag 'a:b'" in note.message for note in app._notifications))

    drive(test, database=database)
    with Reader(database) as reader:
        assert {run.name: run.tags for run in reader.runs()} == {"dora-r12-1": ("baseline",), "lora-r12-1": ()}


def test_a_replay_changes_none() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("T")
        assert not isinstance(app.screen, Ask)

    drive(test, Given(snapshot(run_record())), refused="replay x20")
