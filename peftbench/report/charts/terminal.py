"""Charts in a terminal: curves as in the dashboard, bars of block characters, and intervals as a table below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from peftbench import formatting
from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Series, draw
from peftbench.plot.rich_lines import rich_lines, terminal_color
from peftbench.report.charts.chart import Curve, Picture, bounds
from peftbench.report.plain_table import plain_table

HEIGHT = 20
_BLOCKS, _LETTERS = "█▓▒░·", "#=+-."
_NAME = 24


class Drawn:
    """A rich renderable of a chart that adapts to the console's width."""

    def __init__(self, picture: Picture, glyphs: Glyphs = BRAILLE, height: int = HEIGHT) -> None:
        self.picture, self.glyphs, self.height = picture, glyphs, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        picture, width = self.picture, options.max_width
        if picture.empty is not None:
            yield Text(f"{picture.title}: {picture.empty}")
            return
        if picture.bars:
            yield from _bars(picture, width, self.glyphs)
        else:
            yield from rich_lines(draw(chart(picture), width, self.height, self.glyphs))
            if any(curve.lows for curve in picture.curves):
                yield Text("")
                yield _intervals(picture)
        for note in picture.notes:
            yield Text(note, style="dim")


def chart(picture: Picture) -> Chart:
    """Return the curves as a terminal chart. A custom scale (log 2 of ranks) is named in the axis label."""
    x, y = (Range(*ends) for ends in bounds(picture))
    label = f"{picture.x_label}, log 2" if picture.ticks else picture.x_label
    return Chart(
        tuple(_series(curve) for curve in picture.curves),
        x=x,
        y=y,
        title=picture.title,
        x_label=label,
        whole_x=picture.whole_x,
        legend_rows=4,
    )


def _series(curve: Curve) -> Series:
    marker = curve.colour if curve.marked else None
    return Series(curve.name, curve.xs, curve.ys, terminal_color(curve.colour), curve.dashed, marker)


def _intervals(picture: Picture) -> Table:
    names = {round(value, 6): text for value, text in picture.ticks}
    rows: list[Sequence[str]] = []
    for curve in picture.curves:
        for x, y, low, high in zip(curve.xs, curve.ys, curve.lows, curve.highs, strict=False):
            at = min(names, key=lambda value: abs(value - x), default=None)
            text = names[at] if at is not None else f"{x:g}"
            rows.append((curve.name, text, formatting.score(y), f"[{formatting.score(low)}, {formatting.score(high)}]"))
    return plain_table(("", picture.x_label, picture.y_label, "95 % interval"), rows)


def _bars(picture: Picture, width: int, glyphs: Glyphs) -> list[Text]:
    marks = _LETTERS if glyphs.letters else _BLOCKS
    longest = max(sum(bar.values) for bar in picture.bars) or 1.0
    left = min(max(len(bar.name) for bar in picture.bars), _NAME)
    room = max(width - left - 10, 10)
    lines = [Text(f"{picture.title}, {picture.x_label}", style="bold")]
    for bar in picture.bars:
        line = Text(f"{_cut(bar.name, left):<{left}} ", no_wrap=True)
        done, total = 0, 0.0
        for index, value in enumerate(bar.values):
            total += value
            cells = round(total / longest * room) - done
            line.append(marks[index % len(marks)] * cells, style=terminal_color(index))
            done += cells
        line.append(f" {formatting.mib(total)}")
        lines.append(line)
    lines.append(Text("  ".join(f"{marks[index % len(marks)]} {name}" for index, name in enumerate(picture.parts))))
    return lines


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"
