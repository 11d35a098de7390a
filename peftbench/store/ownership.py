"""Ownership of a runs folder: a mark in it names its database and is checked before files are changed or deleted.

The mark has the database's id, assigned at creation, and its file name: a copy has the same id and another name.
Folders of earlier versions have no mark, and all databases with the same stem share one: a run's files in it belong
to a database only where no other database beside it has the run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from peftbench.paths import former_runs_folder, run_folder, runs_folder
from peftbench.store.schema import APPLICATION_ID

MARK = "owner.json"
_ID_AT = slice(68, 72)  # bytes of the application id in a SQLite file's header


def claim(database: Path) -> None:
    """Create an existing database's runs folder, and mark it as its own unless another database owns it.

    Raises:
        OSError: it cannot be written.
    """
    folder, database = runs_folder(database), database.resolve()
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if made or not ((folder / MARK).exists() or list(_sharing(folder, database))):
        mark = {"database": _database_id(database), "file": database.name}
        with suppress(FileExistsError), (folder / MARK).open("x", encoding="utf-8") as file:
            file.write(json.dumps(mark) + "\n")


def not_owned(database: Path, run_id: str) -> str | None:
    """Return why a database must not change or delete a run's files; None where it owns them.

    Raises:
        MissingError: the run's id is malformed.
    """
    database, folder = database.resolve(), run_folder(database, run_id).parent
    if not folder.is_dir():
        return None
    try:
        mark = json.loads((folder / MARK).read_text("utf-8"))
        owner, file = str(mark["database"]), str(mark["file"])
    except FileNotFoundError:
        if folder not in (runs_folder(database), former_runs_folder(database)):
            return f"the folder {folder} has no owner mark"
        others = [path.name for path in _sharing(folder, database) if _has_run(path, run_id)]
        return f"{others[0]} beside it has this run too, and may need them" if others else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its owner cannot be read: {folder / MARK}: {error}"
    if owner != _database_id(database):
        return f"its owner is another database, {file}"
    if file != database.name and _database_id(folder.with_name(file)) == owner:
        return f"its owner is {file}, of which this database is a copy"
    return None


def _sharing(folder: Path, database: Path) -> Iterator[Path]:
    """Yield the other databases beside a runs folder that could own it, by its name."""
    for path in sorted(folder.parent.iterdir()):
        if folder.name in (f"{path.name}-runs", f"{path.stem}-runs") and path != database and _is_ours(path):
            yield path


def _is_ours(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    try:
        with path.open("rb") as file:
            return file.read(100)[_ID_AT] == APPLICATION_ID.to_bytes(4, "big")
    except OSError:
        return True  # unknown, so assume that it is


def _has_run(path: Path, run_id: str) -> bool:
    """Tell whether a database has a run; an unreadable database is assumed to have it."""
    try:
        return _query(path, "SELECT id FROM runs WHERE id = ?", run_id) is not None
    except sqlite3.Error:
        return True


def _database_id(path: Path) -> str | None:
    """Return the id assigned to a database; None where it has none, or it cannot be read."""
    try:
        value = _query(path, "SELECT value FROM meta WHERE name = 'database_id'") if path.is_file() else None
    except sqlite3.Error:
        return None
    return None if value is None else str(value)


def _query(path: Path, sql: str, *values: object) -> Any:
    """Return the first value of a query's first row; None where there is no row."""
    alone = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{alone}", uri=True)) as connection:
        row = connection.execute(sql, values).fetchone()
        return None if row is None else row[0]
