"""Charts as SVG strings for a report, without scripts or links; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from peftbench import formatting
from peftbench.plot import Range
from peftbench.plot.ticks import Tick, ticks
from peftbench.report.charts.chart import Bar, Curve, Picture, bounds

WIDTH, HEIGHT = 560, 320
COLOURS = 10  # classes c0 to c9
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 44
_ROW = 26  # pixels of a bar and the gap below it
_NAMES = 140  # pixels for the names of bars
_LETTER = 6.6  # approximate pixels per character
_LINE = 13

Scale = Callable[[float], float]


def svg(picture: Picture) -> str:
    """Return a chart as an `<svg>` element, or as a paragraph with the reason if it is empty."""
    if picture.empty is not None:
        return f'<p class="none">{escape(picture.title)}: {escape(picture.empty)}</p>'
    body, height = _bars(picture) if picture.bars else _curves(picture)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(picture.title)}">'
        f"<title>{escape(picture.title)}</title>{body}</svg>"
    )


def legend(picture: Picture) -> str:
    """Return a chart's legend as HTML; empty if the names are in the chart."""
    if picture.bars:
        marks = [(name, f'<span class="swatch c{index}"></span>') for index, name in enumerate(picture.parts)]
    else:
        named = [curve for curve in picture.curves if curve.name and not curve.labelled]
        marks = [(entry.name, f'<span class="swatch c{entry.colour % COLOURS}"></span>') for entry in named]
    items = "".join(f"<li>{mark}{escape(name)}</li>" for name, mark in marks)
    return f'<ul class="legend">{items}</ul>' if items else ""


def _curves(picture: Picture) -> tuple[str, int]:
    (x_low, x_high), (y_low, y_high) = bounds(picture)
    x = _scale(x_low, x_high, _LEFT, WIDTH - _RIGHT)
    y = _scale(y_low, y_high, HEIGHT - _BOTTOM, _TOP)
    named = tuple(Tick(value, text) for value, text in picture.ticks)
    across = named or ticks(Range(x_low, x_high), 9, picture.whole_x)
    parts = [*_grid_x(across, x), *_grid_y(ticks(Range(y_low, y_high), 6), y), *_axis_names(picture)]
    for curve in picture.curves:
        parts += _intervals(curve, x, y)
    for curve in picture.curves:
        parts += _curve(curve, x, y)
    parts += _labels([curve for curve in picture.curves if curve.labelled], x, y)
    return "".join(parts), HEIGHT


def _curve(curve: Curve, x: Scale, y: Scale) -> Iterator[str]:
    colour = f"c{curve.colour % COLOURS}"
    points = [(x(a), y(b)) for a, b in zip(curve.xs, curve.ys, strict=True) if b is not None]
    if curve.joined:
        dashed = " dashed" if curve.dashed else ""
        for piece in _pieces(curve):
            path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in piece)
            yield f'<polyline class="line {colour}{dashed}" points="{path}"/>'
    if curve.marked:
        hollow = " hollow" if curve.hollow else ""
        yield from (f'<circle class="dot {colour}{hollow}" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in points)


def _labels(curves: list[Curve], x: Scale, y: Scale) -> Iterator[str]:
    """Yield labels beside the last points, moved down where they would overlap."""
    taken: list[tuple[float, float, float]] = []  # from, to, baseline
    ends = [(x(curve.xs[-1]), y(curve.ys[-1]), curve.name) for curve in curves if curve.xs and curve.ys[-1] is not None]
    for a, b, name in sorted(ends, key=lambda end: end[1]):
        wide, base = _LETTER * len(name), b + 4
        left = a + 9 + wide > WIDTH - _RIGHT
        start = a - 9 - wide if left else a + 9
        while any(start < to and base - at < _LINE and start + wide > since for since, to, at in taken):
            base += 1
        taken.append((start, start + wide, base))
        yield _text("label", a - 9 if left else a + 9, base, name, "end" if left else "start")


def _pieces(curve: Curve) -> list[list[tuple[float, float]]]:
    """Return the contiguous segments of a curve."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(curve.xs, curve.ys, strict=True):
        if b is None:
            pieces.append([])
        else:
            pieces[-1].append((a, b))
    return [piece for piece in pieces if len(piece) > 1]


def _intervals(curve: Curve, x: Scale, y: Scale) -> Iterator[str]:
    """Yield whiskers; an end outside the plot is clipped and has no cap."""
    for a, low, high in zip(curve.xs, curve.lows, curve.highs, strict=False):
        at, ends = x(a), (y(low), y(high))
        bottom, top = (min(max(end, _TOP), HEIGHT - _BOTTOM) for end in ends)
        colour = f"c{curve.colour % COLOURS}"
        yield f'<line class="whisker {colour}" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom:.1f}" y2="{top:.1f}"/>'
        for end, cut in zip(ends, (bottom, top), strict=True):
            if end == cut:
                across = f'x1="{at - 4:.1f}" x2="{at + 4:.1f}" y1="{cut:.1f}" y2="{cut:.1f}"'
                yield f'<line class="whisker {colour}" {across}/>'


def _bars(picture: Picture) -> tuple[str, int]:
    height = _TOP + _ROW * len(picture.bars) + _BOTTOM
    longest = max(sum(bar.values) for bar in picture.bars) or 1.0
    x = _scale(0.0, longest * 1.02, _NAMES, WIDTH - _RIGHT - 60)
    parts = []
    for tick in ticks(Range(0.0, longest * 1.02), 6):
        at = x(tick.value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
        parts.append(_text("tick", at, height - _BOTTOM + 16, tick.label, "middle"))
    parts.append(_text("axis", (_NAMES + WIDTH) / 2, height - 8, picture.x_label, "middle"))
    for index, bar in enumerate(picture.bars):
        parts += _bar(bar, _TOP + index * _ROW, x)
    return "".join(parts), height


def _bar(bar: Bar, top: float, x: Scale) -> Iterator[str]:
    name = bar.name if len(bar.name) * _LETTER < _NAMES else bar.name[: int(_NAMES / _LETTER) - 1] + "…"
    yield _text("label", _NAMES - 8, top + 14, name, "end")
    start = 0.0
    for index, value in enumerate(bar.values):
        at, wide = x(start), x(start + value) - x(start)
        box = f'x="{at:.1f}" y="{top + 2}" width="{wide:.1f}" height="{_ROW - 8}"'
        yield f'<rect class="part c{index % COLOURS}" {box}/>'
        start += value
    yield _text("tick", x(start) + 6, top + 14, formatting.mib(start), "start")


def _grid_x(across: tuple[Tick, ...], x: Scale) -> Iterator[str]:
    for tick in across:
        at = x(tick.value)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        yield _text("tick", at, HEIGHT - _BOTTOM + 16, tick.label, "middle")


def _grid_y(up: tuple[Tick, ...], y: Scale) -> Iterator[str]:
    for tick in up:
        at = y(tick.value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield _text("tick", _LEFT - 7, at + 4, tick.label, "end")


def _axis_names(picture: Picture) -> Iterator[str]:
    yield _text("axis", (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, picture.x_label, "middle")
    middle = (HEIGHT - _BOTTOM + _TOP) / 2
    yield (
        f'<text class="axis" text-anchor="middle" transform="translate(14 {middle:.1f}) rotate(-90)">'
        f"{escape(picture.y_label)}</text>"
    )


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)
