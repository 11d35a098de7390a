"""`peftbench report`: what stored runs say of the study, claim by claim."""

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
    from peftbench.report.study import Study
    from peftbench.store.reader import Reader

app = typer.Typer(help="Reports over all stored runs of a workload.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Reports over all stored runs of a workload."""


@app.command("study")
def study(
    workload: Annotated[
        str | None, typer.Option("--workload", "-w", metavar="NAME", help="Of it; else of the newest finished run's.")
    ] = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    as_latex: Latex = False,
    as_csv: Csv = False,
    html: Html = None,
    plain: Plain = False,
    db: Database = None,
) -> None:
    """Hold the study's claims against the stored groups: reproduced, contradicted or undecided, with the evidence.

    The runs are those of `peftbench sweep study`; its tables stand beside the published figures, as far as these are
    known.

    Example: peftbench report study --workload quickstart
    """
    from peftbench.report import study as report
    from peftbench.store.reader import Reader

    calm_numpy()
    asked = {"json": as_json, "markdown": as_markdown, "latex": as_latex, "csv": as_csv, "html": html is not None}
    written = one_format("report", asked)
    if html is not None:
        write_study(database(db), workload, html)
        return
    with Reader(database(db)) as reader:
        found = held(reader, workload)
    if written == "json":
        print_json(report.as_json(found))
    else:
        print_page(report.page(found), written, plain)


def held(reader: Reader, workload: str | None) -> Study:
    """Return the study held against the finished groups of a workload, or of the newest finished run's.

    Raises:
        MissingError: none has finished, or none is of a preset of the study.
    """
    return _held(finished_or_named(reader, (), workload, "report"))


def write_study(where: Path, workload: str | None, html: Path) -> Study:
    """Write the study's report as one HTML file, and return what it shows."""
    from peftbench.report import study as report
    from peftbench.report.gallery import of_study
    from peftbench.report.html import html as document
    from peftbench.store.reader import Reader

    with Reader(where) as reader:
        found = held(reader, workload)
        samples = power_samples(reader, found.groups.all)
    write_file("--html", html, document(report.page(found), of_study(found.groups, samples)))
    return found


def _held(groups: list[Group]) -> Study:
    from peftbench.analysis.claims import findings
    from peftbench.analysis.comparison import compare
    from peftbench.analysis.study_groups import ROWS, study_groups
    from peftbench.errors import MissingError
    from peftbench.report.study import Study
    from peftbench.text import clean

    rows = study_groups(groups)
    if not rows.rows:
        raise MissingError(
            f"no finished run on workload {clean(groups[0].first.workload)} is of a preset of the study",
            f"its presets: {', '.join(ROWS)}; all of them: peftbench sweep study",
        )
    return Study(rows, findings(rows), compare(rows.all))
