"""Advice where a database cannot be written: it depends on the cause."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import StorageError
from peftbench.spec import Resolved
from peftbench.store.rows import QueueSettings
from peftbench.store.transactions import what_helps
from peftbench.store.writer import Writer


def full(connection: sqlite3.Connection) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


def read_only(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")


@pytest.mark.parametrize(("trouble", "hint"), [(full, "free disk space"), (read_only, "permissions")])
def test_advice_depends_on_the_cause(
    trouble: Callable[[sqlite3.Connection], None], hint: str, tmp_path: Path, tiny: Callable[..., Resolved]
) -> None:
    with Writer(tmp_path / "a.db") as writer:
        trouble(writer._connection)
        with pytest.raises(StorageError, match="cannot be written") as caught:
            writer.set_queue("h" * 100_000, QueueSettings(slots=1))
    assert hint in caught.value.hint
    assert ("free disk space" in caught.value.hint) == (hint == "free disk space")


def test_a_lock_of_another_program_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Writer(path) as writer, closing(sqlite3.connect(path, isolation_level=None)) as other:
        writer._connection.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as caught:
            writer.set_queue("host", QueueSettings(slots=1))
    assert "another program holds its lock" in caught.value.hint
    assert "room" not in caught.value.hint


def test_an_error_without_a_code_gets_general_advice() -> None:
    assert (
        what_helps(None) == what_helps(sqlite3.OperationalError("?")) == "check the disk: its free space and its health"
    )
