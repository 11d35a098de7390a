"""Format-independent content of a report: lines, tables and notes, each value with its text.

Every format (terminal, Markdown, LaTeX, CSV, HTML) is rendered from one `Page`, so that all show the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

Value = float | int | str | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as shown and unrounded. `best`: it shares the first rank in its column."""

    text: str
    value: Value = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table. The first column names the rows; headers may have several lines."""

    key: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; `warning` marks important caveats, `tag` is a CSS class that may set its colour."""

    text: str
    warning: bool = False
    strong: bool = False
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A complete report: title, verdicts, differing settings, tables, and notes on how to read them."""

    title: str
    warnings: tuple[Line, ...]
    verdicts: tuple[Line, ...]
    differences: tuple[Line, ...]
    sheets: tuple[Sheet, ...]
    notes: tuple[str, ...]


def name(text: str) -> Cell:
    """Return the cell that names a row."""
    return Cell(text, text)
