"""Runs' files that are not beside their database: the error names the expected path, and an option gives another."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from peftbench.cli import app
from peftbench.cli.naming import files_of, look_into
from peftbench.errors import MissingError
from peftbench.jobs import control
from peftbench.paths import run_folder, runs_folder
from peftbench.store.ownership import MARK, claim
from peftbench.store.reader import Reader
from peftbench.store.rows import Run
from tests.store.life import Life
from tests.stored import create


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Run, Path]:
    """A stopped run whose database was renamed without its folder: the database, the run, the old folder."""
    monkeypatch.setenv("PEFTBENCH_RUNS_FOLDER", "")  # so that the variable set by the command is restored
    monkeypatch.setattr(control, "ensure_runner", lambda _: False)
    path = tmp_path / "paper.db"
    life = Life(path)
    run_id = create(life, "mine")
    life.claim(run_id)
    life.finish(run_id, "stopped")
    life.close()
    claim(path)
    folder = runs_folder(path) / run_id
    folder.mkdir()
    (folder / "checkpoint-1.ckpt").write_bytes(b"state")
    path.rename(tmp_path / "study.db")
    with Reader(tmp_path / "study.db") as reader:
        return tmp_path / "study.db", reader.run(run_id), folder


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "mine", "--task", "sst", "a text"),
        ("submit", "mine", "--out", "out"),
        ("export", "mine", "out", "--format", "peft"),
    ],
)
def test_the_commands_take_the_folder(words: tuple[str, ...], renamed: tuple[Path, Run, Path]) -> None:
    done = CliRunner().invoke(app, [*words, "--db", str(renamed[0]), "--runs-folder", "/nowhere"])
    assert isinstance(done.exception, MissingError)
    assert done.exception.message == "--runs-folder /nowhere: no such folder"


def test_what_is_expected_is_said_and_the_folder_of_before_is_taken(renamed: tuple[Path, Run, Path]) -> None:
    database, run, folder = renamed
    with pytest.raises(MissingError) as caught:
        files_of(database, run)
    assert str(runs_folder(database) / run.id) in caught.value.message
    assert "must move with it and be called study.db-runs" in caught.value.hint
    assert "--runs-folder DIR" in caught.value.hint
    look_into(folder.parent)
    assert files_of(database, run) == folder


def test_a_renamed_folder_needs_no_option(renamed: tuple[Path, Run, Path]) -> None:
    database, run, folder = renamed
    folder.parent.rename(runs_folder(database))
    assert files_of(database, run) == runs_folder(database) / run.id


def test_a_run_goes_on_with_a_copy(renamed: tuple[Path, Run, Path]) -> None:
    database, run, folder = renamed
    look_into(folder.parent)
    control.resume(database, run)
    copy = run_folder(database, run.id)
    assert copy == runs_folder(database) / run.id
    assert (copy / "checkpoint-1.ckpt").read_bytes() == b"state"
    assert (folder / "checkpoint-1.ckpt").exists()
    assert (runs_folder(database) / MARK).exists()
    with Reader(database) as reader:
        assert reader.run(run.id).state == "queued"
