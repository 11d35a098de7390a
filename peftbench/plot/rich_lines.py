"""Conversion of a chart's rows to rich `Text` lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.text import Text

from peftbench.plot.model import AXIS, CURSOR, LABEL, TITLE, Row

STYLES = {AXIS: "dim", LABEL: "", TITLE: "bold", CURSOR: "dim"}


def rich_lines(rows: Iterable[Row], styles: Mapping[str, str] = STYLES) -> list[Text]:
    """Return a line for each row; series colours are used as rich styles."""
    return [
        Text.assemble(*((segment.text, styles.get(segment.style, segment.style)) for segment in row), no_wrap=True)
        for row in rows
    ]
