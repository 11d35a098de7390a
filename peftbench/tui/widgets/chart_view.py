"""A chart widget that redraws only the changed cells."""

from __future__ import annotations

from itertools import zip_longest
from typing import ClassVar

from rich.segment import Segment as RichSegment
from rich.style import Style
from textual.events import Resize
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from peftbench.plot import BRAILLE, Chart, Glyphs, Row, draw
from peftbench.plot.cells import width
from peftbench.plot.model import AXIS, CURSOR, LABEL, TITLE
from peftbench.tui.widgets.partial import PartialRefresh

_PARTS = {AXIS: "chart--axis", LABEL: "chart--label", TITLE: "chart--title", CURSOR: "chart--cursor"}


class ChartView(PartialRefresh, Widget):
    """Shows one chart at the widget's size; series colours are rich styles."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(_PARTS.values())
    DEFAULT_CSS = "ChartView { width: 100%; height: 1fr; }"  # not sized by its earlier content

    def __init__(self, glyphs: Glyphs = BRAILLE, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self.chart = Chart(())
        self._rows: list[Row] = []
        self._strips: dict[int, Strip] = {}
        self._styles: dict[str, Style] = {}

    def put(self, chart: Chart) -> None:
        """Show a chart."""
        self.chart = chart
        self._draw()

    def render_line(self, y: int) -> Strip:
        """Return a row of the widget."""
        if y not in self._strips:
            row = self._rows[y] if y < len(self._rows) else ()
            segments = [RichSegment(part.text, self._style(part.style)) for part in row]
            self._strips[y] = Strip(segments, sum(width(part.text) for part in row)).adjust_cell_length(
                self.size.width, self._style("")
            )
        return self._strips[y]

    def notify_style_update(self) -> None:
        """Drop cached strips and styles."""
        super().notify_style_update()
        self._strips.clear()
        self._styles.clear()

    def on_resize(self, event: Resize) -> None:
        """Draw the chart at the new size."""
        self._draw(full=True)

    def _draw(self, full: bool = False) -> None:
        size = self.size
        if size.width < 1 or size.height < 1:
            return
        before, self._rows = self._rows, draw(self.chart, size.width, size.height, self.glyphs)
        if full or len(before) != len(self._rows):
            self._strips.clear()
            self.refresh()
            return
        changed = []
        for y, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if old != new and (region := _changed(old, new, y)) is not None:
                self._strips.pop(y, None)
                changed.append(region)
        if changed:
            self.refresh(*changed)

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            if name in _PARTS:
                self._styles[name] = self.get_component_rich_style(_PARTS[name])
            else:
                self._styles[name] = self.rich_style + Style.parse(name)
        return self._styles[name]


def _changed(old: Row, new: Row, y: int) -> Region | None:
    """Return the region of a row from the first to the last differing cell, or None if the rows are equal."""
    cells = [_cells(row) for row in (old, new)]
    differing = [x for x, (a, b) in enumerate(zip_longest(*cells)) if a != b]
    if not differing:
        return None
    end = differing[-1] + 1
    if any(end < len(row) and not row[end][0] for row in cells):
        end += 1  # the second half of a wide character
    return Region(differing[0], y, end - differing[0], 1)


def _cells(row: Row) -> list[tuple[str, str]]:
    """Return a row's cells; a wide character is in the first of its cells."""
    row_cells: list[tuple[str, str]] = []
    for part in row:
        for character in part.text:
            cells = width(character)
            if cells == 0 and row_cells:
                row_cells[-1] = (row_cells[-1][0] + character, part.style)
            else:
                row_cells += [(character, part.style), *([("", part.style)] * (cells - 1))]
    return row_cells
