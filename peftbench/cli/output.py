"""Shared by the commands: common options, console output, JSON, error messages."""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.errors import PeftbenchError
from peftbench.text import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from peftbench.report.page import Page

Database = Annotated[
    Path | None,
    typer.Option("--db", metavar="FILE", help="The database. Default: PEFTBENCH_DB, else in the user data folder."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, one value per line.")]
Plain = Annotated[bool, typer.Option("--plain", help="No colours, 80 columns.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="Draw charts and symbols with ASCII characters only.")]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="[TASK=]DIR", help="Folder of the workload's files, for all tasks or for one."),
]


Anyway = Annotated[
    bool, typer.Option("--anyway", help="Proceed although the encoder, data or weights differ from the run's.")
]


def database(given: Path | None) -> Path:
    """Return the path of the database: the option's value, or the default."""
    from peftbench.paths import default_database

    return given if given is not None else default_database()


def console(plain: bool = False) -> Console:
    """Return a console; 100 columns if the output is not a terminal, so that tables are not wrapped.

    A plain console always has 80 columns and no colours.
    """
    from rich.console import Console

    width = 80 if plain else None if sys.stdout.isatty() else 100
    colours: Literal["auto"] | None = None if plain else "auto"
    return Console(highlight=False, markup=False, emoji=False, width=width, color_system=colours)


def show(*parts: RenderableType, plain: bool = False) -> None:
    """Print renderables on standard output, without trailing spaces if it is not a terminal."""
    out = console(plain)
    if out.is_terminal and not plain:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str))
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str))  # paths and commands must not be wrapped
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def calm_numpy() -> None:
    """Limit OpenBLAS to one thread, before numpy is imported: its thread pool slows down small matrices."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def one_format(command: str, asked: Mapping[str, bool]) -> str | None:
    """Return the requested output format, or None.

    Raises:
        UsageError: more than one was requested.
    """
    from peftbench.errors import UsageError

    chosen = [name for name, given in asked.items() if given]
    if len(chosen) > 1:
        raise UsageError(f"{command} prints one format at a time, not {' and '.join(f'--{name}' for name in chosen)}")
    return chosen[0] if chosen else None


def print_page(page: Page, written: str | None, plain: bool) -> None:
    """Print a page in a text format, or for the terminal if `written` is None."""
    if written is not None:
        from peftbench.report.formats.text import FORMATS

        print(FORMATS[written](page), end="")
        return
    from peftbench.report.formats.terminal import Screen

    show(Screen(page), plain=plain)


def command(*words: str, db: Path | None) -> str:
    """Return a shell command on the same database, quoted and with control characters removed."""
    return clean(shlex.join(["peftbench", *words, *(["--db", str(db)] if db else [])]))


def write_file(option: str, path: Path, content: str | bytes) -> None:
    """Write a file requested by an option, and print its path.

    Raises:
        MissingError: it cannot be written.
    """
    from peftbench.errors import MissingError

    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise MissingError(f"{option} {clean(path)}: cannot be written: {error.strerror or error}") from error
    print(f"written: {clean(path)}")


def print_json(value: Any) -> None:
    """Print a value as indented JSON; non-ASCII and control characters are escaped."""
    print(json.dumps(value, indent=2))


def print_json_array(values: Iterable[Any]) -> None:
    """Print values as an indented JSON array, streaming each element."""
    start = "[\n"
    for value in values:
        print(start + textwrap.indent(json.dumps(value, indent=2), "  "), end="")
        start = ",\n"
    print("[]" if start == "[\n" else "\n]")


def print_error(error: PeftbenchError) -> None:
    """Print an error's message and hint on standard error, with control characters removed line by line."""
    first, *more = [clean(line) for line in error.message.splitlines()] or [""]
    print(f"error: {first}", *(f"       {line}" for line in more), sep="\n", file=sys.stderr)
    if error.hint:
        print(f"  hint: {clean(error.hint)}", file=sys.stderr)
