"""Opening the file: created once and migrated; files of others are refused and left unchanged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peftbench.errors import MissingError, StorageError
from peftbench.store import connection as module
from peftbench.store.connection import open_for_reading, open_for_writing
from peftbench.store.reader import Reader
from peftbench.store.schema import APPLICATION_ID, SCHEMA_VERSION
from peftbench.store.writer import Writer

ROOT = Path(__file__).parents[2]
OPENERS = {"reading": open_for_reading, "writing": open_for_writing}


def made(path: Path) -> Path:
    open_for_writing(path).close()
    return path


def pragma(path: Path, name: str) -> object:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]
    finally:
        connection.close()


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def refused(path: Path, opener: Callable[[Path], object]) -> str:
    """Return the error message; the file must be unchanged, byte for byte."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(MissingError) as caught:
        opener(path)
    assert before == (path.read_bytes() if path.is_file() else None)
    assert "--db FILE" in (caught.value.hint or "")
    assert str(path) in caught.value.message
    return caught.value.message


def test_a_new_file_has_our_id_and_wal_mode_and_its_folder_is_created(tmp_path: Path) -> None:
    path = made(tmp_path / "new" / "folder" / "runs.db")
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "user_version") == SCHEMA_VERSION
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "integrity_check") == "ok"


def test_opening_again_changes_no_schema(tmp_path: Path) -> None:
    def schema(path: Path) -> list[tuple[str, str]]:
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        connection.close()
        return rows

    path = made(tmp_path / "runs.db")
    first = schema(path)
    assert schema(made(path)) == first
    assert {"runs", "epochs", "scores", "best_scores", "curves", "resources", "groups"} <= {name for name, _ in first}


def test_a_missing_or_empty_file_reads_as_no_database_and_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    assert open_for_reading(path) is None
    assert not path.exists()
    path.touch()
    assert open_for_reading(path) is None
    assert path.stat().st_size == 0


def test_a_reader_of_a_missing_file_has_no_runs_and_creates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "runs.db"
    with Reader(path) as reader:
        assert reader.runs() == []
        assert reader.progress("x") is None
        with pytest.raises(MissingError, match="there are no runs yet") as caught:
            reader.find("latest")
        with pytest.raises(MissingError, match="there is no run x"):
            reader.run("x")
    assert "peftbench run" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_was_opened_for_reading_cannot_be_written(tmp_path: Path) -> None:
    connection = open_for_reading(made(tmp_path / "runs.db"))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM runs")
    connection.close()


@pytest.mark.parametrize("name", ["what? #1 100%.db", "ünï cöde 日本.db", "a&mode=memory;b=[c].db", "%41.db"])
def test_a_name_with_characters_that_a_uri_gives_meaning(tmp_path: Path, name: str) -> None:
    path = made(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(("-wal", "-shm"))] == [name]
    open_for_reading(path).close()


def test_a_relative_name_is_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(Path("runs.db"))
    assert (tmp_path / "runs.db").is_file()
    open_for_reading(Path("runs.db")).close()


@pytest.mark.parametrize("mode", OPENERS)
class TestRefused:
    def test_a_newer_version(self, tmp_path: Path, mode: str) -> None:
        path = made(tmp_path / "runs.db")
        change(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "CREATE TABLE invented_later (x)")
        message = refused(path, OPENERS[mode])
        assert f"newer peftbench (schema {SCHEMA_VERSION + 1}, this one supports {SCHEMA_VERSION})" in message

    @pytest.mark.parametrize(
        "theirs", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 7", "PRAGMA application_id = 7"]
    )
    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_another_programs_database(self, tmp_path: Path, mode: str, theirs: str, journal: str) -> None:
        path = tmp_path / "theirs.db"
        change(path, f"PRAGMA journal_mode = {journal}", theirs)
        assert "another program's SQLite database" in refused(path, OPENERS[mode])

    @pytest.mark.parametrize("content", [b"not a database at all", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_file_that_is_not_a_database(self, tmp_path: Path, mode: str, content: bytes) -> None:
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        assert "is not a readable database" in refused(path, OPENERS[mode])

    def test_a_folder(self, tmp_path: Path, mode: str) -> None:
        refused(tmp_path, OPENERS[mode])
        assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "runs.db"
    assert open_for_reading(path) is None
    with pytest.raises(MissingError, match="database folder") as caught:
        open_for_writing(path)
    assert "--db FILE" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    refused(folder / "runs.db", open_for_writing)
    refused(folder / "deeper" / "runs.db", open_for_writing)


def test_a_half_made_database_is_finished_not_refused(tmp_path: Path) -> None:
    """The process that created the schema was killed before the commit: nothing of it remains."""
    path = tmp_path / "runs.db"
    change(path, "PRAGMA journal_mode = wal")
    open_for_writing(path).close()
    assert pragma(path, "user_version") == SCHEMA_VERSION


@pytest.mark.parametrize("mode", OPENERS)
@pytest.mark.parametrize("moment", ["PRAGMA application_id", "PRAGMA user_version", "SELECT count(*)"])
def test_a_database_created_concurrently_during_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, moment: str
) -> None:
    """Another program may create the schema between two statements of the check; the file is still accepted."""
    path = tmp_path / "runs.db"
    path.touch()
    connect = sqlite3.connect

    class Overtaken(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            cursor = super().execute(sql, *values)
            if sql.startswith(moment) and path.stat().st_size == 0:
                fetched = cursor.fetchall()[0]
                monkeypatch.setattr(module.sqlite3, "connect", connect)
                open_for_writing(path).close()
                return connect(":memory:").execute("SELECT ?", fetched)
            return cursor

    monkeypatch.setattr(module.sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "factory": Overtaken}))
    opened = OPENERS[mode](path)
    if opened is not None:
        opened.close()
    assert pragma(path, "user_version") == SCHEMA_VERSION


CREATE = """
import json, sys, time
from pathlib import Path
from peftbench.store.writer import NewRun, Writer
spec = {"preset": "p", "workload": "w", "method": {"name": "full"}, "encoder": {"name": "e"}, "seed": 0,
        "train": {"epochs": 1}, "tasks": []}
print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[1:]:
    with Writer(Path(path)) as writer:
        writer.create_runs([NewRun(json.dumps(spec), "s", "g", {})])
"""


@pytest.mark.slow
def test_four_processes_create_the_same_database_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.db" for n in range(5)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert said == [""] * 4
    assert [worker.returncode for worker in workers] == [0] * 4
    for path in paths:
        assert pragma(path, "integrity_check") == "ok"
        with Reader(path) as reader:
            assert sorted(run.name for run in reader.runs()) == ["p-1", "p-2", "p-3", "p-4"]


def test_a_reader_sees_whole_transactions_while_another_connection_writes(tmp_path: Path) -> None:
    path = made(tmp_path / "runs.db")
    with Reader(path) as reader:
        other = open_for_writing(path)
        other.execute("BEGIN IMMEDIATE")
        other.execute(
            "INSERT INTO runs (id, name, state, preset, workload, method, encoder, seed, spec_json, spec_hash,"
            " group_hash, origins, epochs_planned, created_at, state_at)"
            " VALUES ('i', 'n', 'starting', 'p', 'w', 'm', 'e', 0, '{\"tasks\": []}', 's', 'g', '{}', 1,"
            " '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')"
        )
        assert reader.runs() == []
        other.execute("COMMIT")
        assert [run.id for run in reader.runs()] == ["i"]
        other.close()


def test_a_writer_waits_for_another_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "runs.db")
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    blocker = open_for_writing(path)
    blocker.execute("BEGIN IMMEDIATE")
    with Writer(path) as writer, Reader(path) as reader:
        assert reader.runs() == []  # a reader does not wait
        with pytest.raises(StorageError, match="locked"):
            writer.request_stop("x")
        blocker.execute("ROLLBACK")
        writer.request_stop("x")
    blocker.close()


class Switching:
    """A connection that collides with another one switching to WAL, a few times."""

    def __init__(self, times: int, code: int) -> None:
        self.times, self.code = times, code

    def execute(self, statement: str) -> None:
        assert statement == "PRAGMA journal_mode = WAL"
        if self.times:
            self.times -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error


def test_a_concurrent_switch_to_wal_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWITCH_AGAIN_S", 0)
    busy = Switching(5, sqlite3.SQLITE_BUSY)
    module._use_wal(busy)
    assert busy.times == 0
    with pytest.raises(sqlite3.OperationalError):
        module._use_wal(Switching(1, sqlite3.SQLITE_READONLY))
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0)
    with pytest.raises(sqlite3.OperationalError):
        module._use_wal(Switching(100_000, sqlite3.SQLITE_BUSY))
