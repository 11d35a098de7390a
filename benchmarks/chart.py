"""CPU time of drawing a chart of 120 x 36 cells: the median over rounds, after one warm-up.

    python benchmarks/chart.py [--rounds N] [--json FILE]

"draw" creates the rows of segments; "rich" also converts them to rich's lines and the bytes for a 256-colour terminal.
Points are noisy curves, stored in lists and in `array`s, which numpy reads without copying.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import random
import statistics
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group

from peftbench.plot import Chart, Series, draw
from peftbench.plot.rich_lines import rich_lines

WIDTH, HEIGHT = 120, 36
COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red")
CASES = ((6, 10), (20, 2_000), (1, 1_000_000), (20, 1_000_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = []
    print(f"{'series':>6} {'points each':>11} {'held in':>8} {'draw ms':>8} {'rich ms':>8} {'KB':>6}")
    for count, points in CASES:
        for kind in ("list", "array"):
            chart = curves(count, points, kind)
            row = {"series": count, "points": points, "held_in": kind, "kb": len(terminal(chart)) / 1000}
            row |= {
                "draw_ms": cpu_ms(lambda chart=chart: draw(chart, WIDTH, HEIGHT), arguments.rounds),
                "rich_ms": cpu_ms(lambda chart=chart: terminal(chart), arguments.rounds),
            }
            figures.append(row)
            print(f"{count:>6} {points:>11,} {kind:>8} {row['draw_ms']:>8.1f} {row['rich_ms']:>8.1f} {row['kb']:>6.1f}")
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"CPU time at {WIDTH}x{HEIGHT}, median of {arguments.rounds} rounds; {machine}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2))


def curves(count: int, points: int, kind: str) -> Chart:
    """Return a chart of noisy curves that rise and saturate."""
    noise = random.Random(0)
    series = []
    for number in range(count):
        xs = [10 * place / points for place in range(points)]
        ys = [(1 - math.exp(-x)) * (0.7 + number / 100) + noise.gauss(0, 0.01) for x in xs]
        held = (xs, ys) if kind == "list" else (array("d", xs), array("d", ys))
        series.append(Series(f"run {number}", *held, COLORS[number % len(COLORS)], marker=number))
    return Chart(tuple(series), title="accuracy", x_label="epoch")


def terminal(chart: Chart) -> str:
    """Return the bytes sent to a terminal."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, force_terminal=True, color_system="256", highlight=False)
    console.print(Group(*rich_lines(draw(chart, WIDTH, HEIGHT))))
    return out.getvalue()


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """Return the median CPU time of a call in milliseconds."""
    work()
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - begun))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
