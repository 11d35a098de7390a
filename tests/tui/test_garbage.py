"""Garbage collection: young objects on each turn, all when idle, and restored automatic collection."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from textual.pilot import Pilot

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.garbage import Collector
from tests.tui.world import Given, drive, run_record, snapshot


class Told:
    """A fake clock and a record of collections."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.collected: list[int] = []
        self.collector = Collector(lambda: self.now_s, self.collected.append)

    def turn_at(self, now_s: float) -> int:
        self.now_s = now_s
        self.collector.turn()
        return self.collected[-1]


def test_all_of_it_once_a_minute_where_nobody_waits() -> None:
    told = Told()
    assert [told.turn_at(at_s) for at_s in (2, 30, 59.9, 60, 62, 119, 120)] == [1, 1, 1, 2, 1, 1, 2]


def test_a_key_puts_it_off_but_not_for_ever() -> None:
    told = Told()
    for at_s in (61.0, 100.0, 299.0, 300.0):
        told.now_s = at_s - 0.5
        told.collector.touched()
        assert told.turn_at(at_s) == (2 if at_s == 300.0 else 1), at_s
    told.collector.touched()
    assert told.turn_at(361.1) == 2


@pytest.mark.slow
@pytest.mark.parametrize("on", [True, False])
def test_pythons_own_is_off_while_the_dashboard_is_open_and_as_before_then(on: bool, tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0

    was_on = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        drive(test, Given(snapshot(run_record())), database=tmp_path / "runs.db")
        assert gc.isenabled() == on
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if was_on else gc.disable)()


def test_a_key_is_noted(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        told = Told()
        app.collector = told.collector
        told.now_s = 60.0
        await pilot.press("down")
        assert told.turn_at(60.9) == 1
        assert told.turn_at(61.1) == 2
        app.collector = Collector()
        app.collector.begin()

    drive(test, Given(snapshot(run_record())), database=tmp_path / "runs.db")
