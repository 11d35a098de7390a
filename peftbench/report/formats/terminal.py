"""Terminal output of a page: verdicts first; tables wider than the terminal are split."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from peftbench.report.page import Cell, Line, Page, Sheet
from peftbench.report.plain_table import plain_table

WIDEST_NAME = 26
WIDEST_CELL = 30
MARK = "*"
_BETWEEN = 2  # spaces between the columns of a plain table


class Screen:
    """A rich renderable of a page that adapts to the console's width."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page, width = self.page, options.max_width
        if page.warnings:
            yield from (_line(line) for line in page.warnings)
            yield Text("")
        for line in page.verdicts:
            yield from _hanging(line.text, width, "bold")
        if page.verdicts:
            yield Text("")
        yield Text(page.title, style="dim")
        yield from (_line(line) for line in page.differences)
        for sheet in page.sheets:
            for number, table in enumerate(tables(sheet, width)):
                yield Text("" if number else f"\n{sheet.title}", style="bold")
                yield table
            for note in sheet.notes:
                yield from _hanging(f"  {note}", width, "dim")
        yield Text("")
        for note in page.notes:
            yield from _hanging(note, width, "dim")


def tables(sheet: Sheet, width: int) -> Iterator[Table]:
    """Yield a sheet as tables that fit a width; each starts with the row names."""
    names = [_wrapped(row[0], WIDEST_NAME) for row in sheet.rows]
    columns = [
        (head, _column([row[index] for row in sheet.rows])) for index, head in enumerate(sheet.headers[1:], start=1)
    ]
    left = _widest([sheet.headers[0], *names])
    taken: list[tuple[str, list[str]]] = []
    used = left
    for head, cells in columns:
        needs = _BETWEEN + _widest([head, *cells])
        if taken and used + needs > width:
            yield _table(sheet, names, taken)
            taken, used = [], left
        taken.append((head, cells))
        used += needs
    if taken:
        yield _table(sheet, names, taken)


def _table(sheet: Sheet, names: list[str], columns: list[tuple[str, list[str]]]) -> Table:
    heads = [sheet.headers[0].lstrip("\n"), *(head.lstrip("\n") for head, _ in columns)]
    deep = max(head.count("\n") for head in heads)
    padded = ["\n" * (deep - head.count("\n")) + head for head in heads]
    rows = [[Text(name), *(Text(cells[index]) for _, cells in columns)] for index, name in enumerate(names)]
    return plain_table(padded, rows)


def _column(cells: list[Cell]) -> list[str]:
    """Return the texts of a column; the best are marked and the others padded."""
    marked = any(cell.best for cell in cells)
    return [_wrapped(cell, WIDEST_CELL) + (MARK if cell.best else " " * marked) for cell in cells]


def _wrapped(cell: Cell, width: int) -> str:
    """Return a cell's text wrapped to lines of at most `width` cells."""
    if all(cell_len(line) <= width for line in cell.text.split("\n")):
        return cell.text
    return "\n".join(textwrap.wrap(cell.text, width))


def _widest(texts: list[str]) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _line(line: Line) -> Text:
    return Text(line.text, style="yellow" if line.warning else "dim")


def _hanging(text: str, width: int, style: str) -> Iterator[Text]:
    """Yield a text wrapped with a hanging indent."""
    lines = textwrap.wrap(text, max(width, 20), subsequent_indent="  ", break_long_words=True, break_on_hyphens=False)
    yield from (Text(line, style=style) for line in lines)
