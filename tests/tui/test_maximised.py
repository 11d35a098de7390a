"""What is maximised takes the whole screen but the footer, in both directions."""

from __future__ import annotations

import pytest
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.widgets.chart_view import ChartView
from peftbench.tui.widgets.curve_chart import CurveChart
from peftbench.tui.widgets.meters import Meters
from peftbench.tui.widgets.runs_table import RunsTable
from tests.tui.world import Given, drive, going_on, run_record, screen_lines, snapshot

TWO = snapshot(run_record("run00003", "full-1", method="full"), going_on())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
@pytest.mark.parametrize("kind", [RunsTable, CurveChart, Meters])
def test_it_is_as_wide_and_as_high_as_the_screen(size: tuple[int, int], kind: type[Widget]) -> None:
    """Regression: the curves were laid out at twice the screen's width, their end out of reach."""

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        if kind is Meters and size[0] < 100:
            await pilot.press("m")
        widget = app.screen.query_one(kind)
        before = widget.region
        widget.focus()
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.maximized is widget
        assert widget.region == Region(0, 0, size[0], size[1] - 1)
        charts = [widget] if isinstance(widget, ChartView) else list(widget.query(ChartView))
        assert all(chart.size.width >= size[0] - 2 and chart.region.right <= size[0] for chart in charts)
        assert "Quit" in screen_lines(app)[-1]
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.maximized is None
        assert widget.region == before

    drive(test, Given(TWO), size=size)
