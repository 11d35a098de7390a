"""`peftbench queue`, `stop`, `resume`, `retry` and `log`: control runs that execute in the background."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.naming import OptionalRunNames, RunNames, RunsFolder
from peftbench.cli.output import Database, Json, command, database, print_json, show
from peftbench.cli.runs import RunName, unreadable_lines
from peftbench.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.store.rows import QueueSettings, Run

Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return at once; do not follow the run.")]


def queue(
    slots: Annotated[
        int | None,
        typer.Option("--slots", metavar="N", min=1, max=64, help="Set the maximum of concurrent runs on this machine."),
    ] = None,
    cooldown: Annotated[
        float | None,
        typer.Option(
            "--cooldown", metavar="S", min=0, max=3600, help="Set the pause between two runs on a device, in s."
        ),
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Show running and queued runs, and start the queue runner if it is not running.

    Example: peftbench queue
    """
    import dataclasses
    import platform

    from peftbench.analysis.forecast import PlannedRun, forecast
    from peftbench.jobs.lock import RunnerLock
    from peftbench.jobs.queue import ensure_runner
    from peftbench.report.queue import queue_page
    from peftbench.store.connection import writable
    from peftbench.store.reader import Reader
    from peftbench.store.rows import QueueSettings, Run
    from peftbench.store.writer import Writer

    where = database(db)
    changes = QueueSettings(slots, cooldown)
    if changes != QueueSettings():
        with Writer(where) as writer:
            writer.set_queue(platform.node(), changes)
    with Reader(where) as reader:
        listed, settings = reader.active_listed(), reader.queue_settings(platform.node())
        active = [run for run in listed if isinstance(run, Run)]
        unreadable = [run for run in listed if not isinstance(run, Run)]
        progress = reader.all_progress()
        queued = [run for run in active if run.state == "queued"]
        wanted = [PlannedRun.of(run) for run in queued]
        times = forecast(wanted, reader.judging([request.key for request in wanted], platform.node()), platform.node())
        predicted = {run.id: time for run, time in zip(queued, times, strict=True)}
    if active and writable(where):
        ensure_runner(where)
    if as_json:
        from peftbench.report.formats import json

        print_json(
            {
                "settings": dataclasses.asdict(settings),
                "runner_pid": RunnerLock(where).holder(),
                "runs": [
                    {
                        **json.run_summary(run),
                        "predicted_s": predicted[run.id].wall_s if run.id in predicted else None,
                    }
                    for run in active
                ]
                + [json.unreadable(run) for run in unreadable],
            }
        )
        return
    page = queue_page(active, progress, predicted) if active else ["No runs are running or queued."]
    show(*page, *unreadable_lines(unreadable), *_settings_lines(settings))


def _settings_lines(settings: QueueSettings) -> Iterator[str]:
    if settings.slots is not None:
        yield f"on this machine: at most {settings.slots} at once"
    if settings.cooldown_s is not None:
        yield f"on this machine: a pause of {settings.cooldown_s:g} s between two runs on a device"


def stop(
    runs: RunNames,
    now: Annotated[
        bool, typer.Option("--now", help="Kill it at once; it can be resumed from its last checkpoint.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it has stopped.")] = False,
    db: Database = None,
) -> None:
    """Stop runs: queued ones at once, others at their next step, with a checkpoint to resume from.

    Example: peftbench stop latest
    """
    from peftbench.cli.naming import named_runs
    from peftbench.jobs import control
    from peftbench.jobs.follow import follow
    from peftbench.store.reader import Reader
    from peftbench.store.rows import ACTIVE_STATES

    where = database(db)
    with Reader(where) as reader:
        chosen = named_runs(reader, runs, lambda run: run.state in ACTIVE_STATES, "stopped")
        for run in sorted(
            chosen, key=lambda run: run.state != "queued"
        ):  # queued first, so that none starts in a freed slot
            state = control.stop(where, run)
            if state is None:
                show(f"{clean(run.name)} is already {run.state}")
            elif now:
                control.kill(reader.run(run.id))
        for run in chosen:
            if not detach:
                for _ in follow(where, run.id):
                    pass
            ended = reader.run(run.id)
            show(f"{clean(ended.name)} is {ended.state}" + (f": {clean(ended.reason)}" if ended.reason else ""))


def resume(
    runs: OptionalRunNames = None,
    detach: Detach = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="If the encoder or data changed: restart with the present ones.")
    ] = False,
    runs_folder: RunsFolder = None,
    db: Database = None,
) -> None:
    """Resume stopped, failed or lost runs from their last checkpoints; on the CPU the results are bit-identical.

    With --runs-folder their files are copied from there first.

    Example: peftbench resume lora-r12-1
    """
    from peftbench.cli.naming import look_into, named_runs
    from peftbench.jobs import control
    from peftbench.store.reader import Reader

    look_into(runs_folder)
    where = database(db)
    with Reader(where) as reader:
        chosen = named_runs(reader, runs or ["latest"], control.resumable, "resumed")
    for run in chosen:
        control.resume(where, run, anyway=anyway)
    _follow([run.id for run in chosen], where, detach, db)


def retry(
    runs: OptionalRunNames = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the spec, such as train.batch_size=4."),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Run the specs of runs again from the start, with changes if given; the old runs are kept.

    For a sweep, a preset or a group, only the runs that were stopped, failed or lost are retried.

    Example: peftbench retry lora-r12-1 --set train.lr=3e-4
    """
    from peftbench.cli.naming import named_runs
    from peftbench.jobs import control
    from peftbench.jobs.liveness import state_shown
    from peftbench.store.reader import Reader
    from peftbench.store.rows import RESUMABLE_STATES

    where = database(db)
    with Reader(where) as reader:
        words = runs or ["latest"]
        chosen = named_runs(reader, words, lambda run: state_shown(run) in RESUMABLE_STATES, "retried")
    ids = [control.retry(where, run, overrides or ()) for run in chosen]
    if as_json:
        print_json({"id": ids[0]} if len(ids) == 1 else {"ids": ids})
        return
    _follow(ids, where, detach, db)


def _follow(ids: list[str], where: Path, detach: bool, db: Path | None) -> None:
    """Follow runs until they end, one after another; Ctrl-C stops only the run that is followed now.

    Raises:
        PeftbenchError: a run did not finish; raised after all have been followed.
    """
    from peftbench.cli.run import follow_one, follower, unfinished
    from peftbench.jobs.launch import Launched

    if detach:
        print("\n".join(ids))
        following = command("watch", ids[0], db=db) if len(ids) == 1 else command("queue", db=db)
        print(f"next: {following}", file=sys.stderr)
        return
    ended = []
    for run_id in ids:
        launched = Launched(run_id, where)
        ended.append(follow_one(launched, follower(False)))
        if launched.stops_asked:
            break
    for run in ended:
        if run.state != "finished":
            raise unfinished(run, db)
    show(*(f"next: {command('show', run.name, db=db)}" for run in ended))


def log(
    run: RunName = "latest",
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new lines until the run ends.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", metavar="N", min=0, help="Only the last N existing lines.")
    ] = None,
    db: Database = None,
) -> None:
    """Print the log of a run's worker process.

    Example: peftbench log latest --follow
    """
    from peftbench.jobs.follow import follow
    from peftbench.jobs.logs import Tail
    from peftbench.paths import worker_log
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        stored_run = reader.find(run)
    path = worker_log(where, stored_run.id)
    if not path.exists() and not following:
        show(_no_log(stored_run))
        return
    tail = Tail(path, lines)
    if following:
        for _ in follow(where, stored_run.id):
            _print_lines(tail.new())
    _print_lines(tail.new(last=True))


def _print_lines(lines: list[str]) -> None:
    print("".join(f"{line}\n" for line in lines), end="", flush=True)


def _no_log(run: Run) -> str:
    return f"{clean(run.name)} is {run.state}: its worker log is empty so far"
