"""The standings screen on stored runs: ranked, growing as runs finish, and a door to the comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.standings import StandingsScreen
from tests.stored import store_scored_run as fill
from tests.tui.world import drive, screen_text, until

pytestmark = pytest.mark.slow


def groups(app: PeftbenchApp) -> list[str]:
    table = app.screen.query_one(DataTable)
    return [table.get_row_at(row)[1].plain.strip() for row in range(table.row_count)]


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
def test_groups_are_ranked_and_enter_compares(size: tuple[int, int], tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    for seed in range(2):
        for preset in ("lora-r12", "last-layer"):
            fill(database, preset, seed)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await until(pilot, lambda: len(app.snapshot.lines) == 4)
        await pilot.press("S")
        assert isinstance(app.screen, StandingsScreen)
        await until(pilot, lambda: groups(app) == ["lora-r12", "last-layer"])
        text = screen_text(app)
        assert "●" in text and "95 % interval" in text and "Dev Avg" in text
        fill(database, "dora-r12", 0)
        await until(pilot, lambda: len(groups(app)) == 3)
        await pilot.press("t")
        await until(pilot, lambda: "sst accuracy" in screen_text(app) or "sst" in screen_text(app).splitlines()[0])
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, Compare))
        await until(pilot, lambda: "against" in screen_text(app).splitlines()[0])
        await pilot.press("escape", "escape")

    drive(test, database=database, size=size)


def test_without_a_finished_run_it_says_so(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    fill(database, "lora-r12", 0, finish=False)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await until(pilot, lambda: len(app.snapshot.lines) == 1)
        await pilot.press("S")
        await until(pilot, lambda: "no group on quickstart has a place yet" in screen_text(app))

    drive(test, database=database)
