"""`peftbench pareto`: find the Pareto-optimal variants in cost and score."""

from __future__ import annotations

from typing import Annotated

import typer

from peftbench.cli.groups import finished_or_named, metric_of
from peftbench.cli.output import (
    Csv,
    Database,
    Json,
    Latex,
    Markdown,
    Plain,
    calm_numpy,
    database,
    one_format,
    print_json,
    print_page,
)


def pareto(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B...]", help="Runs, presets, sweep rows or group hashes. Default: all finished groups."
        ),
    ] = None,
    x: Annotated[str | None, typer.Option("--x", metavar="COST", help="vram, rss, energy, time or weights.")] = None,
    y: Annotated[str, typer.Option("--y", metavar="METRIC", help="A task, or dev_avg.")] = "dev_avg",
    workload: Annotated[
        str | None,
        typer.Option("--workload", "-w", metavar="NAME", help="Only this workload. Default: that of the newest run."),
    ] = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    as_latex: Latex = False,
    as_csv: Csv = False,
    plain: Plain = False,
    db: Database = None,
) -> None:
    """Find the variants that no other one beats in both cost and score, with bootstrap confidence.

    The default cost is VRAM if it was measured, else peak RSS.

    Example: peftbench pareto --x weights
    """
    from peftbench.analysis.pareto import AXES, memory_axis
    from peftbench.analysis.pareto import pareto as front_of
    from peftbench.errors import MissingError, UsageError, did_you_mean
    from peftbench.report import pareto
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    calm_numpy()
    written = one_format("pareto", {"json": as_json, "markdown": as_markdown, "latex": as_latex, "csv": as_csv})
    if x is not None and x not in AXES:
        raise UsageError(f"--x: no cost '{clean(x)}'{did_you_mean(x, AXES)}", f"costs: {', '.join(AXES)}")
    with Reader(database(db)) as reader:
        groups = finished_or_named(reader, words or [], workload, "pareto")
    metric_of("--y", y, groups)
    frontier = front_of(groups, x or memory_axis(groups), y)
    if not frontier.points:
        lacking = "; ".join(f"{clean(label)}: {clean(reason)}" for label, reason in frontier.left_out)
        other_axes = f"choose another cost: --x {', '.join(axis for axis in AXES if axis != frontier.x)}"
        folded = all(group.first.folds is not None for group in groups)
        raise MissingError(
            f"no group has both values: {lacking}",
            "compare them two by two: peftbench compare A B" if folded else other_axes,
        )
    if written == "json":
        print_json(pareto.as_json(frontier))
    else:
        print_page(pareto.page(frontier), written, plain)
