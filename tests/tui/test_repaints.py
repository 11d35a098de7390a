"""What is sent to the terminal: only what has changed, and nothing of what is covered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.text import Text
from textual.geometry import Region
from textual.pilot import Pilot

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.poller import StateReady
from peftbench.tui.screens.help import Help
from peftbench.tui.screens.log import LogView
from peftbench.tui.screens.run_view import RunView
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.meters import Meters
from peftbench.tui.widgets.partial import changes
from tests.tui.world import NOW_S, Given, drive, going_on, run_record, screen_text, snapshot

FULL, DORA = run_record("run00003", "full-1", method="full"), going_on()
TWO = snapshot(FULL, DORA)


class Sent:
    """What the app sends to its terminal, as text without escape sequences."""

    def __init__(self, app: PeftbenchApp) -> None:
        self.parts: list[str] = []
        display = app._display

        def noting(screen: Any, renderable: Any) -> None:
            if hasattr(renderable, "render_segments"):
                self.parts.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", renderable.render_segments(app.console)))
            display(screen, renderable)

        app._display = noting  # type: ignore[method-assign]

    def take(self) -> str:
        """Return what was sent since the last call."""
        text, self.parts = "".join(self.parts), []
        return text


async def still(pilot: Pilot[int], app: PeftbenchApp) -> Sent:
    """End the poller, wait until nothing is drawn any more, and note what is sent from then on."""
    app.poller.close()
    for _ in range(5):
        await pilot.pause()
    return Sent(app)


async def post(pilot: Pilot[int], app: PeftbenchApp, state: DashboardState) -> None:
    app.on_state_ready(StateReady(state))
    for _ in range(3):
        await pilot.pause()


def changed_gap(state: DashboardState, gap: float) -> DashboardState:
    """Return a state whose first run has another gap."""
    first, *rest = state.lines
    return replace(state, lines=(replace(first, figures=replace(first.figures, gap=gap)), *rest))


def test_a_cell_is_sent_without_the_rest_of_the_table() -> None:
    """Regression: Textual's `update_cell_at` draws the whole table, eight kilobytes of twelve runs."""

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        sent = await still(pilot, app)
        await post(pilot, app, changed_gap(TWO, 0.123))
        shown = sent.take()
        assert shown.rstrip().endswith("+0.123")  # Textual sends a row from its beginning
        assert shown.count("full-1") == 1
        assert "dora-r12-1" not in shown
        assert "+0.123" in screen_text(app)

    drive(test, Given(TWO))


def test_a_title_is_sent_without_what_it_stands_over() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        sent = await still(pilot, app)
        await post(pilot, app, replace(TWO, total=40_000))
        shown = sent.take()
        assert "the newest 2 of 40,000" in shown
        assert "dora-r12-1" not in shown

    drive(test, Given(TWO))


@pytest.mark.slow
@pytest.mark.parametrize("covered_by", [(Help,), (RunView,), (RunView, Help), (RunView, LogView)])
def test_nothing_is_sent_of_what_is_covered(covered_by: Sequence[type[Any]]) -> None:
    made = {Help: lambda: Help(), RunView: lambda: RunView("run00003"), LogView: lambda: LogView("run00003")}

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        for screen in covered_by:
            await app.push_screen(made[screen]())
        sent = await still(pilot, app)
        moved = replace(DORA, run=replace(DORA.run, epochs_done=7))
        later = replace(changed_gap(snapshot(FULL, moved), 0.123), now_s=NOW_S + 60)
        await post(pilot, app, later)
        assert sent.take() == ""
        for _ in covered_by:
            await pilot.press("escape")
        await pilot.pause()
        assert "+0.123" in screen_text(app)
        assert "7/10" in screen_text(app)

    drive(test, Given(TWO))


@pytest.mark.slow
def test_meters_are_drawn_when_time_has_moved_on_by_a_dot() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        sent = await still(pilot, app)
        meters = app.screen.query_one(Meters)
        dots = 2 * meters._strips[0].size.width
        step_s = -(-300 // dots)
        assert step_s > 2
        start = (NOW_S // step_s + 1) * step_s
        await post(pilot, app, replace(TWO, now_s=start))
        sent.take()
        await post(pilot, app, replace(TWO, now_s=start - 1))
        drawn = sent.take()
        await post(pilot, app, replace(TWO, now_s=start + 1))
        assert not any("\u2801" <= c <= "\u28ff" for c in drawn)
        assert any("\u2801" <= c <= "\u28ff" for c in sent.take())

    drive(test, Given(TWO))


@pytest.mark.parametrize(
    ("old", "new", "regions"),
    [
        (Text("run 1 of 9"), Text("run 2 of 9"), [Region(4, 0, 1, 1)]),
        (Text("a\nlong line"), Text("a\nlong"), [Region(5, 1, 4, 1)]),
        (Text("same"), Text("same"), []),
        (Text("same"), Text("same", style="red"), [Region(0, 0, 4, 1)]),
        (Text.assemble("a ", ("b", "red"), " c"), Text.assemble("a ", ("b", "blue"), " c"), [Region(2, 0, 1, 1)]),
        (Text("名前 1"), Text("名前 2"), [Region(0, 0, 6, 1)]),
        (Text(""), Text("x"), [Region(0, 0, 1, 1)]),
    ],
)
def test_lines_change_where_they_differ(old: Text, new: Text, regions: list[Region]) -> None:
    assert list(changes(old, new)) == regions
