"""`peftbench standings`: rank the groups of a workload."""

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


def standings(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B...]", help="Runs, presets, sweep rows or group hashes. Default: all finished groups."
        ),
    ] = None,
    metric: Annotated[str, typer.Option("--metric", "-m", metavar="METRIC", help="A task, or dev_avg.")] = "dev_avg",
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
    """Rank the groups of a workload, with intervals, ties and costs.

    Example: peftbench standings --workload quickstart
    """
    from peftbench.analysis.standings import standings as standings_of
    from peftbench.errors import MissingError
    from peftbench.report import standings
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    calm_numpy()
    written = one_format("standings", {"json": as_json, "markdown": as_markdown, "latex": as_latex, "csv": as_csv})
    with Reader(database(db)) as reader:
        groups = finished_or_named(reader, words or [], workload, "standings")
    metric_of("--metric", metric, groups)
    ranked = standings_of(groups, metric)
    if not ranked.rows:
        lacking = "; ".join(f"{clean(label)}: {clean(reason)}" for label, reason in ranked.left_out)
        raise MissingError(f"no group has a place: {lacking}", "compare them two by two: peftbench compare A B")
    if written == "json":
        print_json(standings.as_json(ranked))
    else:
        print_page(standings.page(ranked), written, plain)
