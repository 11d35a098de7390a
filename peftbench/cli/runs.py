"""`peftbench runs`, `show` and `delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, Json, database, print_json, show

if TYPE_CHECKING:
    from peftbench.store.rows import RunRecord

RunName = Annotated[str, typer.Argument(metavar="RUN", help="An id, a name, a unique prefix, or latest.")]


def list_runs(as_json: Json = False, db: Database = None) -> None:
    """List the runs, the newest first."""
    from peftbench.report import jsonable, tables
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        found = reader.runs()
    if as_json:
        print_json([jsonable.run_summary(run) for run in found])
    elif found:
        show(tables.run_list(found))
    else:
        show(
            f"No runs yet in {where}.",
            "",
            "Start one (about a minute, no download):  peftbench run --preset lora-r12 --headless",
            "See what there is to run:                 peftbench presets",
        )


def show_run(
    run: RunName = "latest",
    spec: Annotated[bool, typer.Option("--spec", help="Every value of the spec and where it came from.")] = False,
    phases: Annotated[bool, typer.Option("--phases", help="Every phase: time, memory, watts, joules.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="A step's memory: predicted, measured.")] = False,
    reach: Annotated[
        list[str] | None,
        typer.Option("--reach", metavar="[TASK=]SCORE", help="Energy and time until dev first had this score."),
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Show one run: scores of every epoch, cost, conditions."""
    import json

    from peftbench.errors import UsageError
    from peftbench.paths import run_folder
    from peftbench.report import jsonable, resources, tables
    from peftbench.report.anatomy import memory_page
    from peftbench.spec import flatten
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        record = reader.record(reader.find(run))
    targets = [_target(record, one) for one in reach or ()]
    views = {"--spec": spec, "--phases": phases, "--memory": memory, "--reach": bool(targets)}
    if sum(views.values()) > 1 and not as_json:
        asked = ", ".join(name for name, wanted in views.items() if wanted)
        raise UsageError(f"show prints one of these at a time: {asked}", "ask for one, or for all of it with --json")
    if as_json:
        print_json(jsonable.run_full(record, targets))
        return
    if spec:
        values = dict(flatten(json.loads(record.run.spec_json)))
        show(tables.run_title(record.run), "", tables.spec_table(values.items(), record.run.origins))
        return
    if phases:
        show(tables.run_title(record.run), "", resources.phases(record))
        return
    if memory:
        show(tables.run_title(record.run), "", memory_page(record.run))
        return
    if targets:
        show(tables.run_title(record.run), "", *(resources.reached_line(record, *target) for target in targets))
        return
    show(tables.run_page(record), "", f"files: {run_folder(where, record.run.id)}")


def _target(record: RunRecord, text: str) -> tuple[float, str | None]:
    """Return the score and the task, or None for Dev Avg, of a `--reach`."""
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    task, equals, number = text.rpartition("=")
    if equals and task not in record.tasks:
        raise UsageError(
            f"--reach {clean(text)}: run {clean(record.run.name)} has no task '{clean(task)}'"
            f"{did_you_mean(task, record.tasks)}",
            f"tasks: {', '.join(map(clean, record.tasks))}; without a task it is Dev Avg",
        )
    try:
        score = float(number)
    except ValueError as error:
        raise UsageError(
            f"--reach {clean(text)}: '{clean(number)}' is not a number", "such as --reach sst=0.45"
        ) from error
    if not -1 <= score <= 1:
        raise UsageError(f"--reach {clean(text)}: no score is above 1 or below -1", "such as --reach sst=0.45")
    return score, task if equals else None


def delete(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, names or unique prefixes.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Database = None,
) -> None:
    """Delete runs: their rows, logs and trained weights."""
    from peftbench.jobs.removal import remove
    from peftbench.report import tables
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        found = {run.id: run for run in (reader.find(reference) for reference in runs)}
    for run in found.values():
        show(tables.run_title(run))
    if not yes and not typer.confirm(f"Delete {'this run' if len(found) == 1 else f'these {len(found)} runs'}?"):
        raise typer.Exit(1)
    remove(where, list(found.values()))
    show(f"deleted {len(found)}")
