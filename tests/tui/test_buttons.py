"""Mouse clicks on the buttons of dialogues."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.export import Export
from peftbench.tui.screens.new_run import NewRunScreen
from tests.tui.world import Given, drive, going_on, run_record, screen_text, snapshot, until

pytestmark = pytest.mark.slow

RUNS = snapshot(run_record("run00003", "full-1", method="full"), going_on())


@pytest.mark.parametrize(("button", "answer"), [("#yes", True), ("#no", False)])
def test_a_question_is_answered(button: str, answer: bool) -> None:
    said: list[bool | None] = []

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        app.push_screen(Confirm("delete it?", "Delete"), said.append)
        await pilot.pause()
        await pilot.click(button)
        await until(pilot, lambda: said == [answer])
        assert not isinstance(app.screen, Confirm)

    drive(test, Given(RUNS))


@pytest.mark.parametrize(("button", "chosen"), [("#start", ("csv", "here.csv")), ("#cancel", None)])
def test_an_export_is_asked_for_or_left(button: str, chosen: tuple[str, str] | None) -> None:
    said: list[tuple[str, str] | None] = []

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        app.push_screen(Export(run_record("run00003", "full-1").run, app.run_actions), said.append)
        await pilot.pause()
        app.screen.query_one("#format").value = "csv"  # type: ignore[attr-defined]
        await pilot.pause()
        app.screen.query_one("#path").value = "here.csv"  # type: ignore[attr-defined]
        await pilot.click(button)
        await until(pilot, lambda: said == [chosen])

    drive(test, Given(RUNS))


def test_the_form_is_left(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("n")
        await until(pilot, lambda: app.screen.query_one("#cancel").region.height > 0)
        await pilot.pause()
        await pilot.click("#cancel")
        await until(pilot, lambda: not isinstance(app.screen, NewRunScreen))
        assert not list(tmp_path.iterdir())

    drive(test, Given(RUNS), database=tmp_path / "runs.db")


def test_the_form_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[int] = []
    monkeypatch.setattr(NewRunScreen, "_queue", lambda self, runs, device: queued.append(len(runs)))

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("n")
        await until(pilot, lambda: "Enter starts" in screen_text(app))
        await pilot.pause()
        await pilot.click("#start")
        await until(pilot, lambda: queued == [1])

    drive(test, Given(RUNS), database=tmp_path / "runs.db")
