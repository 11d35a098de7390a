"""The legend: marker, name and note of each named series, in a limited number of rows."""

from __future__ import annotations

from collections.abc import Iterable

from peftbench.plot.cells import fit, printable, width
from peftbench.plot.glyphs import Glyphs
from peftbench.plot.model import BLANK, LABEL, Row, Segment, Series

_GAP = 2  # spaces between two entries


def legend_rows(series: Iterable[Series], cells: int, most: int, glyphs: Glyphs) -> list[Row]:
    """Return at most `most` rows of at most `cells` cells; omitted entries are counted at the end (`+2`)."""
    items = [_item(curve, sign(curve, index, glyphs), cells) for index, curve in enumerate(series) if curve.name]
    rows = _flow(items, cells)
    if len(rows) <= most:
        return [_row(row) for row in rows]
    if most < 1:
        return []
    kept = rows[:most]
    while True:
        more = f"+{len(items) - sum(map(len, kept))}"
        if _width(kept[-1]) + (_GAP if kept[-1] else 0) + len(more) <= cells or not kept[-1]:
            return [*(_row(row) for row in kept[:-1]), _row([*kept[-1], (Segment(fit(more, cells), LABEL),)])]
        kept[-1] = kept[-1][:-1]


def sign(series: Series, index: int, glyphs: Glyphs) -> str:
    """Return the legend symbol of a series: its marker, or its line style."""
    if series.marker is None and not glyphs.letters:
        return glyphs.dashed if series.dashed else glyphs.solid
    return glyphs.marker(index if series.marker is None else series.marker, series.dashed)


def _item(series: Series, character: str, cells: int) -> Row:
    text = fit(printable(f"{printable(series.name)} {series.note}"), max(cells - 2, 0))
    return Segment(character, series.color), Segment(f" {text}" if text else "", LABEL)


def _flow(items: list[Row], cells: int) -> list[list[Row]]:
    rows: list[list[Row]] = []
    for item in items:
        if not rows or _width([*rows[-1], item]) > cells:
            rows.append([])
        rows[-1].append(item)
    return rows


def _row(items: list[Row]) -> Row:
    segments: list[Segment] = []
    for item in items:
        segments += [Segment(" " * _GAP, BLANK), *item] if segments else item
    return tuple(segments)


def _width(items: list[Row]) -> int:
    return sum(width(segment.text) for item in items for segment in item) + _GAP * (len(items) - 1) if items else 0
