"""The common table style of all reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from peftbench.text import clean


def plain_table(headers: Iterable[str], rows: Iterable[Sequence[str | Text]], left: int = 1) -> Table:
    """Return a table without frame; the first `left` columns are left-aligned and wrap, the others do not wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for index, header in enumerate(headers):
        table.add_column(
            Text("\n".join(clean(line) for line in header.split("\n"))),
            justify="left" if index < left else "right",
            overflow="fold",
            no_wrap=index >= left,
        )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
    return table
