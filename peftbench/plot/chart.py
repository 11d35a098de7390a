"""Render a chart as rows of segments: title, plot with axes, legend, in exactly the requested size."""

from __future__ import annotations

from itertools import groupby

from peftbench.plot.cells import fit, printable, width
from peftbench.plot.decimate import known
from peftbench.plot.dots import Dots
from peftbench.plot.glyphs import BRAILLE, BRAILLE_CELLS, Glyphs
from peftbench.plot.labels import end_labels
from peftbench.plot.layout import Frame, label_column, lay_out
from peftbench.plot.legend import legend_rows, sign
from peftbench.plot.model import AXIS, BLANK, CURSOR, LABEL, TITLE, Chart, Row, Segment, Series
from peftbench.plot.rasterise import marked, trace

Cell = tuple[str, str]  # a character and its style


def draw(chart: Chart, cells_wide: int, cells_high: int, glyphs: Glyphs = BRAILLE) -> list[Row]:
    """Return a chart as `cells_high` rows of exactly `cells_wide` cells; without any point, its text and no axes.

    Raises:
        ValueError: the width or height is below one cell.
    """
    frame = lay_out(chart, cells_wide, cells_high, glyphs)
    if not any(known(y) is not None for series in chart.series for y in series.ys):
        return _without_points(chart, frame, cells_wide, cells_high, glyphs)
    plot = _plot(chart, frame, glyphs)
    rows: list[Row] = []
    if frame.top:
        rows.append((Segment(fit(printable(chart.title), cells_wide), TITLE),))
    ends = end_labels(chart, frame) if frame.right else {}
    for number, cells in enumerate(plot):
        row = _plot_row(frame, number, cells, glyphs)
        rows.append((*row, _end(ends[number], frame)) if number in ends else row)
    if frame.axis_rows:
        rows += [_axis(frame, glyphs), _labels(chart, frame)]
    rows += legend_rows(chart.series, cells_wide, frame.legend_rows, glyphs)
    return [_filled(row, cells_wide) for row in rows]


def _plot(chart: Chart, frame: Frame, glyphs: Glyphs) -> list[list[Cell]]:
    """Return the plot's cells, row by row."""
    rows: list[list[Cell]] = [[(" ", BLANK)] * frame.columns for _ in range(frame.rows)]
    if chart.cursor_x is not None and frame.x.low <= chart.cursor_x <= frame.x.high:
        column, _ = frame.cell(chart.cursor_x, frame.y.low)
        for row in rows:
            row[column] = (glyphs.cursor, CURSOR)
    layers = [trace(series, frame) for series in chart.series]
    if not any(any(layer.columns) for layer in layers):
        _write_centred(rows, "no data in this range")
        return rows
    styles = [series.color for series in chart.series]
    signs = [sign(series, index, glyphs) for index, series in enumerate(chart.series)]
    for (column, row_number), (bits, owner) in _merged(layers, frame).items():
        character = signs[owner] if glyphs.letters else BRAILLE_CELLS[bits]
        rows[row_number][column] = (character, styles[owner])
    if not glyphs.letters:
        for index, series in enumerate(chart.series):
            if series.marker is not None:
                for column, row_number in marked(series, frame):
                    rows[row_number][column] = (signs[index], styles[index])
    return rows


def _merged(layers: list[Dots], frame: Frame) -> dict[tuple[int, int], tuple[int, int]]:
    """Return the dots and owner of each non-empty cell: the series with the most dots, the last one in case of ties."""
    bits: dict[tuple[int, int], int] = {}
    owners: dict[tuple[int, int], tuple[int, int]] = {}
    for owner, layer in enumerate(layers):
        for cell, own in _cells(layer, frame):
            bits[cell] = bits.get(cell, 0) | own
            count = own.bit_count()
            if count >= owners.get(cell, (0, 0))[0]:
                owners[cell] = (count, owner)
    return {cell: (dots, owners[cell][1]) for cell, dots in bits.items()}


def _cells(layer: Dots, frame: Frame) -> list[tuple[tuple[int, int], int]]:
    """Return a layer's non-empty cells with their bits, the left column of dots first."""
    high, wide = frame.dots_high, frame.dots_wide
    mask = (1 << high) - 1
    cells = []
    for column in range(frame.columns):
        pair = layer.columns[column * wide : (column + 1) * wide]
        together = pair[0] | pair[-1]
        while together:
            row = ((together & -together).bit_length() - 1) // high
            shift = row * high
            own = sum((dots >> shift & mask) << index * high for index, dots in enumerate(pair))
            cells.append(((column, row), own))
            together &= ~(mask << shift)
    return cells


def _without_points(chart: Chart, frame: Frame, cells_wide: int, cells_high: int, glyphs: Glyphs) -> list[Row]:
    """Return the title, the chart's text for a want of data, and the legend."""
    title: list[Row] = [(Segment(fit(printable(chart.title), cells_wide), TITLE),)] if frame.top else []
    legend = legend_rows(chart.series, cells_wide, frame.legend_rows, glyphs)
    cells: list[list[Cell]] = [[(" ", BLANK)] * cells_wide for _ in range(cells_high - len(title) - len(legend))]
    _write_centred(cells, chart.empty)
    return [_filled(row, cells_wide) for row in (*title, *map(_segments, cells), *legend)]


def _write_centred(rows: list[list[Cell]], text: str) -> None:
    """Write a text in the centre of the plot."""
    row = rows[len(rows) // 2]
    text = fit(printable(text), len(row))
    if width(text) == len(text):  # only if every character takes one cell
        start = (len(row) - len(text)) // 2
        row[start : start + len(text)] = [(character, LABEL) for character in text]


def _plot_row(frame: Frame, number: int, cells: list[Cell], glyphs: Glyphs) -> Row:
    segments: list[Segment] = []
    if frame.left:
        tick = frame.y_ticks.get(number)
        segments.append(Segment(f"{tick.label if tick else '':>{frame.left - 2}} ", LABEL))
        segments.append(Segment(glyphs.tick_y if tick else glyphs.axis, AXIS))
    return (*segments, *_segments(cells))


def _segments(cells: list[Cell]) -> Row:
    runs = groupby(cells, key=lambda cell: cell[1])
    return tuple(Segment("".join(character for character, _ in run), style) for style, run in runs)


def _end(series: Series, frame: Frame) -> Segment:
    return Segment(" " + fit(printable(series.end), frame.right - 1), series.color)


def _axis(frame: Frame, glyphs: Glyphs) -> Row:
    corner = f"{glyphs.corner:>{frame.left}}" if frame.left else ""
    line = "".join(glyphs.tick_x if column in frame.x_ticks else glyphs.line for column in range(frame.columns))
    return (Segment(corner + line, AXIS),)


def _labels(chart: Chart, frame: Frame) -> Row:
    """Return the row below the axis: tick labels, and the axis label if there is room."""
    total = frame.left + frame.columns
    cells = [" "] * total
    for column, tick in frame.x_ticks.items():
        start = label_column(frame, column, tick)
        cells[start : start + len(tick.label)] = tick.label
    line = "".join(cells)
    name = printable(chart.x_label)
    long = width(name)
    if name and long < len(line) - len(line.lstrip()):
        line = name + line[long:]
    elif name and long < total - len(line.rstrip()):
        line = line[: total - long] + name
    return (Segment(line, LABEL),)


def _filled(row: Row, cells: int) -> Row:
    room = cells - sum(width(segment.text) for segment in row)
    full = (*row, Segment(" " * room, BLANK)) if room else row
    return tuple(segment for segment in full if segment.text)
