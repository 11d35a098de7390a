"""`peftbench report`: test the claims of the study against stored runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.groups import finished_or_named, power_samples
from peftbench.cli.output import (
    Csv,
    Database,
    Html,
    Json,
    Latex,
    Markdown,
    Plain,
    calm_numpy,
    database,
    one_format,
    print_json,
    print_page,
    write_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.analysis.groups import Group
    from peftbench.store.reader import Reader
    from peftbench.study.report import Study

app = typer.Typer(help="Reports over all stored runs of a workload.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Reports over all stored runs of a workload."""


@app.command("study")
def study(
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload", "-w", metavar="NAME", help="Only this workload. Default: of the newest finished run."
        ),
    ] = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    as_latex: Latex = False,
    as_csv: Csv = False,
    html: Html = None,
    plain: Plain = False,
    db: Database = None,
) -> None:
    """Test the study's claims against the stored runs: reproduced, contradicted or undecided, with the evidence.

    The runs are those of `peftbench sweep study`; the tables are compared with the published ones, cell by cell.

    Example: peftbench report study --workload quickstart
    """
    from peftbench.store.reader import Reader
    from peftbench.study import report

    calm_numpy()
    asked = {"json": as_json, "markdown": as_markdown, "latex": as_latex, "csv": as_csv, "html": html is not None}
    written = one_format("report", asked)
    if html is not None:
        write_study(database(db), workload, html)
        return
    with Reader(database(db)) as reader:
        reproduction = held(reader, workload)
    if written == "json":
        print_json(report.as_json(reproduction))
    else:
        print_page(report.page(reproduction), written, plain)


def held(reader: Reader, workload: str | None) -> Study:
    """Return the study evaluated on the finished groups of a workload (default: that of the newest finished run).

    Raises:
        MissingError: no run has finished, or none is of a preset of the study.
    """
    groups = finished_or_named(reader, (), workload, "report")
    return _evaluate(groups, _reordered(reader, groups))


def write_study(where: Path, workload: str | None, html: Path) -> Study:
    """Write the study's report as one HTML file, and return the evaluated study."""
    from peftbench.report.formats.html import html as document
    from peftbench.store.reader import Reader
    from peftbench.study import report
    from peftbench.study.charts import of_study

    with Reader(where) as reader:
        reproduction = held(reader, workload)
        samples = power_samples(reader, reproduction.groups.all)
    write_file("--html", html, document(report.page(reproduction), of_study(reproduction.groups, samples)))
    return reproduction


def _reordered(reader: Reader, groups: list[Group]) -> list[Group]:
    """Return finished groups of other workloads that may differ from these only in the order of their tasks."""
    from peftbench.analysis.selection import finished_groups
    from peftbench.analysis.task_order import order_key
    from peftbench.cli.groups import groups_of

    workload = groups[0].first.workload
    keys = {order_key(group.first) for group in groups}
    presets = {group.first.preset for group in groups}
    others = [run for run in reader.runs() if run.workload != workload and run.preset in presets]
    alike = [run for run in others if run.state == "finished" and order_key(run) in keys]
    return groups_of(reader, finished_groups(alike)) if alike else []


def _evaluate(groups: list[Group], reordered: list[Group]) -> Study:
    from peftbench.analysis.comparison import compare
    from peftbench.errors import MissingError
    from peftbench.study.claims import findings
    from peftbench.study.groups import ROWS, study_groups
    from peftbench.study.report import Study
    from peftbench.text import clean

    rows = study_groups(groups, reordered)
    if not rows.rows:
        raise MissingError(
            f"no finished run on workload {clean(groups[0].first.workload)} is of a preset of the study",
            f"its presets: {', '.join(ROWS)}; all of them: peftbench sweep study",
        )
    return Study(rows, findings(rows), compare(rows.all, split="dev"))
