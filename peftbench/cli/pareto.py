"""`peftbench pareto`: which variants are worth their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, Json, calm_numpy, database, one_format, print_json, show

if TYPE_CHECKING:
    from peftbench.analysis.choosing import Choice
    from peftbench.analysis.groups import Group
    from peftbench.store.reader import Reader

MOST = 60


def pareto(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A B...]", help="Runs, presets, sweep rows or group hashes; else all finished groups."),
    ] = None,
    x: Annotated[str | None, typer.Option("--x", metavar="COST", help="vram, rss, energy, time or weights.")] = None,
    y: Annotated[str, typer.Option("--y", metavar="METRIC", help="A task, or dev_avg.")] = "dev_avg",
    workload: Annotated[
        str | None, typer.Option("--workload", "-w", metavar="NAME", help="Of it; else of the newest run's.")
    ] = None,
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a line a figure.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="No colours, 80 columns.")] = False,
    db: Database = None,
) -> None:
    """Say which variants no other one beats in both cost and score, and how sure that is.

    Without --x the cost is VRAM where it was measured, else peak RSS.

    Example: peftbench pareto --x weights
    """
    from peftbench.analysis.pareto import AXES, memory_axis
    from peftbench.analysis.pareto import pareto as front_of
    from peftbench.errors import MissingError, UsageError, did_you_mean
    from peftbench.report import front as report
    from peftbench.report.formats import FORMATS
    from peftbench.store.reader import Reader
    from peftbench.text import clean

    calm_numpy()
    written = one_format("pareto", {"json": as_json, "markdown": as_markdown, "latex": as_latex, "csv": as_csv})
    if x is not None and x not in AXES:
        raise UsageError(f"--x: no cost '{clean(x)}'{did_you_mean(x, AXES)}", f"costs: {', '.join(AXES)}")
    with Reader(database(db)) as reader:
        groups = finished_or_named(reader, words or [], workload, "pareto")
    metric_of("--y", y, groups)
    found = front_of(groups, x or memory_axis(groups), y)
    if not found.points:
        lacking = "; ".join(f"{clean(label)}: {clean(why)}" for label, why in found.left_out)
        raise MissingError(
            f"no group has both figures: {lacking}",
            f"choose another cost: --x {', '.join(axis for axis in AXES if axis != found.x)}",
        )
    if written == "json":
        print_json(report.as_json(found))
    elif written is not None:
        print(FORMATS[written](report.page(found)), end="")
    else:
        from peftbench.report.terminal import Screen

        show(Screen(report.page(found)), plain=plain)


def metric_of(option: str, name: str, groups: list[Group]) -> None:
    """See that a metric is Dev Avg or a task of the groups.

    Raises:
        UsageError: it is neither.
    """
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    known = [*dict.fromkeys(task for one in groups for task in one.records[0].tasks), "dev_avg"]
    if name not in known:
        raise UsageError(
            f"{option}: no metric '{clean(name)}'{did_you_mean(name, known)}",
            f"metrics: {', '.join(map(clean, known))}",
        )


def finished_or_named(reader: Reader, words: list[str], workload: str | None, command: str) -> list[Group]:
    """Return the groups asked for, or all finished ones of one workload.

    Raises:
        MissingError: there is none.
        UsageError: they are too many, or a word fits several.
        RefusedError: they are of different workloads.
    """
    from peftbench.analysis.choosing import choose_all, finished_groups
    from peftbench.analysis.groups import group
    from peftbench.errors import MissingError, RefusedError, UsageError
    from peftbench.text import clean

    runs = reader.runs()
    finished = [run for run in runs if run.state == "finished" and workload in (None, run.workload)]
    choices: list[Choice]
    if words:
        choices = choose_all(words, runs, workload)
    else:
        if not finished:
            raise MissingError("no run has finished yet", "start one: peftbench run --preset lora-r12")
        choices = finished_groups([run for run in finished if run.workload == finished[0].workload])
    if len(choices) > MOST:
        raise UsageError(f"{command} takes up to {MOST} groups, not {len(choices)}", "name some of them")
    workloads = sorted({run.workload for one in choices for run in one.runs})
    if len(workloads) > 1:
        raise RefusedError(
            f"these runs are of different workloads: {', '.join(map(clean, workloads))}",
            "scores on different data say nothing about the methods; choose one with --workload",
        )
    return [group(one.label, [reader.record(run, predictions=True) for run in one.runs]) for one in choices]
