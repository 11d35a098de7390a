"""The test split in the store: written once, read beside dev, exported and imported, and shown."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.interchange.importing import take_bundle
from peftbench.store.reader import Reader
from peftbench.store.rows import HeldOutResult, Phase, Prediction, RunRecord, Score
from peftbench.store.run_log import RunLog
from tests.cli.inside import inside
from tests.interchange.runs import bundle_of
from tests.stored import store_scored_run
from tests.tiny import TASKS


def held_out(value: float = 0.5) -> HeldOutResult:
    return HeldOutResult(
        1,
        [Score(1, task, "test", "pearson" if task == "sts" else "accuracy", value, None, 0.9, 30) for task in TASKS],
        [Phase("eval", None, task, "test", 1.0, examples=30) for task in TASKS],
        [Prediction(task, 1, str(n), float(n % 2), value * (n % 3), split="test") for task in TASKS for n in range(30)],
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    for preset in ("lora-r12", "dora-r12"):
        store_scored_run(path, preset, 0, finish=False)
        with Reader(path) as reader:
            run = reader.find(f"{preset}-1")
        with RunLog(path, run.id, run.attempt) as log:
            log.put_held_out(held_out(0.1))
            log.put_held_out(held_out(0.5))  # a resumed worker reports again
            log.finish("finished")
    return path


def record(database: Path, name: str = "lora-r12-1") -> RunRecord:
    with Reader(database) as reader:
        return reader.record(reader.find(name), predictions=True)


def test_the_last_report_counts_and_dev_stays(database: Path) -> None:
    kept = record(database)
    assert {task: len(rows) for task, rows in kept.predictions.items()} == dict.fromkeys(TASKS, 120)
    assert {task: len(rows) for task, rows in kept.test_predictions.items()} == dict.fromkeys(TASKS, 30)
    assert list(kept.test_predictions["sst"]) == [row for row in held_out().predictions if row.task == "sst"]
    assert {row.split for rows in kept.predictions.values() for row in rows} == {"dev"}
    assert [score.value for score in kept.scores if score.split == "test"] == [0.5] * 3
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT task, test, dev, examples FROM test_scores WHERE name = 'lora-r12-1'"
        ).fetchall()
    assert sorted(rows) == sorted((task, 0.5, 0.7, 30) for task in TASKS)


def test_a_bundle_carries_them(database: Path, tmp_path: Path) -> None:
    before = record(database)
    bundle_of(database, before.run.id, tmp_path / "run.zip")
    take_bundle(tmp_path / "run.zip", tmp_path / "other.db")
    after = record(tmp_path / "other.db")
    assert (after.test_predictions, after.predictions) == (before.test_predictions, before.predictions)
    assert sorted(after.scores, key=str) == sorted(before.scores, key=str)


def test_commands_name_the_split(database: Path) -> None:
    shown = inside("show", "lora-r12-1", "--db", database).stdout
    assert "test, scored once at that epoch (examples): sst 0.500 (30)" in shown
    assert "Test Avg 0.500" in shown
    compared = inside("compare", "lora-r12-1", "dora-r12-1", "--full", "--db", database).stdout
    compared = " ".join(compared.split())
    metrics = "accuracy, Pearson r of sts; Test Avg their mean"
    assert f"scores on test (30 examples a task, untouched; dev chose the epoch): {metrics}; baseline" in compared
    assert "paired bootstrap over the test examples" in compared
    assert "also chose the epoch" not in compared and "Dev Avg  " not in compared
    printed = json.loads(inside("compare", "lora-r12-1", "dora-r12-1", "--json", "--db", database).stdout)
    assert (printed["split"], printed["metrics"][-1]) == ("test", "test_avg")
    assert printed["runs"][0]["test"]["sst"]["value"] == printed["runs"][0]["test_avg"] == 0.5
    for form in ("--latex", "--csv", "--markdown"):
        out = inside("compare", "lora-r12-1", "dora-r12-1", form, "--db", database).stdout
        assert "scores on test (30 examples a task" in out and metrics in out
    assert printed["headlines"] == {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}


def test_a_metric_of_the_other_split_is_refused_with_those_there_are(database: Path) -> None:
    done = inside("compare", "lora-r12-1", "dora-r12-1", "--metric", "dev_avg", "--db", database)
    assert done.returncode == 2
    assert "metrics: sst, paraphrase, sts, test_avg" in done.stderr


@pytest.mark.parametrize("arguments", [("pareto",), ("plot", "ranks"), ("plot", "curves"), ("plot", "pareto")])
def test_fronts_and_plots_use_the_split_that_is_compared(database: Path, arguments: tuple[str, ...]) -> None:
    done = inside(*arguments, "--db", database, columns=120)
    assert done.returncode == 0, done.stderr
    assert ("Dev Avg" if "curves" in arguments else "Test Avg") in done.stdout
