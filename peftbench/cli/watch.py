"""`peftbench watch`: follow an active run without affecting it."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Database, command, console, database
from peftbench.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from peftbench.cli.progress import Follower
    from peftbench.store.rows import Run

_POLL_S = 0.25


def watch(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="An id, name, unique prefix or latest. Default: the newest active run."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line per epoch: no charts, no escape sequences.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="S", min=0.05, max=60, help="Seconds between redraws.")
    ] = _POLL_S,
    db: Database = None,
) -> None:
    """Watch a run until it has ended; the exit code is the run's. Ctrl-C does not stop the run.

    Example: peftbench watch lora-r12-1
    """
    from peftbench.cli.run import unfinished
    from peftbench.jobs.follow import follow

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # characters that the terminal cannot encode must not abort
    where = database(db)
    watched = _chosen(where, run)
    try:
        with _leaving_on_signals():
            ended = _follower(where, plain, ascii_only, interval).follow(follow(where, watched.id, _POLL_S))
    except KeyboardInterrupt:
        again, stop = (command(word, watched.name, db=db) for word in ("watch", "stop"))
        print(f"the run continues; watch it again: {again}; stop it: {stop}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if ended.state != "finished":
        raise unfinished(ended, db)


def _chosen(where: Path, reference: str | None) -> Run:
    """Return the run to watch.

    Raises:
        MissingError: no such run; or none was named and no run is active or queued.
        UsageError: the name is ambiguous.
    """
    from peftbench.errors import MissingError
    from peftbench.store.reader import Reader

    with Reader(where) as reader:
        if reference is not None:
            return reader.find(reference)
        active = reader.active()
    if not active:
        raise MissingError(
            f"no active run in {where}",
            "name a finished run (peftbench runs lists them), or start one: peftbench run --preset lora-r12",
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


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """Exit cleanly on SIGTERM and SIGHUP too, so that the terminal's cursor is restored."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    earlier = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
