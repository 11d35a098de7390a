"""`peftbench watch`: follow a run that is going on, without having any hold on it."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, console, database
from peftbench.errors import EXIT_FAILED, EXIT_INTERRUPTED
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.cli.progress import Follower
    from peftbench.jobs.launch import Update
    from peftbench.store.rows import Run

ENDED = ("finished", "failed", "interrupted")
_POLL_S = 0.25


def watch(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="An id, a name, a unique prefix, or latest; else the newest going on."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="A line an epoch: no picture, no escape sequences.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="S", min=0.05, max=60, help="Seconds between two pictures.")
    ] = _POLL_S,
    db: Database = None,
) -> None:
    """Watch a run until it has ended; the exit code is the run's. Ctrl-C leaves the run alone.

    Example: peftbench watch lora-r12-1
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the terminal's encoding lacks is no reason to stop
    where = database(db)
    watched = _chosen(where, run)
    try:
        with _leaving_on_signals():
            last = _follow_with(_follower(where, plain, ascii_only, interval), where, watched)
    except KeyboardInterrupt:
        again, stop = (
            shlex.join(["peftbench", word, clean(watched.name), *(["--db", str(db)] if db else [])])
            for word in ("watch", "stop")
        )
        print(f"the run goes on: {again}; stop it: {stop}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _leave_as(last.run, db)


def _chosen(where: Path, reference: str | None) -> Run:
    """Return the run to watch.

    Raises:
        MissingError: there is none, or none is going on and none was named.
        UsageError: the name fits several.
    """
    from peftbench.errors import MissingError
    from peftbench.jobs.liveness import state_shown
    from peftbench.store.reader import Reader

    with Reader(where) as reader:
        if reference is not None:
            return reader.find(reference)
        active = [run for run in reader.runs() if run.state not in ENDED and state_shown(run) != "lost"]
    if not active:
        raise MissingError(
            f"no run is going on in {where}",
            "name one that has ended (peftbench runs lists them), or start one: peftbench run --preset lora-r12",
        )
    return next((run for run in active if run.state == "running"), active[0])


def _follower(where: Path, plain: bool, ascii_only: bool, interval_s: float) -> Follower:
    from peftbench.cli.progress import LineFollower

    out = console()
    if plain or not sys.stdout.isatty() or out.is_dumb_terminal:
        return LineFollower()
    from peftbench.cli.live import LiveFollower
    from peftbench.plot import glyphs_for

    return LiveFollower(out, where, glyphs_for(out.encoding, os.environ.get("TERM"), ascii_only), interval_s)


def _follow_with(follower: Follower, where: Path, watched: Run) -> Update:
    last: Update | None = None
    try:
        for update in _follow(where, watched.id):
            follower.take(update, first=last is None)
            last = update
    finally:
        follower.close()
    assert last is not None
    if last.run.state in ENDED:
        follower.end(last)
    return last


# To be replaced by `from peftbench.jobs.follow import follow as _follow`, in the body of `_follow_with`.
def _follow(where: Path, run_id: str) -> Iterator[Update]:
    """Yield what is new of a run several times a second until it has ended or its worker is lost."""
    from peftbench.jobs.launch import Update
    from peftbench.jobs.liveness import state_shown
    from peftbench.store.reader import Reader

    with Reader(where) as reader:
        record, seen = reader.record(reader.run(run_id)), 0
        while True:
            run = reader.run(run_id)
            if run.epochs_done > seen or run.state != record.run.state:
                record = reader.record(run)
            new = tuple(epoch for epoch in record.epochs if epoch.epoch > seen)
            seen = max([seen, *(epoch.epoch for epoch in new)])
            yield Update(run, reader.progress(run_id), new, record)
            if run.state in ENDED or state_shown(run) == "lost":
                return
            time.sleep(_POLL_S)


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """Leave in order on SIGTERM and SIGHUP too, so that the terminal gets its cursor back."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    earlier = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _leave_as(run: Run, db: Path | None) -> None:
    """Leave with the run's exit code.

    Raises:
        PeftbenchError: the run failed, was interrupted or is lost; with its exit code.
    """
    from peftbench.errors import PeftbenchError

    if run.state == "finished":
        return
    state, reason = (run.state, run.reason) if run.state in ENDED else ("lost", "its worker died without a word")
    show = shlex.join(["peftbench", "show", clean(run.name), *(["--db", str(db)] if db else [])])
    error = PeftbenchError(f"run {run.name} ({run.id}) {state}: {reason}", f"what it left: {show}")
    error.exit_code = run.exit_code or EXIT_FAILED
    raise error
