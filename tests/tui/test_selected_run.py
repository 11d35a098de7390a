"""The run at the cursor is drawn beside the pinned ones, with a marker and a colour of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from peftbench.plot import ASCII, BRAILLE
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.pins import SELECTED_SLOT, color_of
from peftbench.tui.source import MOST_PINNED
from peftbench.tui.widgets.curve_chart import CurveChart
from tests.tui.world import Given, drive, going_on, row_of, run_record, screen_text, snapshot, until

FULL, DORA, LORA = run_record("run00003", "full-1", method="full"), going_on(), run_record("run00001", "lora-r12-1")
THREE = snapshot(FULL, DORA, LORA, pinned=("run00002",))


@pytest.mark.slow
@pytest.mark.parametrize(("glyphs", "sign", "pin"), [(BRAILLE, "★", "●"), (ASCII, "*", "A")])
def test_it_follows_the_cursor_and_is_a_pin_where_it_is_pinned(glyphs: object, sign: str, pin: str) -> None:
    source = Given(THREE)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        curves = app.screen.query_one(CurveChart)
        assert [(p.record.run.id, p.slot) for p in curves.pinned] == [("run00002", 0), ("run00003", SELECTED_SLOT)]
        assert row_of(app, "full-1")[1] == sign
        assert f"{sign} full-1" in screen_text(app)  # in the legend
        await pilot.press("down")
        await until(pilot, lambda: [p.slot for p in curves.pinned] == [0])
        assert row_of(app, "dora-r12-1")[1] == pin
        assert row_of(app, "full-1")[1] == " "
        await pilot.press("down")
        await until(pilot, lambda: [p.record.run.id for p in curves.pinned] == ["run00002", "run00001"])
        assert source.wanted.pinned is None  # the cursor pins nothing

    drive(test, source, glyphs=glyphs, size=(99, 36))  # type: ignore[arg-type]


@pytest.mark.slow
def test_without_pins_its_curve_is_drawn() -> None:
    """Regression: without a pin the chart was empty axes."""

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert "★ full-1 0.740/" in screen_text(app)
        assert "pin a run" not in screen_text(app)

    drive(test, Given(replace(THREE, pinned=())), size=(99, 36))


def test_its_colour_is_no_pins() -> None:
    for dark, ansi in ((True, False), (False, False), (True, True)):
        assert color_of(SELECTED_SLOT, dark, ansi) not in {color_of(slot, dark, ansi) for slot in range(MOST_PINNED)}
