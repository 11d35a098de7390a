"""A page as Markdown, LaTeX or CSV. Cells hold text from outside: each format escapes what it would act on."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from peftbench.report.sheet import Cell, Page, Sheet

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_FIGURE = re.compile(r"[-+][\d.,]+( (%|yes|no))?")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#])")


def markdown(page: Page) -> str:
    """Return GitHub's Markdown: verdicts as a list, tables, the best figures of a column bold."""
    lines = [_md(page.title), ""]
    lines += [f"- **{_md(line.text)}**" for line in page.warnings]
    lines += [f"- {_md(line.text)}" for line in (*page.verdicts, *page.differences)]
    for sheet in page.sheets:
        lines += ["", f"**{_md(sheet.title)}**", "", *_md_table(sheet), *(f"\n{_md(note)}" for note in sheet.notes)]
    lines += ["", *(f"{_md(note)}  " for note in page.notes)]
    return "\n".join(lines).rstrip() + "\n"


def latex(page: Page) -> str:
    """Return tables for a paper (booktabs), verdicts and notes as comments before them."""
    lines = [f"% {_tex(text)}" for text in (page.title, *(line.text for line in (*page.warnings, *page.verdicts)))]
    lines.append("% needs \\usepackage{booktabs}")
    for sheet in page.sheets:
        lines += ["", *_tex_table(sheet)]
    lines += ["", *(f"% {_tex(note)}" for note in page.notes)]
    return "\n".join(lines) + "\n"


def comma_separated(page: Page) -> str:
    """Return a line a figure: table, row, column, the value unrounded, the text as shown, whether it is best (1)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "text", "best"))
    for line in (*page.warnings, *page.verdicts):
        writer.writerow(("warning" if line.warning else "verdict", "", "", "", _safe(line.text), ""))
    for sheet in page.sheets:
        for row in sheet.rows:
            for head, cell in zip(sheet.headers[1:], row[1:], strict=True):
                value = "" if cell.value is None else cell.value
                words = (sheet.key, _safe(row[0].text), _safe(_flat(head)), _safe(value), _safe(cell.text))
                writer.writerow((*words, int(cell.best)))
    return out.getvalue()


FORMATS: dict[str, Callable[[Page], str]] = {"markdown": markdown, "latex": latex, "csv": comma_separated}


def _md_table(sheet: Sheet) -> list[str]:
    heads = [_md(_flat(head)) for head in sheet.headers]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    rows = [[f"**{_md(cell.text)}**" if cell.best else _md(cell.text) for cell in row] for row in sheet.rows]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def _tex_table(sheet: Sheet) -> list[str]:
    def row(cells: list[str]) -> str:
        return " & ".join(cells) + r" \\"

    heads = [_tex(_flat(head)) for head in sheet.headers]
    return [
        f"% {_tex(sheet.title)}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        row(heads),
        r"\midrule",
        *(row([_tex_cell(cell) for cell in cells]) for cells in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {_tex(note)}" for note in sheet.notes),
    ]


def _tex_cell(cell: Cell) -> str:
    return rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text)


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _flat(head: str) -> str:
    return " ".join(head.split())


def _safe(value: object) -> object:
    """Keep a spreadsheet from taking text for a formula; numbers stay numbers."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") and not _FIGURE.fullmatch(value):
        return f"'{value}"
    return value
