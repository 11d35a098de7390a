"""Read back a chart: its text and its dots."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from peftbench.plot import BRAILLE, Chart, Glyphs, Range, Row, Series, draw, lay_out

COLUMN_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


def lines(rows: Sequence[Row]) -> list[str]:
    return ["".join(segment.text for segment in row) for row in rows]


def picture(chart: Chart, width: int, height: int, glyphs: Glyphs = BRAILLE) -> list[str]:
    """Return a chart's lines after checking that it has exactly the requested size."""
    drawn = lines(draw(chart, width, height, glyphs))
    assert len(drawn) == height
    for line in drawn:
        assert cell_len(line) == width, repr(line)
    return drawn


def lit(chart: Chart, width: int, height: int) -> set[tuple[int, int]]:
    """Return the dots (x, y) of a braille chart's plot; a marker counts as all dots of its cell."""
    drawn = draw(chart, width, height)
    frame = lay_out(chart, width, height, BRAILLE)
    found = set()
    for row in range(frame.rows):
        line = lines([drawn[frame.top + row]])[0][frame.left :]
        for column, character in enumerate(line):
            bits = ord(character) - 0x2800 if 0x2800 <= ord(character) <= 0x28FF else 0
            if not character.isalpha() and character in BRAILLE.markers + BRAILLE.dashed_markers:
                bits = 255
            found |= {
                (2 * column + side, 4 * row + place)
                for side in (0, 1)
                for place in range(4)
                if bits & COLUMN_BITS[side][place]
            }
    return found


def one(ys: Sequence[float | None], xs: Sequence[float] | None = None, **more: object) -> Chart:
    """Return a chart of one series over 1, 2, 3 and so on."""
    ranges = {key: more.pop(key) for key in ("x", "y") if key in more}
    return Chart((Series("one", xs if xs is not None else range(1, len(ys) + 1), ys, "cyan", **more),), **ranges)


def inside(span: Range, value: float) -> bool:
    return span.low <= value <= span.high
