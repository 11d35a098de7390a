"""The meters' charts below each other; those that have no room are scrolled to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize

from peftbench.plot import Chart, Glyphs
from peftbench.report.charts.meter_charts import CARD_STRIPS, Sampled, strip_chart, strips_for
from peftbench.tui.widgets.chart_view import ChartView


class Meters(VerticalScroll, can_focus=True):
    """A chart for each meter of the runs shown, drawn again when time has moved on by a dot of the charts."""

    ALLOW_MAXIMIZE = True  # containers are not, by default
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "scroll_down", "Next meter", show=False),
        Binding("up", "scroll_up", "Previous meter", show=False),
    ]

    def __init__(self, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._strips = [ChartView(glyphs, classes="part strip") for _ in CARD_STRIPS]
        self._given: tuple[Sequence[Sampled], float, int | None] | None = None
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """Yield the charts."""
        yield from self._strips

    def show(self, runs: Sequence[Sampled], own: Sequence[Sampled], now_s: float, window_s: int | None) -> None:
        """Draw samples, if they have changed since the last call or time has moved on.

        Args:
            runs: the runs with their samples.
            own: this machine's own readings, drawn if no run has any.
            now_s: Unix time.
            window_s: length of the time axis in seconds; None: the longest run.
        """
        sampled = [run for run in runs if run.samples] or [reading for reading in own if reading.samples]
        self._given = (sampled, now_s, window_s)
        if self.size.width:  # else `on_resize` follows
            self._draw(*self._given)

    def on_resize(self, event: Resize) -> None:
        """Draw for the new width."""
        if self._given is not None:
            self._draw(*self._given)

    def _draw(self, sampled: Sequence[Sampled], now_s: float, window_s: int | None) -> None:
        end_s, active = self._end_s(sampled, now_s, window_s), any(run.active for run in sampled)
        ends = tuple((s.name, s.color, s.slot, None if s.active else s.samples[-1]) for s in sampled)
        key = (end_s if active else None, window_s, ends, self.size.width)
        if key == self._drawn:
            return
        self._drawn = key
        strips = strips_for(sampled)
        for index, view in enumerate(self._strips):
            view.display = index < max(len(strips), 1)
            if index >= len(strips):
                continue
            chart = strip_chart(strips[index], sampled, end_s, window_s, view.glyphs, self.size.width - 3)
            view.set_title(chart.title)  # on the border, which saves a row
            view.put(replace(chart, title=""))
        if not strips:
            self._strips[0].set_title("meters")
            self._strips[0].put(Chart((), empty="the first readings come within a second"))

    def _end_s(self, sampled: Sequence[Sampled], now_s: float, window_s: int | None) -> float:
        """Return the end of the time axis: now, rounded up to a whole dot of the charts and a whole second."""
        spans = (s.samples[-1].at_s - s.samples[0].at_s for s in sampled)
        dots = max(self._strips[0].size.width * self._strips[0].glyphs.dots_wide, 1)
        step_s = max(math.ceil((window_s or max(spans, default=0.0)) / dots), 1)
        return float(math.ceil(now_s / step_s) * step_s)
