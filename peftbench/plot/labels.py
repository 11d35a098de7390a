"""Labels at the ends of curves: one a row, from top to bottom in the order of the values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from peftbench.plot.decimate import known
from peftbench.plot.layout import Frame, visible
from peftbench.plot.model import Chart, Series


def end_labels(chart: Chart, frame: Frame) -> dict[int, Series]:
    """Return the series by the row of its end label: as near to its last visible point as the order allows.

    The label of a higher value is never below that of a lower one. Without rows for all, the highest have one.
    """
    wanted: list[tuple[float, int, Series]] = []
    for index, curve in enumerate(chart.series):
        begin, end = visible(curve, frame.x)
        last = next((y for y in map(known, reversed(curve.ys[begin:end])) if y is not None), None)
        if curve.end and last is not None and frame.y.low <= last <= frame.y.high:
            wanted.append((frame.down(last) / frame.dots_high, index, curve))
    wanted.sort(key=lambda each: each[:2])
    wanted = wanted[: frame.rows]
    rows = spread([int(row) for row, _, _ in wanted], frame.rows)
    return {row: curve for row, (_, _, curve) in zip(rows, wanted, strict=True)}


def spread(wanted: Sequence[int], rows: int) -> list[int]:
    """Return distinct rows in ascending order, near the wanted ones, which ascend too.

    Least squares: `row - index` must not fall, so that the rows are an isotonic regression (pool adjacent violators).

    Args:
        wanted: the wanted rows, at most `rows` of them, from 0 to rows - 1.
        rows: number of rows.
    """
    blocks: list[tuple[int, int]] = []  # sum and number of `row - index` that are pooled
    for index, row in enumerate(wanted):
        total, count = row - index, 1
        while blocks and blocks[-1][0] * count > total * blocks[-1][1]:
            before, number = blocks.pop()
            total, count = total + before, count + number
        blocks.append((total, count))
    starts = [
        min(max(math.floor(total / count + 0.5), 0), rows - len(wanted))
        for total, count in blocks
        for _ in range(count)
    ]
    return [start + index for index, start in enumerate(starts)]
