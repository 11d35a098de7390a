"""The meters' charts below each other; those that have no room are scrolled to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from peftbench.plot import Glyphs
from peftbench.report.charts.meter_charts import CARD_STRIPS, Sampled, strip_chart, strips_for
from peftbench.store.rows import ACTIVE_STATES
from peftbench.tui.widgets.chart_view import ChartView


class Meters(VerticalScroll, can_focus=True):
    """A chart for each meter of the runs shown, drawn again at most once a second."""

    ALLOW_MAXIMIZE = True  # containers are not, by default
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "scroll_down", "Next meter", show=False),
        Binding("up", "scroll_up", "Previous meter", show=False),
    ]

    def __init__(self, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._strips = [ChartView(glyphs, classes="part strip") for _ in CARD_STRIPS]
        self._names: list[str | None] = [None] * len(self._strips)
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
        now_s = float(int(now_s))  # samples have one value per second
        ends = tuple((s.of.record.run.id, s.of.color, s.samples[-1:], len(s.samples)) for s in sampled)
        active = any(s.of.record.run.state in ACTIVE_STATES for s in sampled)
        key = (now_s if active else None, window_s, ends)
        if key == self._drawn:
            return
        self._drawn = key
        for index, strip in enumerate(strips_for(sampled)):
            chart = strip_chart(strip, sampled, now_s, window_s)
            self._set_title(index, chart.title)  # on the border, which saves a row
            self._strips[index].put(replace(chart, title=""))

    def _set_title(self, index: int, title: str) -> None:
        """Set a chart's border title if it has changed: Textual redraws the whole chart for it."""
        if self._names[index] != title:
            self._names[index] = title
            self._strips[index].border_title = Text(title)
