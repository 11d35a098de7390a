"""`peftbench` alone, `peftbench serve`, `peftbench replay`: the dashboard, in a browser too, and of a finished run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Ascii, Database, database
from peftbench.cli.runs import RunName

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peftbench.tui.source import Source

Theme = Annotated[
    str | None,
    typer.Option(
        "--theme", metavar="NAME", help="Colours: textual-dark, textual-light, ansi-dark, ...; else TEXTUAL_THEME."
    ),
]


def dashboard(db: Path | None, theme: str | None, ascii_only: bool) -> None:
    """Open the dashboard until the user leaves it."""
    where = database(db)
    _check_terminal()
    _open(where, theme, ascii_only)


def replay(
    run: RunName = "latest",
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", min=0.01, max=100_000, help="So many times as fast as it was.")
    ] = 20.0,
    theme: Theme = None,
    ascii_only: Ascii = False,
    db: Database = None,
) -> None:
    """Play a finished run again in the dashboard, as it went."""
    from peftbench.errors import UsageError
    from peftbench.store.reader import Reader
    from peftbench.text import clean
    from peftbench.tui.replay import ReplaySource

    where = database(db)
    _check_terminal()
    with Reader(where) as reader:
        found = reader.find(run)
        if found.started_at is None or not found.epochs_done:
            raise UsageError(
                f"run {clean(found.name)} ({found.id}) has no finished epoch to play again",
                "peftbench runs lists those that have",
            )
        record, samples = reader.record(found), reader.samples(found.id)
    _open(where, theme, ascii_only, lambda: ReplaySource(record, samples, speed), f"replay x{speed:g}")


def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535)] = 8000,
    theme: Theme = None,
    db: Database = None,
) -> None:
    """Show the dashboard in a browser. There is no login: whoever reaches the address can start and delete runs."""
    import shlex

    from peftbench.errors import MissingError

    where = database(db)
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise MissingError(
            f"the dashboard in a browser needs the package textual-serve: {error}", "pip install 'peftbench[serve]'"
        ) from error
    _check_port(host, port)
    words = [sys.executable, "-P", "-m", "peftbench", "--db", str(where.resolve())]
    if theme is not None:
        words += ["--theme", _known_theme(theme)]
    print(f"http://{host}:{port} shows {where}; Ctrl-C ends it, the runs go on", file=sys.stderr)
    if not _is_loopback(host):
        print(
            f"warning: there is no login, and {host} can be reached from other machines: whoever does can start, stop"
            " and delete runs and read their logs. An SSH tunnel to 127.0.0.1 is safer.",
            file=sys.stderr,
        )
    Server(shlex.join(words), host=host, port=port, title="peftbench").serve()


def _open(
    where: Path, theme: str | None, ascii_only: bool, source: Callable[[], Source] | None = None, showing: str = ""
) -> None:
    from peftbench.plot import glyphs_for
    from peftbench.tui.app import PeftbenchApp

    glyphs = glyphs_for(sys.stdout.encoding, os.environ.get("TERM"), ascii_only)
    app = PeftbenchApp(where, source, glyphs, showing)
    if theme is not None:
        app.theme = _known_theme(theme)
    app.run()
    if app.return_code:
        raise typer.Exit(app.return_code)


def _check_terminal() -> None:
    """See that there is a terminal that can show it, before anything is written into it.

    Raises:
        UsageError: there is none.
    """
    from peftbench.errors import UsageError

    if os.environ.get("TEXTUAL_DRIVER"):  # a browser's, say
        return
    hint = "without a screen: peftbench runs lists the runs, peftbench watch --plain follows one; peftbench --help"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the dashboard needs a terminal, and this is a pipe or a file", hint)
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError(
            f"the dashboard needs a terminal that can move its cursor, not TERM={os.environ.get('TERM', '')}", hint
        )


def _known_theme(name: str) -> str:
    from textual.theme import BUILTIN_THEMES

    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    if name not in BUILTIN_THEMES:
        raise UsageError(
            f"--theme {clean(name)}: no such theme{did_you_mean(name, BUILTIN_THEMES)}",
            f"themes: {', '.join(sorted(BUILTIN_THEMES))}",
        )
    return name


def _check_port(host: str, port: int) -> None:
    """See that the address can be listened on.

    Raises:
        UsageError: it cannot.
    """
    import socket

    from peftbench.errors import UsageError
    from peftbench.text import clean

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise UsageError(
            f"--host {clean(host)} --port {port}: {error.strerror or error}", "choose another with --port N"
        ) from error


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
