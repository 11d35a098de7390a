"""A page with its charts as one HTML file without scripts, links or external resources; all text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from peftbench.report.charts.chart import Picture
from peftbench.report.charts.svg import legend, svg
from peftbench.report.page import Cell, Line, Page, Sheet
from peftbench.version import __version__

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser then loads nothing, whatever the text contains


def html(page: Page, pictures: Sequence[Picture] = ()) -> str:
    """Return a page as a complete document: warnings and verdicts first, then charts, tables and notes."""
    body = [
        f"<h1>{escape(page.title)}</h1>",
        *_lines("warnings", page.warnings),
        *_lines("verdicts", page.verdicts),
        *_lines("differences", page.differences),
        *_pictures(pictures),
        *(_sheet(sheet) for sheet in page.sheets),
        '<section class="notes"><h2>How to read it</h2>',
        *(f"<p>{escape(note)}</p>" for note in page.notes),
        f"<p>peftbench {escape(__version__)}</p></section>",
    ]
    style = files("peftbench.report").joinpath("report.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(page.title)}</title><style>\n{style}</style></head>\n<body><main>\n'
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _lines(kind: str, lines: Sequence[Line]) -> list[str]:
    if not lines:
        return []
    items = "".join(f"<li{_tagged(line)}>{escape(line.text)}</li>" for line in lines)
    return [f'<ul class="{kind}">{items}</ul>']


def _tagged(line: Line) -> str:
    return f' class="{escape(line.tag)}"' if line.tag else ""


def _pictures(pictures: Sequence[Picture]) -> list[str]:
    if not pictures:
        return []
    return ['<section class="pictures">', *map(_figure, pictures), "</section>"]


def _figure(picture: Picture) -> str:
    if picture.empty is not None:
        return svg(picture)
    notes = "; ".join(picture.notes)
    caption = f"<figcaption>{escape(notes)}</figcaption>" if notes else ""
    title = f"<h2>{escape(picture.title)}</h2>"
    return f'<figure id="{escape(picture.key)}">{title}{legend(picture)}{svg(picture)}{caption}</figure>'


def _sheet(sheet: Sheet) -> str:
    heads = "".join(
        f'<th scope="col">{"<br>".join(map(escape, head.strip().split(chr(10))))}</th>' for head in sheet.headers
    )
    rows = "".join(f"<tr>{_row(row)}</tr>" for row in sheet.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in sheet.notes)
    table = f"<div><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>" if sheet.rows else ""
    return f'<section id="{escape(sheet.key)}"><h2>{escape(sheet.title)}</h2>{table}{notes}</section>'


def _row(row: Sequence[Cell]) -> str:
    first, *others = row
    cells = "".join(f"<td{' class=best' if cell.best else ''}>{_cell(cell)}</td>" for cell in others)
    return f'<th scope="row">{escape(first.text)}</th>{cells}'


def _cell(cell: Cell) -> str:
    return "<br>".join(map(escape, cell.text.split("\n")))
