"""What the commands share: options, the console, JSON, errors."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.errors import PeftbenchError
from peftbench.text import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from peftbench.report.sheet import Page

Database = Annotated[
    Path | None,
    typer.Option("--db", metavar="FILE", help="The database; else PEFTBENCH_DB, else the platform's data folder."),
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write one HTML file that opens without a network.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print a line a figure.")]
Plain = Annotated[bool, typer.Option("--plain", help="No colours, 80 columns.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="Draw charts and signs with ASCII characters only.")]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="[TASK=]DIR", help="The folder of the workload's files, for all tasks or one."),
]


def database(given: Path | None) -> Path:
    """Return the database that a command works on."""
    from peftbench.paths import default_database

    return given if given is not None else default_database()


def console(plain: bool = False) -> Console:
    """Return a console; 100 columns where the output is no terminal, so that tables are not folded to death.

    A plain one has 80 columns and no colours wherever it prints.
    """
    from rich.console import Console

    width = 80 if plain else None if sys.stdout.isatty() else 100
    colours: Literal["auto"] | None = None if plain else "auto"
    return Console(highlight=False, markup=False, emoji=False, width=width, color_system=colours)


def show(*parts: RenderableType, plain: bool = False) -> None:
    """Print renderables on standard output, without trailing blanks where it is no terminal."""
    out = console(plain)
    if out.is_terminal and not plain:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str))
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str))  # a path or command must not be folded
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def calm_numpy() -> None:
    """Keep numpy, which is not loaded yet, to one thread: its pool of threads costs more than small matrices gain."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def one_format(command: str, asked: Mapping[str, bool]) -> str | None:
    """Return the format that was asked for, if any.

    Raises:
        UsageError: several were.
    """
    from peftbench.errors import UsageError

    wanted = [name for name, given in asked.items() if given]
    if len(wanted) > 1:
        raise UsageError(f"{command} prints one format at a time, not {' and '.join(f'--{name}' for name in wanted)}")
    return wanted[0] if wanted else None


def print_page(page: Page, written: str | None, plain: bool) -> None:
    """Print a page in a format (None: for a terminal)."""
    if written is not None:
        from peftbench.report.formats import FORMATS

        print(FORMATS[written](page), end="")
        return
    from peftbench.report.terminal import Screen

    show(Screen(page), plain=plain)


def command(*words: str, db: Path | None) -> str:
    """Return a command as the user would type it, on the same database; names are cleaned."""
    return clean(shlex.join(["peftbench", *words, *(["--db", str(db)] if db else [])]))


def write_file(option: str, path: Path, content: str | bytes) -> None:
    """Write a file that a user asked for, and say where it is.

    Raises:
        MissingError: it cannot be written there.
    """
    from peftbench.errors import MissingError

    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise MissingError(f"{option} {clean(path)}: cannot be written: {error.strerror or error}") from error
    print(f"written: {clean(path)}")


def print_json(value: Any) -> None:
    """Print a value as indented JSON; characters that a terminal would act on stay escaped."""
    print(json.dumps(value, indent=2))


def print_error(error: PeftbenchError) -> None:
    """Print an error's message and hint on standard error, cleaned line by line."""
    first, *more = [clean(line) for line in error.message.splitlines()] or [""]
    print(f"error: {first}", *(f"       {line}" for line in more), sep="\n", file=sys.stderr)
    if error.hint:
        print(f"  hint: {clean(error.hint)}", file=sys.stderr)
