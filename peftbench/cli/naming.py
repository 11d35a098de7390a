"""Resolve command arguments to runs; a word may name several: a sweep label, a preset, a group hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from peftbench.store.listing import Listed
    from peftbench.store.reader import Reader
    from peftbench.store.rows import Run

RunNames = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Ids, names, unique prefixes; or sweeps, presets, group hashes (all runs)."),
]
OptionalRunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN...]",
        help="Ids, names, unique prefixes, or latest (the default); or sweeps, presets, group hashes.",
    ),
]
RunsFolder = Annotated[
    Path | None,
    typer.Option(
        "--runs-folder",
        metavar="DIR",
        help="Folder of the runs' files, if not beside the database. Default: PEFTBENCH_RUNS_FOLDER.",
    ),
]
MOST_TITLES = 20


def named_runs(reader: Reader, words: Sequence[str], suits: Callable[[Run], bool], can_be: str) -> list[Run]:
    """Return the runs that words name, each once, in the order in which they were queued.

    A word that names a single run always selects it; of several runs, only those that `suits` accepts are selected.

    Args:
        reader: reader of the database.
        words: the arguments as typed.
        suits: whether the command applies to a run.
        can_be: past participle of the action, for messages, such as `stopped`.

    Raises:
        MissingError: a word matches no run.
        UsageError: a word is ambiguous, or matches several runs none of which is suitable.
        DataError: the row of a single named run cannot be read.
    """
    from peftbench.errors import UsageError
    from peftbench.store.listing import readable
    from peftbench.store.rows import Run
    from peftbench.text import clean

    chosen: dict[str, Run] = {}
    for word in words:
        listed = reader.matching(word)
        runs = [run for run in reversed(listed) if isinstance(run, Run) and suits(run)] if len(listed) > 1 else None
        if runs is None:
            runs = [readable(listed[0])]
        if not runs:
            raise UsageError(f"'{clean(word)}' names {len(listed)} runs, none of which can be {can_be}")
        chosen.update((run.id, run) for run in runs)
    return list(chosen.values())


def named_for_deletion(reader: Reader, words: Sequence[str]) -> list[Listed]:
    """Return all runs that words name, each once, including unreadable rows; raises the errors of `named_runs`."""
    return list({run.id: run for word in words for run in reader.matching(word)}.values())


def look_into(runs_folder: Path | None) -> None:
    """Also search this folder for runs' files, for the rest of the process.

    Raises:
        MissingError: the folder does not exist.
    """
    from peftbench.errors import MissingError
    from peftbench.text import clean

    if runs_folder is None:
        return
    if not runs_folder.is_dir():
        raise MissingError(
            f"--runs-folder {clean(runs_folder)}: no such folder",
            "it must hold one folder for each run, named by its id",
        )
    os.environ["PEFTBENCH_RUNS_FOLDER"] = str(runs_folder.resolve())


def files_of(database: Path, run: Run) -> Path:
    """Return the folder of a run's weights.

    Raises:
        MissingError: it does not exist; the message names the expected path and the remedies.
    """
    from peftbench.errors import MissingError
    from peftbench.paths import run_folder, runs_folder
    from peftbench.text import clean

    folder = run_folder(database, run.id)
    if not folder.is_dir():
        raise MissingError(
            f"run {clean(run.name)} ({run.id}): its files are missing, expected in {clean(folder)}",
            "if the database was renamed, moved or copied, its folder must move with it and be called "
            f"{clean(runs_folder(database).name)}; or give the folder with --runs-folder DIR",
        )
    return folder


def titles(runs: Sequence[Listed]) -> Iterator[Text | str]:
    """Yield the title of each run, at most the first `MOST_TITLES`."""
    from peftbench.report import tables

    yield from (tables.listed_title(run) for run in runs[:MOST_TITLES])
    if len(runs) > MOST_TITLES:
        yield f"… and {len(runs) - MOST_TITLES} more"
