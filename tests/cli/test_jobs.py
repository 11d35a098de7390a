"""`queue`, `stop`, `resume`, `retry`, `log` and `run --detach`: output and exit codes."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.jobs import queue as module
from peftbench.jobs.queue import enqueue
from peftbench.paths import worker_log
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from tests.patience import PATIENCE_S
from tests.store.life import Life
from tests.tiny import tiny_overrides

PEFTBENCH = [sys.executable, "-m", "peftbench"]
HOSTILE = "evil\x1b[31m\x1b]0;owned\x07\u202ename"


def cli(db: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEFTBENCH, *arguments, "--db", str(db)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def stopped(db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that was stopped before it started; no queue runner is active."""
    with monkeypatch.context() as still:
        still.setattr(module, "ensure_runner", lambda database: False)
        (run_id,) = enqueue(db, [tiny("last-layer")])
    with closing(Life(db)) as life:
        life.writer.request_stop(run_id)
    return run_id


@pytest.mark.slow
def test_a_group_in_the_background_from_its_start_to_its_end(db: Path, tiny_encoder: Path) -> None:
    sets = [word for one in tiny_overrides(tiny_encoder) for word in ("--set", one)]
    done = cli(db, "run", "-p", "last-layer", "--seeds", "2", "--detach", "--json", *sets)
    assert done.returncode == 0, done.stderr
    ids = json.loads(done.stdout)["ids"]
    queue = json.loads(cli(db, "queue", "--json").stdout)
    assert {run["id"] for run in queue["runs"]} == set(ids)
    assert len({run["sweep"] for run in queue["runs"]}) == 1
    followed = cli(db, "log", ids[1], "--follow")
    assert followed.returncode == 0
    assert "epoch 2: dev avg" in followed.stdout
    with Reader(db) as reader:
        ended = [(reader.run(run_id).state, reader.run(run_id).seed) for run_id in ids]
    assert ended == [("finished", 0), ("finished", 1)]
    assert cli(db, "queue").stdout == "No runs are running or queued.\n"
    assert cli(db, "stop", ids[0]).stdout.startswith("last-layer-1 is already finished")


def test_the_queue_with_what_waits_and_how_it_was_set(
    db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    with monkeypatch.context() as still:
        still.setattr(module, "ensure_runner", lambda database: False)
        enqueue(db, [tiny("lora-r12", ["encoder.name=/no/such"])] * 2, sweep="two-abcd")
    done = cli(db, "queue", "--slots", "2", "--cooldown", "600")
    assert done.returncode == 0
    for words in (
        "lora-r12-1",
        "two-abcd: 2 queued",
        "no finished run of this workload",
        "2 at once",
        "a pause of 600 s",
    ):
        assert words in done.stdout, done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100


@pytest.mark.slow
def test_resume_goes_on_and_says_what_it_came_to(db: Path, stopped: str) -> None:
    done = cli(db, "resume", stopped)
    assert done.returncode == 0, done.stderr
    assert "last-layer-1 finished: best epoch" in done.stdout
    again = cli(db, "resume", stopped)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is finished: there is nothing left to do" in again.stderr
    assert "hint: start it over: peftbench retry last-layer-1" in again.stderr


@pytest.mark.slow
def test_retry_is_another_run_changed_where_asked(db: Path, stopped: str) -> None:
    done = cli(db, "retry", "last-layer-1", "--set", "train.epochs=1", "--set", "train.batch_size=4", "--json")
    assert done.returncode == 0, done.stderr
    with Reader(db) as reader:
        new, old = reader.run(json.loads(done.stdout)["id"]), reader.run(stopped)
    assert (new.name, new.epochs_planned, old.epochs_planned, old.state) == ("last-layer-2", 1, 2, "stopped")
    spec = json.loads(new.spec_json)
    assert (spec["train"]["batch_size"], new.origins["train.batch_size"]) == (4, "--set")
    assert new.origins["train.lr"] == old.origins["train.lr"]
    assert spec["tasks"] == json.loads(old.spec_json)["tasks"]
    wrong = cli(db, "retry", "last-layer-1", "--set", "train.batch_sise=4")
    assert (wrong.returncode, "did you mean 'batch_size'" in wrong.stderr) == (2, True)
    cli(db, "stop", new.id)


@pytest.mark.slow
def test_a_log_is_printed_clean_and_from_its_end(db: Path, stopped: str) -> None:
    assert "its worker log is empty so far" in cli(db, "log", stopped).stdout
    content = b"one\n\x1b[31m    two\x1b]0;owned\x07\n  File \xff\xe2\x80\xae\nlast, without an end"
    worker_log(db, stopped).write_bytes(content)
    lines = cli(db, "log", stopped).stdout.splitlines()
    assert [line.strip() for line in lines] == ["one", "two", "File \ufffd", "last, without an end"]
    assert lines[2].startswith("  File"), "a traceback keeps its shape"
    assert cli(db, "log", stopped, "-n", "2").stdout.splitlines() == lines[2:]
    assert cli(db, "log", stopped, "-n", "0").stdout == ""


@pytest.mark.slow
def test_hostile_names_reasons_and_settings_are_printed_clean(db: Path, stopped: str) -> None:
    connection = sqlite3.connect(db)
    connection.execute("UPDATE runs SET name = ?, reason = ?, sweep = ?", (HOSTILE, HOSTILE, HOSTILE))
    connection.execute("INSERT INTO queue_settings VALUES (?, 'slots', ?)", (platform.node(), HOSTILE))
    connection.commit()
    connection.close()
    for words in (("stop", stopped), ("log", stopped), ("show", stopped), ("runs",), ("queue",), ("resume", "nobody")):
        done = cli(db, *words)
        for character in "\x1b\x07\u202e":
            assert character not in done.stdout + done.stderr, words
