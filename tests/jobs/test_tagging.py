"""Tags and notes: on the command line, in the store, and not in a bundle."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.jobs import tagging
from peftbench.store.reader import Reader
from peftbench.store.rows import LONGEST_NOTE, MOST_TAGS, Run
from tests.cli.inside import failed
from tests.cli.inside import invoke as cli
from tests.stored import store_scored_run as fill


@pytest.fixture
def db(tmp_path: Path) -> Path:
    where = tmp_path / "runs.db"
    for seed in range(2):
        fill(where, "lora-r12", seed)
    fill(where, "dora-r12", 0)
    return where


def runs(db: Path) -> dict[str, Run]:
    with Reader(db) as reader:
        return {run.name: run for run in reader.runs()}


def test_a_run_gets_tags_and_loses_them(db: Path) -> None:
    assert cli("tag", "dora-r12-1", "baseline", "paper", "--db", db).stdout == "dora-r12-1: baseline, paper\n"
    assert cli("tag", "dora-r12-1", "paper", "new", "--db", db).stdout == "dora-r12-1: baseline, paper, new\n"
    assert cli("tag", "dora-r12-1", "paper", "--remove", "--db", db).stdout == "dora-r12-1: baseline, new\n"
    assert cli("tag", "dora-r12-1", "--db", db).stdout == "dora-r12-1: baseline, new\n"
    assert list(json.loads(cli("tag", "lora-r12", "x", "--json", "--db", db).stdout).values()) == [["x"], ["x"]]
    assert runs(db)["dora-r12-1"].tags == ("baseline", "new")


def test_a_preset_names_all_its_runs_and_tags_can_be_filtered_by(db: Path) -> None:
    cli("tag", "lora-r12", "tried", "--db", db)
    listed = cli("runs", "--filter", "tag:tried", "--db", db).stdout
    assert "lora-r12-1" in listed and "lora-r12-2" in listed and "dora" not in listed
    assert "dora-r12-1" in cli("runs", "-f", "method:dora rank>=12 -tag:tried", "--db", db).stdout
    found = json.loads(cli("runs", "--json", "-f", "tag:tried seed=1", "--db", db).stdout)
    assert [(row["name"], row["tags"]) for row in found] == [("lora-r12-2", ["tried"])]


def test_a_note_is_shown_and_removed(db: Path) -> None:
    cli("note", "dora-r12-1", "warm-up\x1b[31m too short", "--db", db)
    assert runs(db)["dora-r12-1"].note == "warm-up too short"
    cli("tag", "dora-r12-1", "odd", "--db", db)
    shown = cli("show", "dora-r12-1", "--db", db).stdout
    assert "warm-up too short" in shown and "odd" in shown
    assert cli("note", "dora-r12-1", "", "--db", db).stdout == "dora-r12-1: no note\n"
    assert runs(db)["dora-r12-1"].note is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tag", "dora-r12-1", "two words"], "tag 'two words': a tag has letters"),
        (["tag", "dora-r12-1", "x" * 41], "at most 40 characters"),
        (["tag", "dora-r12-1", "--remove"], "--remove needs the tags"),
        (["tag", "nothing", "x"], "no run"),
        (["runs", "-f", "rank>many"], "'many' is not a number"),
    ],
)
def test_mistakes_are_told(db: Path, arguments: list[str], said: str) -> None:
    code, text = failed(*arguments, "--db", db)
    assert code in (2, 3) and said in text


def test_a_run_has_so_many_tags_and_a_note_such_a_length(db: Path) -> None:
    run = runs(db)["dora-r12-1"]
    with pytest.raises(UsageError, match=f"at most {MOST_TAGS} tags"):
        tagging.tag(db, [run], [f"t{number}" for number in range(MOST_TAGS + 1)])
    with pytest.raises(UsageError, match="at most 2,000 characters"):
        tagging.note(db, [run], "x" * (LONGEST_NOTE + 1))
    assert runs(db)["dora-r12-1"].tags == ()


def test_a_change_of_tags_is_a_change_of_the_run(db: Path) -> None:
    """A dashboard reads a run again whose row has changed."""
    with Reader(db) as reader:
        before = reader.last_change()
        tagging.tag(db, [reader.find("dora-r12-1")], ["x"])
        assert reader.changed(before)[1] == [reader.find("dora-r12-1").id]


def test_an_edited_row_is_named(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE runs SET tags = '[1]' WHERE name = 'dora-r12-1'")
    code, text = failed("show", "dora-r12-1", "--db", db)
    assert code == 3 and "tags: not a list of strings" in text
