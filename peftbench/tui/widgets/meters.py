"""The meters' charts below each other; those that have no room are scrolled to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from peftbench.plot import Glyphs
from peftbench.report.charts.meter_charts import CARD_STRIPS, Sampled, strip_chart, strips_for
from peftbench.store.rows import ACTIVE_STATES
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
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """Yield the charts."""
        yield from self._strips

    def show(self, sampled: Sequence[Sampled], now_s: float, window_s: int | None) -> None:
        """Draw the runs' samples, if they have changed since the last call.

        Args:
            sampled: the runs with their samples.
            now_s: Unix time.
            window_s: length of the time axis in seconds; None: the longest run.
        """
        end_s, active = self._end_s(sampled, now_s, window_s), any(map(_active, sampled))
        runs = tuple((s.of, bool(s.samples) if _active(s) else s.samples[-1:]) for s in sampled)
        key = (end_s if active else None, window_s, runs)
        if key == self._drawn:
            return
        self._drawn = key
        for index, strip in enumerate(strips_for(sampled)):
            chart = strip_chart(strip, sampled, end_s, window_s)
            self._strips[index].set_title(chart.title)  # on the border, which saves a row
            self._strips[index].put(replace(chart, title=""))

    def _end_s(self, sampled: Sequence[Sampled], now_s: float, window_s: int | None) -> float:
        """Return the end of the time axis: now, rounded up to a whole dot of the charts and a whole second."""
        spans = (s.samples[-1].at_s - s.samples[0].at_s for s in sampled if s.samples)
        dots = max(self._strips[0].size.width * self._strips[0].glyphs.dots_wide, 1)
        step_s = max(math.ceil((window_s or max(spans, default=0.0)) / dots), 1)
        return float(math.ceil(now_s / step_s) * step_s)


def _active(sampled: Sampled) -> bool:
    return sampled.of.record.run.state in ACTIVE_STATES
