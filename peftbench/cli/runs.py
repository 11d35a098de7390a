"""`peftbench runs`, `show` and `delete`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.naming import RunNames
from peftbench.cli.output import Database, Json, database, print_json, print_json_array, show
from peftbench.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.analysis.run_filter import RunQuery
    from peftbench.store.listing import Listed
    from peftbench.store.rows import RunFilter, RunRecord

FIRST_PAGE = 50
# "lost" and "stalled" are derived when shown; the stored state may still be one of these.
_STORED_AS = {"lost": ("starting", "running", "stalled", "stopping"), "stalled": ("running",)}

RunName = Annotated[str, typer.Argument(metavar="RUN", help="An id, a name, a unique prefix, or latest.")]


def list_runs(
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", metavar="N", min=1, help=f"At most N runs. Default: {FIRST_PAGE}, with --json all."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="All runs.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Queued since: 2026-11-01, 2026-11-01T09:30, 36h, 7d."),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", "-s", metavar="STATE", help="In this state; repeat it for several.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", "-p", metavar="NAME", help="Of this preset.")] = None,
    sweep: Annotated[str | None, typer.Option("--sweep", metavar="LABEL", help="Of this sweep or group.")] = None,
    matching: Annotated[
        str | None,
        typer.Option("--filter", "-f", metavar="FILTER", help="Matching this: 'method:dora rank>=12 tag:baseline'."),
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="RUN", help="Older than this run (the next page).")
    ] = None,
    spec: Annotated[bool, typer.Option("--spec", help="With --json: include each run's full spec.")] = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """List the runs, newest first.

    Example: peftbench runs --state finished
    """
    from itertools import islice

    from peftbench.analysis.run_filter import parsed
    from peftbench.store.reader import Reader

    where, only = database(db), _filter(state, preset, sweep, since)
    query = parsed(matching or "")
    most = None if every else limit or (None if as_json else FIRST_PAGE)
    with Reader(where) as reader:
        edge = None if before is None else reader.find_listed(before)
        listed = (run for run in reader.listed(only, edge) if _is_in(run, state) and _matches(run, query))
        if as_json:
            from peftbench.report.formats import json as jsonable

            rows = jsonable.Counted(listed if most is None else islice(listed, most))
            print_json_array(jsonable.listed_summary(run, spec) for run in rows)
            last, more = rows.last, most is not None and next(listed, None) is not None
        else:
            page = list(islice(listed, most))
            last, more = page[-1] if page else None, next(listed, None) is not None
            if page:
                from peftbench.report import tables

                show(tables.run_list(page), *unreadable_lines(page))
            else:
                show(*_no_runs_lines(where, reader.count()))
    if more and last is not None:
        print(f"more: peftbench runs --before {clean(last.id)}, or --all", file=sys.stderr)


def _filter(state: Sequence[str] | None, preset: str | None, sweep: str | None, since: str | None) -> RunFilter:
    """Return the filter for the database query.

    Raises:
        UsageError: unknown state, or `since` is not a time.
    """
    from datetime import UTC, datetime
    from typing import get_args

    from peftbench.cli.moments import moment_of
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.store.rows import RunFilter, State

    known = get_args(State)
    for name in state or ():
        if name not in known:
            raise UsageError(
                f"--state {clean(name, 60)}: no such state{did_you_mean(name, known)}", f"states: {', '.join(known)}"
            )
    stored = dict.fromkeys(each for name in state or () for each in (name, *_STORED_AS.get(name, ())))
    moment = None if since is None else moment_of("--since", since, datetime.now(UTC))
    return RunFilter(tuple(stored), preset, None, sweep, moment)


def _is_in(run: Listed, states: Sequence[str] | None) -> bool:
    """Return whether a run is shown in one of the states; True without states and for unreadable rows."""
    from peftbench.jobs.liveness import state_shown
    from peftbench.store.rows import Run

    return not states or not isinstance(run, Run) or state_shown(run) in states


def _matches(run: Listed, query: RunQuery) -> bool:
    """Return whether a run matches a filter expression; unreadable rows match an empty one only."""
    from peftbench.jobs.liveness import state_shown
    from peftbench.store.rows import Run

    return query.matches(run, state_shown(run)) if isinstance(run, Run) else not query.terms


def _no_runs_lines(where: Path, count: int) -> Iterator[str]:
    if count:
        yield f"None of the {count:,} runs in {clean(where)} matches."
        return
    yield from (
        f"No runs yet in {clean(where)}.",
        "",
        "Start one (about a minute, no download):  peftbench run --preset lora-r12 --headless",
        "List what can be run:                     peftbench presets",
    )


def unreadable_lines(runs: Sequence[Listed]) -> Iterator[str]:
    """Yield a line for each run whose row cannot be read."""
    from peftbench.store.rows import UnreadableRun

    for run in runs:
        if isinstance(run, UnreadableRun):
            yield f"unreadable: {clean(run.name)} ({clean(run.id)}): {clean(run.reason)}"


def show_run(
    run: RunName = "latest",
    spec: Annotated[
        bool, typer.Option("--spec", help="Every value of the spec and its origin, and the modules with adapters.")
    ] = False,
    phases: Annotated[bool, typer.Option("--phases", help="Every phase: time, memory, power, energy.")] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Memory of a training step, predicted and measured.")
    ] = False,
    reach: Annotated[
        list[str] | None,
        typer.Option("--reach", metavar="[TASK=]SCORE", help="Energy and time until dev first reached this score."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Every metric of a task, and its classes.")
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Show one run: scores of every epoch, cost, conditions.

    Example: peftbench show latest
    """

    from peftbench.errors import UsageError
    from peftbench.paths import run_folder
    from peftbench.report import resources, tables
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        record = reader.record(reader.find(run), predictions=task is not None)
    targets = [_target(record, argument) for argument in reach or ()]
    if task is not None:
        _check_task(record, task)
    views = {
        "--spec": spec,
        "--phases": phases,
        "--memory": memory,
        "--reach": bool(targets),
        "--task": task is not None,
    }
    if sum(views.values()) > 1 and not as_json:
        asked = ", ".join(name for name, given in views.items() if given)
        raise UsageError(f"show prints one of these at a time: {asked}", "choose one, or print everything with --json")
    if as_json:
        from peftbench.report.formats import json as jsonable

        tasks = () if task is None else (task,)
        print_json(jsonable.run_full(record, targets, tasks))
        return
    if task is not None:
        from peftbench.report.task import task_page

        show(tables.run_title(record.run), "", task_page(record, task))
        return
    if spec:
        show(tables.run_title(record.run), "", tables.spec_page(record.run))
        return
    if phases:
        show(tables.run_title(record.run), "", resources.phases(record))
        return
    if memory:
        from peftbench.report.memory import memory_page

        show(tables.run_title(record.run), "", memory_page(record.run))
        return
    if targets:
        show(tables.run_title(record.run), "", *(resources.reached_line(record, *target) for target in targets))
        return
    show(tables.run_page(record), "", f"files: {run_folder(where, record.run.id)}")


def _check_task(record: RunRecord, task: str) -> None:
    """Check that a run has a task.

    Raises:
        UsageError: it has not.
    """
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    if task not in record.tasks:
        raise UsageError(
            f"--task {clean(task)}: no such task{did_you_mean(task, record.tasks)}",
            f"tasks: {', '.join(map(clean, record.tasks))}",
        )


def _target(record: RunRecord, text: str) -> tuple[float, str | None]:
    """Return the score and the task (None for Dev Avg) of a `--reach` argument."""
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    task, equals, number = text.rpartition("=")
    if equals and task not in record.tasks:
        raise UsageError(
            f"--reach {clean(text)}: run {clean(record.run.name)} has no task '{clean(task)}'"
            f"{did_you_mean(task, record.tasks)}",
            f"tasks: {', '.join(map(clean, record.tasks))}; without a task, Dev Avg is meant",
        )
    try:
        score = float(number)
    except ValueError as error:
        raise UsageError(
            f"--reach {clean(text)}: '{clean(number)}' is not a number", "such as --reach sst=0.45"
        ) from error
    if not -1 <= score <= 1:
        raise UsageError(f"--reach {clean(text)}: scores lie between -1 and 1", "such as --reach sst=0.45")
    return score, task if equals else None


def delete(
    runs: RunNames,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    db: Database = None,
) -> None:
    """Delete runs: their rows, logs and trained weights.

    Example: peftbench delete lora-r12-1
    """
    from peftbench.cli.naming import named_for_deletion, titles
    from peftbench.jobs.removal import remove
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        chosen = named_for_deletion(reader, runs)
    show(*titles(chosen))
    if not yes and not typer.confirm(f"Delete {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'}?"):
        raise typer.Exit(1)
    left = remove(where, chosen)
    show(f"deleted {len(chosen)}", *map(clean, left))
