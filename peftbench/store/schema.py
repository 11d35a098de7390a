"""The schema: numbered SQL migrations, with views for interactive queries.

A released migration is never changed; a new one is added after it. `user_version` is the number of the last one,
`application_id` identifies a SQLite file as peftbench's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

APPLICATION_ID = 0x50454654  # "PEFT"

_FOLDER = Path(__file__).parent / "migrations"
SCHEMA_VERSION = max(int(path.name.partition("_")[0]) for path in _FOLDER.glob("[0-9]*.sql"))


def migrations() -> Migrations:
    """Return all migrations, in order. They are applied with foreign keys off, since tables are rebuilt."""
    from sqlite_utils.migrations import Migrations

    migration = Migrations("peftbench")
    for path in sorted(_FOLDER.glob("[0-9]*.sql")):
        migration(name=path.stem)(partial(_apply, path.read_text("utf-8")))
    return migration


def _apply(statements: str, db: Database) -> None:
    for statement in statements.split(";\n\n"):
        db.execute(statement)
