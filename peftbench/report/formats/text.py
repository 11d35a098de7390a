"""A page as Markdown, LaTeX or CSV. Cells may hold external text; each format escapes its special characters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from peftbench.report.page import Cell, Page, Sheet

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
    """Return GitHub-flavoured Markdown: verdicts as a list, tables, the best values of a column in bold."""
    lines = [_md(page.title), ""]
    lines += [f"- **{_md(line.text)}**" for line in page.warnings]
    lines += [f"- {_md(line.text)}" for line in (*page.verdicts, *page.differences)]
    for sheet in page.sheets:
        lines += ["", f"**{_md(sheet.title)}**", "", *_md_table(sheet), *(f"\n{_md(note)}" for note in sheet.notes)]
    lines += ["", *(f"{_md(note)}  " for note in page.notes)]
    return "\n".join(lines).rstrip() + "\n"


def latex(page: Page) -> str:
    """Return LaTeX tables (booktabs), with verdicts and notes as comments."""
    lines = [f"% {_tex(text)}" for text in (page.title, *(line.text for line in (*page.warnings, *page.verdicts)))]
    lines.append("% needs \\usepackage{booktabs}")
    for sheet in page.sheets:
        lines += ["", *_tex_table(sheet)]
    lines += ["", *(f"% {_tex(note)}" for note in page.notes)]
    return "\n".join(lines) + "\n"


def comma_separated(page: Page) -> str:
    """Return CSV with one value per line: table, row, column, unrounded value, text as shown, best (1 or 0).

    The first line is the page's title, which says what scores are of.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "text", "best"))
    writer.writerow(("title", "", "", "", _safe(page.title), ""))
    for line in (*page.warnings, *page.verdicts):
        writer.writerow(("warning" if line.warning else "verdict", "", "", "", _safe(line.text), ""))
    for sheet in page.sheets:
        for row in sheet.rows:
            for head, cell in zip(sheet.headers[1:], row[1:], strict=True):
                value = "" if cell.value is None else cell.value
                words = (sheet.key, _safe(row[0].text), _safe(_flat(head)), _safe(value), _safe(_flat(cell.text)))
                writer.writerow((*words, int(cell.best)))
    return out.getvalue()


FORMATS: dict[str, Callable[[Page], str]] = {"markdown": markdown, "latex": latex, "csv": comma_separated}


def _md_table(sheet: Sheet) -> list[str]:
    heads = [_md(_flat(head)) for head in sheet.headers]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    rows = [[f"**{_md_cell(cell)}**" if cell.best else _md_cell(cell) for cell in row] for row in sheet.rows]
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
    text = _tex(_flat(cell.text))
    return rf"\textbf{{{text}}}" if cell.best else text


def _md_cell(cell: Cell) -> str:
    return _md(_flat(cell.text))


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _flat(head: str) -> str:
    return " ".join(head.split())


def _safe(value: object) -> object:
    """Prefix text that a spreadsheet would evaluate as a formula with an apostrophe; numbers stay unchanged."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") and not _FIGURE.fullmatch(value):
        return f"'{value}"
    return value
