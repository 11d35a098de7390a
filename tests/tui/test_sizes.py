"""Terminals of unknown and arbitrary size: no resize loops, and the dashboard quits on request."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.events import Resize
from textual.geometry import Size
from textual.pilot import Pilot
from textual.screen import Screen

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.export import Export
from peftbench.tui.screens.help import Help
from peftbench.tui.screens.log import LogView
from peftbench.tui.screens.new_run import NewRunScreen
from peftbench.tui.screens.run_view import RunView
from peftbench.tui.screens.sized import Palette
from tests.processes import Terminal
from tests.tui.world import Given, drive, going_on, run_record, snapshot

RUNS = snapshot(run_record("run00003", "full-1"), going_on())
RUN = RUNS.lines[0].run
SIZES = ((1, 1), (10, 2), (0, 5), (5, 0), (300, 1), (80, 24), (0, 0), (3, 3))
SCREENS: dict[str, Callable[[PeftbenchApp], Screen[object]] | None] = {
    "dashboard": None,
    "run": lambda app: RunView(RUN.id),
    "compare": lambda app: Compare([line.run.id for line in RUNS.lines], {"run00003": 0, "run00002": 1}),
    "form": lambda app: NewRunScreen(app.run_actions),
    "help": lambda app: Help(),
    "log": lambda app: LogView(RUN.id),
    "export": lambda app: Export(RUN, app.run_actions),
    "confirm": lambda app: Confirm("delete it?", "Delete"),
}


@pytest.mark.slow
@pytest.mark.parametrize("made", SCREENS.values(), ids=SCREENS)
def test_every_screen_rests_at_every_size(
    made: Callable[[PeftbenchApp], Screen[object]] | None, tmp_path: Path
) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        if made is not None:
            await app.push_screen(made(app))
        for size in SIZES:
            await pilot.resize_terminal(*size)
            for screen in app.screen_stack:
                if isinstance(screen, Dashboard | RunView):
                    screen.show(app.snapshot)
            await pilot.press("down", "tab")
            await pilot.pause()
            assert app.is_running, size
        assert made is None or len(app.screen_stack) == 2

    drive(test, Given(RUNS), database=tmp_path / "runs.db", size=(0, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(made, id=name, marks=() if name in ("dashboard", "run", "form") else pytest.mark.soak)
        for name, made in SCREENS.items()
    ],
)
def test_sizes_that_follow_each_other_come_to_rest(
    made: Callable[[PeftbenchApp], Screen[object]] | None, tmp_path: Path
) -> None:
    """Regression: two resize events in flight alternated forever."""

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        if made is not None:
            await app.push_screen(made(app))
        seen: list[Size] = []
        take = app.screen._screen_resized

        def counted(size: Size) -> None:
            seen.append(size)
            take(size)

        app.screen._screen_resized = counted  # type: ignore[method-assign]
        for size in (Size(80, 25), Size(80, 24), Size(81, 24), Size(80, 24)):
            app._size = size  # as from the driver to the app, and from the app to its screen
            app.screen.post_message(Resize(size, size))
        for _ in range(20):
            await pilot.pause()
        assert app.screen.size == Size(80, 24)
        assert len(seen) < 12, seen

    drive(test, Given(RUNS), database=tmp_path / "runs.db")


@pytest.mark.slow
def test_the_palette_is_one_of_ours(tmp_path: Path) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        app.action_command_palette()
        await pilot.pause()
        assert isinstance(app.screen, Palette)

    drive(test, Given(RUNS), database=tmp_path / "runs.db")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(0, 0), (1, 1), (2, 10)])
def test_it_leaves_on_q_whatever_its_terminals_size(tmp_path: Path, size: tuple[int, int]) -> None:
    terminal = Terminal("--db", str(tmp_path / "runs.db"), size=size)
    try:
        terminal.read_until(b"\x1b[?1049h")
        terminal.read_until(b"\x1b[?2004h")
        for again in ((30, 100), size, (0, 7), size):
            termios.tcsetwinsize(terminal.slave, again)
            os.kill(terminal.process.pid, signal.SIGWINCH)
        os.write(terminal.master, b"q")
        told = terminal.rest()
        assert terminal.process.returncode == 0
        assert b"Traceback" not in told
    finally:
        terminal.close()
