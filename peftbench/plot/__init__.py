"""Terminal charts as rows of styled text: pure functions, independent of rich and Textual.

    chart = Chart((Series("dev", (1, 2, 3), (0.5, 0.7, 0.8), "cyan", marker=0),), x=Range(1, 10), whole_x=True)
    rows = draw(chart, 80, 20)

A row is a tuple of `Segment`s (text, style) that fill the width exactly; `rich_lines` converts rows to rich `Text`.
"""

from peftbench.plot.chart import draw
from peftbench.plot.glyphs import ASCII, BRAILLE, Glyphs, glyphs_for
from peftbench.plot.layout import Frame, lay_out
from peftbench.plot.model import Chart, Range, Row, Segment, Series

__all__ = [
    "ASCII",
    "BRAILLE",
    "Chart",
    "Frame",
    "Glyphs",
    "Range",
    "Row",
    "Segment",
    "Series",
    "draw",
    "glyphs_for",
    "lay_out",
]
