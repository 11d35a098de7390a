"""A read-only dashboard: actions are refused and not offered."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from peftbench.errors import RefusedError
from peftbench.jobs import control, queue, removal
from peftbench.tui import run_actions
from peftbench.tui.actions import ACTIONS
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.run_actions import RunActions
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.export import Export
from peftbench.tui.screens.help import Help
from peftbench.tui.screens.new_run import NewRunScreen
from peftbench.tui.screens.run_view import RunView
from tests.tui.world import Given, drive, going_on, run_record, screen_lines, screen_text, snapshot, until

RUNS = snapshot(run_record("run00003", "full-1"), going_on())
DEEDS = [name for name, _ in inspect.getmembers(RunActions, inspect.isfunction) if not name.startswith("_")]
ACTING = [action for action in ACTIONS if action.acts]


@pytest.fixture(autouse=True)
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test fail on any action on runs or start of a process."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("something was done")

    for module, name in (
        (control, "stop"),
        (control, "resume"),
        (control, "retry"),
        (queue, "enqueue"),
        (removal, "remove"),
        (run_actions, "enqueue"),
        (run_actions, "remove"),
        (run_actions.subprocess, "run"),
        (run_actions.subprocess, "Popen"),
    ):
        monkeypatch.setattr(module, name, never)


@pytest.mark.parametrize("name", DEEDS)
def test_every_deed_is_refused(name: str, tmp_path: Path) -> None:
    deed = getattr(RunActions(tmp_path / "runs.db", "read-only"), name)
    wanted = [None] * len(inspect.signature(deed).parameters)
    with pytest.raises(RefusedError, match="read-only: runs cannot be started"):
        deed(*wanted)


def test_the_deeds_are_those_of_the_actions() -> None:
    assert {action.name for action in ACTING} == {
        *("new_run", "stop", "resume", "retry", "tag", "delete", "export", "demo")
    }
    assert set(DEEDS) == {"check", "queue", "stop", "resume", "retry", "tag", "delete", "export", "queue_demo"}


@pytest.mark.slow
def test_its_keys_say_so_on_every_screen(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert "read-only" in screen_lines(app)[0]
        for screen, keys in ((Dashboard, "n s r R e d D"), (RunView, "s r R e d")):
            for key in keys.split():
                app.clear_notifications()
                await pilot.press(key)
                await until(pilot, lambda: bool(app._notifications))
                assert isinstance(app.screen, screen), key
                assert "read-only: runs cannot be started" in next(iter(app._notifications)).message
            await pilot.press("enter")
        assert not list(tmp_path.iterdir())

    drive(test, Given(RUNS), database=tmp_path / "runs.db", refused="read-only")


def test_its_footer_help_and_palette_do_not_offer_it(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        footer = screen_lines(app)[-1]
        assert "Pin" in footer
        assert "Compare" in footer
        for action in ACTING:
            assert f" {action.label} " not in footer, action.label
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert not {action.label for action in ACTING} & set(titles)
        assert "Screenshot" not in titles
        assert "Compare" in titles
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        assert "peftbench delete RUN" not in screen_text(app)

    drive(test, Given(RUNS), database=tmp_path / "runs.db", refused="read-only", size=(160, 60))


def test_no_way_round_the_keys_leads_in(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        for action in ACTING:
            app.clear_notifications()
            await app.run_action(f"screen.{action.name}")
            await until(pilot, lambda: bool(app._notifications))
            assert isinstance(app.screen, Dashboard), action.name
        with pytest.raises(RefusedError):
            NewRunScreen(app.run_actions)
        with pytest.raises(RefusedError):
            Export(RUNS.lines[0].run, app.run_actions)
        app.clear_notifications()
        app.run_in_thread(lambda: app.run_actions.delete(RUNS.lines[0].run), "deleting")
        await until(pilot, lambda: bool(app._notifications))
        (notice,) = app._notifications
        assert "read-only" in notice.message
        assert notice.severity == "error"
        assert not list(tmp_path.iterdir())

    drive(test, Given(RUNS), database=tmp_path / "runs.db", refused="read-only")


def test_no_runs_offers_nothing_to_start(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert "No runs yet in runs.db" in screen_text(app).replace(f"{tmp_path}/", "")
        assert "run the demo" not in screen_text(app)

    drive(test, Given(snapshot()), database=tmp_path / "runs.db", refused="read-only", size=(160, 36))
