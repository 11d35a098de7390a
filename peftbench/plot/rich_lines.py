"""Charts in rich: rows as `Text` lines, and colours of series from the terminal's palette."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.text import Text

from peftbench.plot.model import AXIS, CURSOR, LABEL, TITLE, Row

STYLES = {AXIS: "dim", LABEL: "", TITLE: "bold", CURSOR: "dim"}
_COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red")


def rich_lines(rows: Iterable[Row], styles: Mapping[str, str] = STYLES) -> list[Text]:
    """Return a line for each row; series colours are used as rich styles."""
    return [
        Text.assemble(*((segment.text, styles.get(segment.style, segment.style)) for segment in row), no_wrap=True)
        for row in rows
    ]


def terminal_color(index: int) -> str:
    """Return the rich colour of a series: six normal colours, then six bright ones, repeated."""
    bright, which = divmod(index, len(_COLORS))
    return f"bright_{_COLORS[which]}" if bright % 2 else _COLORS[which]
