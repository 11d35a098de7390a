"""Databases that cannot be written: a colleague's, an archive's, on a read-only mount."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlite_utils import Database

from peftbench.errors import MissingError
from peftbench.store import connection as module
from peftbench.store.connection import FrozenConnection, open_for_reading, open_for_writing
from peftbench.store.health import look
from peftbench.store.reader import Reader
from peftbench.store.schema import APPLICATION_ID, migrations
from peftbench.store.writer import Writer
from peftbench.tui.machine import Machine
from peftbench.tui.source import StoreSource
from peftbench.tui.state import StateRequest
from tests.store.life import Life
from tests.stored import create
from tests.stored import spec_json as spec


@contextmanager
def locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a file and its folder read-only: by their modes, and for root by patching the access check."""
    folder, modes = path.parent, (path.stat().st_mode, path.parent.stat().st_mode)
    path.chmod(0o444)
    folder.chmod(0o555)
    access = os.access
    with monkeypatch.context() as patch:
        if os.geteuid() == 0:
            patch.setattr(module.os, "access", lambda where, mode: not mode & os.W_OK and access(where, mode))
        try:
            yield
        finally:
            folder.chmod(stat.S_IMODE(modes[1]))
            path.chmod(stat.S_IMODE(modes[0]))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A database with a run, closed cleanly, so that there is no -wal file."""
    path = tmp_path / "archive" / "paper.db"
    life = Life(path)
    create(life, "kept")
    life.close()
    assert not path.with_name("paper.db-wal").exists()
    return path


def test_it_is_read_without_creating_files_beside_it(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = archive.read_bytes()
    with locked(archive, monkeypatch), Reader(archive) as reader:
        assert reader.frozen
        assert [run.name for run in reader.runs()] == ["kept"]
        assert reader.find("kept").name == "kept"
        assert [path.name for path in archive.parent.iterdir()] == ["paper.db"]
        assert look(archive).trouble is None
    assert archive.read_bytes() == before


def test_writing_names_the_permissions(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(archive, monkeypatch), pytest.raises(MissingError, match="you have no write permission") as caught:
        Writer(archive)
    assert "-r--r--r--" in caught.value.message
    assert "dr-xr-xr-x" in caught.value.message
    assert "copy it" in caught.value.hint


@pytest.mark.parametrize("folder_too", [True, False])
def test_a_file_alone_that_cannot_be_written(archive: Path, monkeypatch: pytest.MonkeyPatch, folder_too: bool) -> None:
    with locked(archive, monkeypatch):
        if not folder_too:
            archive.parent.chmod(0o755)
        connection = open_for_reading(archive)
        assert isinstance(connection, FrozenConnection)
        connection.close()


def test_changes_in_the_wal_are_never_ignored(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen connection would not see it: either SQLite reads it, or an error explains why not."""
    life = Life(archive)
    create(life, "newest")
    assert archive.with_name("paper.db-wal").stat().st_size > 0
    with locked(archive, monkeypatch), Reader(archive) as reader:
        assert not reader.frozen
        assert {run.name for run in reader.runs()} == {"kept", "newest"}
    life.close()


def test_a_wal_that_cannot_be_read_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(archive)
    create(life, "newest")
    copy = archive.parent / "copy" / "paper.db"
    copy.parent.mkdir()
    for name in ("paper.db", "paper.db-wal"):
        shutil.copy(archive.with_name(name), copy.with_name(name))
    life.close()

    class Refusing(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if sql.startswith("SELECT count"):
                raise sqlite3.OperationalError("unable to open database file")
            return super().execute(sql, *values)

    connect = sqlite3.connect
    with locked(copy, monkeypatch), monkeypatch.context() as patch:
        patch.setattr(module.sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "factory": Refusing}))
        with pytest.raises(MissingError, match=r"paper\.db-wal") as caught:
            open_for_reading(copy)
    assert "dr-xr-xr-x" in caught.value.message
    assert "copy it together with paper.db-wal" in caught.value.hint


def test_a_file_that_cannot_be_read_names_its_permissions(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.chmod(0o000)
    plain = Path.open

    def refusing(self: Path, *rest: object, **more: object) -> object:
        if self == archive:
            raise PermissionError(13, "Permission denied")
        return plain(self, *rest, **more)

    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(MissingError, match="Permission denied") as caught:
        open_for_reading(archive)
    archive.chmod(0o644)
    assert "----------" in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_file_modes_for_an_unprivileged_user(archive: Path) -> None:
    archive.parent.chmod(0o555)
    try:
        with Reader(archive) as reader:
            assert [run.name for run in reader.runs()] == ["kept"]
        with pytest.raises(MissingError, match="you have no write permission"):
            Writer(archive)
    finally:
        archive.parent.chmod(0o755)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of the third version, with a run."""
    path = tmp_path / "old" / "paper.db"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    migrations().apply(Database(connection), stop_before="0004_many_runs")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 3")
    connection.execute(
        "INSERT INTO runs (id, name, state, state_at, preset, workload, method, encoder, seed, spec_json, spec_hash,"
        " group_hash, origins, epochs_planned, created_at) VALUES ('abcd2345', 'old-1', 'finished',"
        " '2026-01-01T10:00:00.000Z', 'p', 'w', 'lora', 'e', 0, ?, 's', 'g', '{}', 1, '2026-01-01T10:00:00.000Z')",
        (spec(),),
    )
    connection.commit()
    connection.close()
    return path


def test_an_older_one_is_migrated_in_memory(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old.read_bytes()
    with locked(old, monkeypatch), Reader(old) as reader:
        assert reader.frozen
        assert [run.name for run in reader.runs()] == ["old-1"]
        assert reader.changed(0)[1] == ["abcd2345"]
    assert old.read_bytes() == before


def test_an_older_one_that_is_too_large_needs_a_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_COPY", 10)
    with locked(old, monkeypatch), pytest.raises(MissingError, match="an older peftbench wrote it") as caught:
        Reader(old)
    assert "copy it into a folder of your own" in caught.value.hint


def test_an_older_writable_one_is_migrated_on_disk(old: Path) -> None:
    with Reader(old) as reader:
        assert not reader.frozen
        assert [run.name for run in reader.runs()] == ["old-1"]
    with closing(sqlite3.connect(old)) as connection:
        (made,) = connection.execute("SELECT value FROM meta WHERE name = 'database_id'").fetchone()
        assert len(made) == 32
        assert connection.execute("SELECT run_id FROM run_changes").fetchall() == [("abcd2345",)]


def test_the_dashboard_sees_that_it_was_replaced_in_place(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(archive, monkeypatch):
        source = StoreSource(archive, Machine)
        assert [line.run.name for line in source.look(StateRequest()).lines] == ["kept"]
    with closing(open_for_writing(archive)) as connection:
        connection.execute("UPDATE runs SET name = 'renamed'")
    os.utime(archive, ns=(1, 1))
    with locked(archive, monkeypatch):
        assert [line.run.name for line in source.look(StateRequest()).lines] == ["renamed"]
    source.close()
