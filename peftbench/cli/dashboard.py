"""`peftbench` without a command, `serve` and `replay`: the dashboard in the terminal, in browsers, or as a replay."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Ascii, Database, database
from peftbench.cli.runs import RunName
from peftbench.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peftbench.tui.replay import ReplaySource
    from peftbench.tui.source import StateSource

Theme = Annotated[
    str | None,
    typer.Option(
        "--theme",
        metavar="NAME",
        help="Colour theme: textual-dark, textual-light, ansi-dark, ... Default: TEXTUAL_THEME.",
    ),
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Only show runs: no start, stop, delete or export.")]


def dashboard(db: Path | None, theme: str | None, ascii_only: bool, read_only: bool) -> None:
    """Run the dashboard until the user quits."""
    where = database(db)
    _check_terminal()
    _open(where, theme, ascii_only, refused="read-only" if read_only else "")


def replay(
    run: RunName = "latest",
    speed: Annotated[
        float,
        typer.Option("--speed", metavar="N", min=0.01, max=100_000, help="Playback speed as a multiple of real time."),
    ] = 20.0,
    theme: Theme = None,
    ascii_only: Ascii = False,
    db: Database = None,
) -> None:
    """Replay a finished run in the dashboard.

    Example: peftbench replay latest
    """
    from peftbench.errors import UsageError
    from peftbench.store.reader import Reader
    from peftbench.tui.replay import ReplaySource

    where = database(db)
    _check_terminal()
    with Reader(where) as reader:
        stored_run = reader.find(run)
        if stored_run.started_at is None or not stored_run.epochs_done:
            raise UsageError(
                f"run {clean(stored_run.name)} ({stored_run.id}) has no finished epoch to replay",
                "list the runs and their finished epochs: peftbench runs",
            )
        record, samples = reader.record(stored_run), reader.samples(stored_run.id)
        source = ReplaySource(record, samples, speed, points=reader.train_points(stored_run.id))
    _open(where, theme, ascii_only, lambda: source, f"replay x{speed:g}", source)


def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535)] = 8000,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the address in the browser of this machine.")
    ] = False,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Allow browsers to start, stop, delete and export runs.")
    ] = False,
    public_url: Annotated[
        str | None,
        typer.Option("--public-url", metavar="URL", help="The address that browsers use, behind a reverse proxy."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="Another host name to accept in requests.")
    ] = None,
    sessions: Annotated[
        int,
        typer.Option(
            "--sessions", metavar="N", min=1, max=64, help="Maximum number of concurrent sessions (browser tabs)."
        ),
    ] = 4,
    idle_minutes: Annotated[
        float,
        typer.Option(
            "--idle-minutes", metavar="N", min=0, help="End a session after N minutes without input; 0: never."
        ),
    ] = 60.0,
    theme: Theme = None,
    db: Database = None,
) -> None:
    """Serve the dashboard to web browsers at the printed address; read-only unless --allow-actions is given.

    Example: peftbench serve --port 8000
    """
    from peftbench.errors import MissingError
    from peftbench.web.access import access_for, host_in_url, is_everywhere, is_loopback

    where = database(db)
    try:
        from peftbench.web.server import DashboardServer
    except ImportError as error:
        raise MissingError(
            f"the dashboard in a browser needs the package textual-serve: {error}", "pip install 'peftbench[serve]'"
        ) from error
    _check_port(host, port)
    words = [sys.executable, "-P", "-m", "peftbench", "--db", str(where.resolve())]
    if theme is not None:
        words += ["--theme", _known_theme(theme)]
    if not allow_actions:
        words.append("--read-only")
    base = f"http://{host_in_url(host)}:{port}" if public_url is None else _url(public_url)
    door = access_for(host, tuple(_host_name(name) for name in allow_host or ()), None if public_url is None else base)

    def print_next_address() -> None:
        print(
            f"a browser has connected; address for the next one: {base}/?token={door.token}",
            file=sys.stderr,
            flush=True,
        )

    may = "start, stop, delete and export runs" if allow_actions else "only view runs (to change: --allow-actions)"
    print(f"{base}/?token={door.token}", file=sys.stderr)
    print(f"shows {clean(where)} in the first browser that opens the address, which can {may}", file=sys.stderr)
    if is_everywhere(host) and public_url is None:
        print("from another machine: use an IP address of this machine instead", file=sys.stderr)
    if not is_loopback(host):
        print(
            f"warning: {host} is reachable from other machines and the traffic is not encrypted: anyone who can read it"
            " can use the dashboard. An SSH tunnel to 127.0.0.1 is safer.",
            file=sys.stderr,
        )
    print("Ctrl-C stops the server; runs continue", file=sys.stderr, flush=True)
    DashboardServer(
        words,
        door,
        host=host,
        port=port,
        public_url=None if public_url is None else base,
        sessions=sessions,
        idle_s=60 * idle_minutes or None,
        on_token_used=print_next_address,
        opens=f"{base}/?token={door.token}" if open_browser else None,
    ).serve()


def _open(
    where: Path,
    theme: str | None,
    ascii_only: bool,
    source: Callable[[], StateSource] | None = None,
    refused: str = "",
    replayed: ReplaySource | None = None,
) -> None:
    from peftbench.plot import glyphs_for
    from peftbench.tui.app import PeftbenchApp

    glyphs = glyphs_for(sys.stdout.encoding, os.environ.get("TERM"), ascii_only)
    app = PeftbenchApp(where, source, glyphs, refused)
    app.replayed = replayed
    if theme is not None:
        app.theme = _known_theme(theme)
    app.run()
    if app.return_code:
        raise typer.Exit(app.return_code)


def _check_terminal() -> None:
    """Check that standard input and output are a terminal capable of the dashboard, before anything is written to it.

    Raises:
        UsageError: they are not.
    """
    from peftbench.errors import UsageError

    if os.environ.get("TEXTUAL_DRIVER"):  # e.g. the web driver of `serve`
        return
    hint = "without a terminal: peftbench runs lists the runs, peftbench watch --plain follows one; peftbench --help"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the dashboard needs a terminal, but standard input or output is a pipe or a file", hint)
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError(
            f"the dashboard needs a terminal with cursor control, not TERM={os.environ.get('TERM', '')}", hint
        )


def _known_theme(name: str) -> str:
    from textual.theme import BUILTIN_THEMES

    from peftbench.errors import UsageError, did_you_mean

    if name not in BUILTIN_THEMES:
        raise UsageError(
            f"--theme {clean(name)}: no such theme{did_you_mean(name, BUILTIN_THEMES)}",
            f"themes: {', '.join(sorted(BUILTIN_THEMES))}",
        )
    return name


def _check_port(host: str, port: int) -> None:
    """Check that the server can listen on the address.

    Raises:
        UsageError: it cannot.
    """
    import socket

    from peftbench.errors import UsageError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UsageError(
            f"--host {clean(host)} --port {port}: {error.strerror or error}", "choose another port with --port N"
        ) from error


def _url(url: str) -> str:
    """Return a public URL without trailing slashes.

    Raises:
        UsageError: it is not an http(s) URL, or has a query, fragment, user name or invalid port.
    """
    from urllib.parse import urlsplit

    from peftbench.errors import UsageError

    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        valid = valid and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"--public-url {clean(url)}: not the URL of a web page", "such as https://lab.example/runs")
    return url.rstrip("/")


def _host_name(name: str) -> str:
    """Return a host name after checking its syntax.

    Raises:
        UsageError: it is not a host name, for example a URL, a name with a port or a pattern.
    """
    import re

    from peftbench.errors import UsageError

    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", name):
        raise UsageError(f"--allow-host {clean(name)}: not a host name", "without http:// and port: lab.example")
    return name
