"""What a report consists of, before it is written in any format: lines, tables and notes, each figure with its text.

Every format (terminal, Markdown, LaTeX, CSV) is made from one `Page`, so that all show the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

Value = float | int | str | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as it is shown, and unrounded. `best`: it shares the first rank of its column."""

    text: str
    value: Value = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table. The first column names the row; headers may have several lines."""

    key: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; `warning` is what a reader must not miss, `tag` a word that a page may colour it by."""

    text: str
    warning: bool = False
    strong: bool = False
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report: what it is of, the verdicts, what differs, tables, and how to read them."""

    title: str
    warnings: tuple[Line, ...]
    verdicts: tuple[Line, ...]
    differences: tuple[Line, ...]
    sheets: tuple[Sheet, ...]
    notes: tuple[str, ...]


def name(text: str) -> Cell:
    """Return the cell that names a row."""
    return Cell(text, text)
