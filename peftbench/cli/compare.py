"""`peftbench compare`: runs and groups of runs side by side, with a verdict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.groups import groups_of, power_samples
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
    from peftbench.analysis.comparison import Comparison
    from peftbench.analysis.selection import Selection
    from peftbench.report.page import Page
    from peftbench.store.reader import Reader
    from peftbench.store.rows import SampleRow

MOST = 20


def compare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...", help="2 to 20 runs, presets, sweep rows or group hashes; the first is the baseline."
        ),
    ],
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="A", help="Hold the others against this one.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="TASK", help="This metric only; several are allowed.")
    ] = None,
    workload: Annotated[
        str | None, typer.Option("--workload", "-w", metavar="NAME", help="Only runs on this workload.")
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Also settings, resources, cost, training dynamics and verdicts as sentences."),
    ] = False,
    all_config: Annotated[
        bool, typer.Option("--all-config", help="Also the settings that do not differ, or are implied.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse (exit 4) where the comparison is unfair.")] = False,
    as_json: Json = False,
    as_markdown: Markdown = False,
    as_latex: Latex = False,
    as_csv: Csv = False,
    html: Html = None,
    plain: Plain = False,
    db: Database = None,
) -> None:
    """Say which is better, by how much, whether that is more than chance, and what it costs.

    A run's id or name is that run; a preset is the group of all its finished runs, which must be of one spec.

    Example: peftbench compare lora-r12 dora-r12
    """
    from peftbench.store.reader import Reader

    calm_numpy()
    asked = {"json": as_json, "markdown": as_markdown, "latex": as_latex, "csv": as_csv, "html": html is not None}
    written = one_format("compare", asked)
    with Reader(database(db)) as reader:
        choices = _chosen(reader, words, baseline, workload)
        result = _compared(reader, choices, metric or ())
        samples = power_samples(reader, result.groups) if html is not None else {}
    if strict:
        refuse_confounded(result)
    if as_json:
        from peftbench.report.formats import json

        print_json(json.comparison(result))
        return
    from peftbench.report.comparison import page

    if html is not None:
        _write_html(html, page(result, full, all_config), result, samples)
    else:
        full = full or written in ("csv", "latex")  # tables for programs: all of them
        _print(page(result, full, all_config), choices, written, plain)


def _write_html(path: Path, page: Page, result: Comparison, samples: dict[str, list[SampleRow]]) -> None:
    from peftbench.analysis.scores import AVERAGES
    from peftbench.report.charts.runs import of_groups
    from peftbench.report.formats.html import html

    overall = AVERAGES[result.split]
    shown = overall if overall in result.metrics else result.metrics[0]
    write_file("--html", path, html(page, of_groups(result.groups, samples, shown)))


def _chosen(reader: Reader, words: list[str], baseline: str | None, workload: str | None) -> list[Selection]:
    """Return what the words mean, the baseline first, each once."""
    from peftbench.analysis.selection import select_all
    from peftbench.errors import UsageError

    chosen = [baseline, *words] if baseline is not None else words
    choices = select_all(chosen, lambda word: reader.candidates(word, workload), workload)
    if not 2 <= len(choices) <= MOST:
        raise UsageError(f"compare takes 2 to {MOST} different runs or groups, not {len(choices)}")
    return choices


def _compared(reader: Reader, choices: list[Selection], metrics: list[str] | tuple[()]) -> Comparison:
    from peftbench.analysis.comparison import compare as compare_groups

    return compare_groups(groups_of(reader, choices), metrics)


def refuse_confounded(result: Comparison) -> None:
    """Check that no confounding setting or condition differs between the groups.

    Raises:
        RefusedError: one does.
    """
    from peftbench.errors import RefusedError
    from peftbench.report.comparison import unlike

    if result.confounding:
        lines = [unlike(result.groups, difference).text for difference in result.confounding]
        raise RefusedError(
            "\n".join(["not compared: something other than what is studied differs", *lines]),
            "without --strict it is compared, and this is said first",
        )


def _print(page: Page, choices: list[Selection], written: str | None, plain: bool) -> None:
    for choice in choices:
        if choice.repeats:
            older = ", ".join(run.name for run in choice.repeats)
            print(f"{choice.label}: of runs with the same seed the newest counts; left out: {older}", file=sys.stderr)
    print_page(page, written, plain)
