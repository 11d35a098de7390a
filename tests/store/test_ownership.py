"""Ownership of a run's files: nothing that another database may need is deleted or overwritten."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.jobs.control import resume
from peftbench.jobs.removal import remove
from peftbench.paths import former_runs_folder, run_folder, runs_folder
from peftbench.store.ownership import MARK, claim, not_owned
from peftbench.store.reader import Reader
from tests.store.life import Life
from tests.stored import create


def database(path: Path, state: str = "finished") -> str:
    """Create a database with one run that has ended."""
    life = Life(path)
    run_id = create(life)
    life.claim(run_id)
    life.finish(run_id, state)
    life.close()
    return run_id


def weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    file = folder / "epoch-1.safetensors"
    file.write_bytes(b"weights")
    return file


def deleted(path: Path, run_id: str) -> list[str]:
    with Reader(path) as reader:
        left = remove(path, [reader.run(run_id)])
    with Reader(path) as reader:
        assert reader.get(run_id) is None
    return left


def own(path: Path, run_id: str) -> Path:
    claim(path)
    return weights(runs_folder(path) / run_id)


def former(path: Path, run_id: str) -> Path:
    return weights(former_runs_folder(path) / run_id)


def test_a_folder_is_named_after_the_whole_file(tmp_path: Path) -> None:
    names = ["paper.db", "paper.bak", "paper", "paper.db.bak", "paper.v2.db"]
    assert len({runs_folder(tmp_path / name) for name in names}) == len(names)
    assert runs_folder(tmp_path / "paper.db").name == "paper.db-runs"


@pytest.mark.parametrize("layout", [own, former])
@pytest.mark.parametrize("copy", ["paper.bak", "paper.db.bak", "paper", "paper.old.db", "other.db"])
def test_deleting_from_a_copy_leaves_the_originals_weights(
    tmp_path: Path, layout: Callable[[Path, str], Path], copy: str
) -> None:
    original = tmp_path / "paper.db"
    run_id = database(original)
    kept = layout(original, run_id)
    shutil.copy(original, tmp_path / copy)
    left = deleted(tmp_path / copy, run_id)
    assert kept.read_bytes() == b"weights"
    reached = run_folder(tmp_path / copy, run_id) == kept.parent
    assert reached == bool(left)
    assert all("paper.db" in line and str(kept.parent) in line for line in left)
    assert deleted(original, run_id) == []
    assert not kept.exists()


def test_an_unmarked_folder_is_used_by_the_only_database_that_can_own_it(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path, "stopped")
    kept = former(path, run_id)
    database(tmp_path / "paper.other")  # beside it, with other runs
    assert run_folder(path, run_id) == kept.parent
    assert not_owned(path, run_id) is None
    assert deleted(path, run_id) == []
    assert not kept.exists()


def test_a_database_renamed_with_its_folder_owns_it_still(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path)
    own(path, run_id)
    path.rename(tmp_path / "study.db")
    runs_folder(path).rename(tmp_path / "study.db-runs")
    assert deleted(tmp_path / "study.db", run_id) == []
    assert not (tmp_path / "study.db-runs" / run_id).exists()


def test_a_new_database_of_an_old_name_does_not_own_the_old_ones_files(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path)
    kept = own(path, run_id)
    path.unlink()
    other = database(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE runs SET id = ? WHERE id = ?", (run_id, other))  # as a forged bundle may contain
        connection.commit()
    assert "another database" in deleted(path, run_id)[0]
    assert kept.exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"database": "x"}', "null"])
def test_a_damaged_mark_protects(tmp_path: Path, content: str) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path)
    kept = own(path, run_id)
    (runs_folder(path) / MARK).write_text(content)
    assert MARK in deleted(path, run_id)[0]
    assert kept.exists()


def test_a_neighbour_that_cannot_be_read_protects(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path)
    kept = former(path, run_id)
    content = path.read_bytes()
    (tmp_path / "paper.bak").write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    assert "paper.bak" in deleted(path, run_id)[0]
    assert kept.exists()


def test_the_mark_is_made_once_and_names_the_database(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    database(path)
    shutil.copy(path, tmp_path / "paper.db.bak")  # does not share the name of any newly created folder
    claim(path)
    first = (runs_folder(path) / MARK).read_text()
    claim(path)
    assert (runs_folder(path) / MARK).read_text() == first
    assert json.loads(first)["file"] == "paper.db"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE name = 'database_id'").fetchone() == (
            json.loads(first)["database"],
        )


def test_a_copy_does_not_resume_in_the_originals_files(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path, "stopped")
    kept = former(path, run_id)
    shutil.copy(path, tmp_path / "paper.bak")
    with Reader(tmp_path / "paper.bak") as reader, pytest.raises(UsageError, match=r"paper\.db beside it") as caught:
        resume(tmp_path / "paper.bak", reader.run(run_id))
    assert str(tmp_path / "paper.bak-runs" / run_id) in caught.value.hint
    assert kept.exists()


def test_an_additional_folder_is_searched_and_protected_unless_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "paper.db"
    run_id = database(path)
    kept = weights(tmp_path / "elsewhere" / run_id)
    assert run_folder(path, run_id) != kept.parent
    monkeypatch.setenv("PEFTBENCH_RUNS_FOLDER", str(tmp_path / "elsewhere"))
    assert run_folder(path, run_id) == kept.parent
    assert "has no owner mark" in deleted(path, run_id)[0]
    assert kept.exists()
