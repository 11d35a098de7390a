"""`peftbench plot`: chart curves, ranks, the Pareto front, memory or power of runs, in the terminal or to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peftbench.cli.groups import finished_or_named, metric_of, power_samples
from peftbench.cli.output import Ascii, Database, Plain, calm_numpy, database, show, write_file

if TYPE_CHECKING:
    from peftbench.analysis.groups import Group
    from peftbench.report.charts.chart import Picture
    from peftbench.store.reader import Reader

Kind = Literal["curves", "ranks", "pareto", "memory", "power"]


def plot(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="curves, ranks, pareto, memory or power.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B...]", help="Runs, presets, sweep rows or group hashes. Default: all finished groups."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write .svg or .png (needs matplotlib). Default: terminal."),
    ] = None,
    metric: Annotated[str, typer.Option("--metric", metavar="TASK", help="A task, or dev_avg.")] = "dev_avg",
    workload: Annotated[
        str | None,
        typer.Option("--workload", "-w", metavar="NAME", help="Only this workload. Default: that of the newest run."),
    ] = None,
    ascii_only: Ascii = False,
    plain: Plain = False,
    db: Database = None,
) -> None:
    """Plot each group's mean over its seeds; in curves, dev is solid and train is dashed.

    Example: peftbench plot curves dora-r1 dora-r12 dora-r128 --out figure2.svg
    """
    from peftbench.errors import UsageError
    from peftbench.report.charts.matplotlib import FORMATS, drawn
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    calm_numpy()
    written = None if out is None else next((each for each in FORMATS if out.suffix.lower() == f".{each}"), None)
    if out is not None and written is None:
        raise UsageError(
            f"--out {clean(out)}: unknown image format",
            f"allowed file extensions: {', '.join(f'.{each}' for each in FORMATS)}",
        )
    with Reader(database(db)) as reader:
        picture = _picture(reader, kind, finished_or_named(reader, words or [], workload, "plot"), metric)
    if out is not None and written is not None:
        write_file("--out", out, drawn(picture, written))
        return
    from peftbench.plot import glyphs_for
    from peftbench.report.charts.terminal import Drawn

    show(Drawn(picture, glyphs_for(sys.stdout.encoding, os.environ.get("TERM"), ascii_only)), plain=plain)


def _picture(reader: Reader, kind: Kind, groups: list[Group], metric: str) -> Picture:
    from peftbench.analysis.pareto import memory_axis, pareto
    from peftbench.report.charts import runs

    metric_of("--metric", metric, groups)
    if kind == "curves":
        return runs.curves(groups, metric)
    if kind == "ranks":
        return runs.ranks(groups, metric)
    if kind == "pareto":
        return runs.front(pareto(groups, memory_axis(groups), metric))
    if kind == "memory":
        return runs.memory(groups)
    return runs.power(groups, power_samples(reader, groups))
