"""`peftbench queue`, `stop`, `resume`, `retry` and `log`: runs that go on without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, Json, command, database, print_json, show
from peftbench.cli.runs import RunName
from peftbench.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from peftbench.jobs.launch import Launched
    from peftbench.store.rows import QueueSettings, Run

RunNames = Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, names or unique prefixes.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Do not follow it here.")]


def queue(
    slots: Annotated[
        int | None,
        typer.Option("--slots", metavar="N", min=1, max=64, help="So many runs at once on this machine, from now on."),
    ] = None,
    cooldown: Annotated[
        float | None,
        typer.Option("--cooldown", metavar="S", min=0, max=3600, help="Seconds of rest between two runs on a device."),
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Show what runs and what waits; see that the queue is drained."""
    import dataclasses
    import platform

    from peftbench.analysis.forecast import Wanted, forecast
    from peftbench.jobs.lock import RunnerLock
    from peftbench.jobs.queue import ensure_runner
    from peftbench.report import jsonable
    from peftbench.report.queue import queue_page
    from peftbench.store.reader import Reader
    from peftbench.store.rows import QueueSettings
    from peftbench.store.writer import Writer

    where = database(db)
    said = QueueSettings(slots, cooldown)
    if said != QueueSettings():
        with Writer(where) as writer:
            writer.set_queue(platform.node(), said)
    with Reader(where) as reader:
        active, settings = reader.active(), reader.queue_settings(platform.node())
        progress = {run.id: reader.progress(run.id) for run in active}
        queued = [run for run in active if run.state == "queued"]
        times = forecast([Wanted.of(run) for run in queued], reader.runs(), platform.node())
        predicted = {run.id: time for run, time in zip(queued, times, strict=True)}
    if active:
        ensure_runner(where)
    if as_json:
        print_json(
            {
                "settings": dataclasses.asdict(settings),
                "runner_pid": RunnerLock(where).holder(),
                "runs": [
                    {
                        **jsonable.run_summary(run),
                        "predicted_s": predicted[run.id].wall_s if run.id in predicted else None,
                    }
                    for run in active
                ],
            }
        )
    elif active:
        show(*queue_page(active, progress, predicted), *_settings_lines(settings))
    else:
        show("Nothing runs and nothing waits.", *_settings_lines(settings))


def _settings_lines(settings: QueueSettings) -> Iterator[str]:
    if settings.slots is not None:
        yield f"on this machine {settings.slots} at once"
    if settings.cooldown_s is not None:
        yield f"on this machine {settings.cooldown_s:g} s of rest between two runs on a device"


def stop(
    runs: RunNames,
    now: Annotated[bool, typer.Option("--now", help="Kill it at once; it can go on from its last checkpoint.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it has stopped.")] = False,
    db: Database = None,
) -> None:
    """Stop runs: queued ones at once, others at their next step, with a checkpoint to go on from."""
    from peftbench.jobs import control
    from peftbench.jobs.follow import follow
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        found = [reader.find(reference) for reference in runs]
        for run in found:
            state = control.stop(where, run)
            if state is None:
                show(f"{clean(run.name)} is {run.state} already")
            elif now:
                control.kill(reader.run(run.id))
        for run in found:
            if not detach:
                for _ in follow(where, run.id):
                    pass
            ended = reader.run(run.id)
            show(f"{clean(ended.name)} is {ended.state}" + (f": {clean(ended.reason)}" if ended.reason else ""))


def resume(run: RunName = "latest", detach: Detach = False, db: Database = None) -> None:
    """Go on with a run that was stopped, failed or lost, from its last checkpoint, to the same final bits."""
    from peftbench.jobs import control
    from peftbench.jobs.launch import Launched
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        found = reader.find(run)
    control.resume(where, found)
    _follow(Launched(found.id, where), detach, db)


def retry(
    run: RunName = "latest",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the spec, such as train.batch_size=4."),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Run a run's spec once more from the start, changed where you say so; the old run stays."""
    from peftbench.jobs import control
    from peftbench.jobs.launch import Launched
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        found = reader.find(run)
    run_id = control.retry(where, found, overrides or ())
    if as_json:
        print_json({"id": run_id})
        return
    _follow(Launched(run_id, where), detach, db)


def _follow(launched: Launched, detach: bool, db: Path | None) -> None:
    from peftbench.cli.run import follow_one, follower, unfinished

    if detach:
        print(launched.run_id)
        print(f"next: {command('watch', launched.run_id, db=db)}", file=sys.stderr)
        return
    ended = follow_one(launched, follower(False))
    if ended.state != "finished":
        raise unfinished(ended, db)
    show(f"next: {command('show', ended.name, db=db)}")


def log(
    run: RunName = "latest",
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows, until the run ends.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", metavar="N", min=0, help="Only the last N lines of what is there.")
    ] = None,
    db: Database = None,
) -> None:
    """Print what a run's worker has printed."""
    from peftbench.jobs.follow import follow
    from peftbench.jobs.tail import Tail
    from peftbench.paths import worker_log
    from peftbench.store.reader import Reader

    where = database(db)
    with Reader(where) as reader:
        found = reader.find(run)
    path = worker_log(where, found.id)
    if not path.exists() and not following:
        show(_no_log(found))
        return
    tail = Tail(path, lines)
    if following:
        for _ in follow(where, found.id):
            _print_lines(tail.new())
    _print_lines(tail.new(last=True))


def _print_lines(lines: list[str]) -> None:
    print("".join(f"{line}\n" for line in lines), end="", flush=True)


def _no_log(run: Run) -> str:
    return f"{clean(run.name)} is {run.state}: no worker has printed anything yet"
