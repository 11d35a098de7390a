"""The queue: preparation before a run becomes visible, and runs that cannot be started."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.jobs import queue
from peftbench.jobs.follow import follow
from peftbench.jobs.launch import launch
from peftbench.jobs.lock import RunnerLock
from peftbench.jobs.queue import enqueue
from peftbench.paths import run_folder, runs_folder
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import QueueSettings
from peftbench.store.writer import Writer
from tests.patience import PATIENCE_S
from tests.store.life import Life


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def nobody_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ensure_runner", lambda database: False)


def test_a_run_is_prepared_before_it_is_visible(
    db: Path, tiny: Callable[..., Resolved], nobody_drains: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = []
    create = Writer.create_runs

    def watched(writer: Writer, runs: list) -> None:
        ready.extend((run_folder(db, run.id) / "surroundings.json").exists() for run in runs)
        create(writer, runs)

    monkeypatch.setattr(Writer, "create_runs", watched)
    enqueue(db, [tiny("lora-r12"), tiny("full")])
    assert ready == [True, True]


def test_a_refused_run_leaves_no_files(db: Path, tiny: Callable[..., Resolved], nobody_drains: None) -> None:
    enqueue(db, [tiny("lora-r12")], name="mine")
    with pytest.raises(UsageError, match="another run has that name"):
        enqueue(db, [tiny("lora-r12")], name="mine")
    assert len([path for path in runs_folder(db).iterdir() if path.is_dir()]) == 1
    with Reader(db) as reader:
        assert len(reader.runs()) == 1


@pytest.mark.slow
def test_a_starting_runner_is_not_started_again(
    db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine it takes seconds to start; repeated calls must not start one each time."""
    interpreter = db.with_name("slow-python")
    interpreter.write_text(f'#!/bin/sh\nwhile [ ! -e {db}.go ]; do sleep 0.05; done\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setattr(queue.sys, "executable", str(interpreter))
    (run_id,) = enqueue(db, [tiny("last-layer", ["train.epochs=1"])])
    (process,) = queue._started.values()
    assert [queue.ensure_runner(db) for _ in range(20)] == [False] * 20
    assert list(queue._started.values()) == [process]
    monkeypatch.undo()
    Path(f"{db}.go").touch()
    assert [update.run.state for update in follow(db, run_id)][-1] == "finished"
    process.wait(PATIENCE_S)
    assert RunnerLock(db).held_last_by(process.pid)


def test_a_runner_that_ended_is_started_again(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue.sys, "executable", "/bin/false")
    for _ in range(3):
        assert queue.ensure_runner(db)
        queue._started[db.resolve()].wait(PATIENCE_S)


def test_a_runner_that_is_exiting_is_replaced(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has released its lock but still runs: it has checked the queue for the last time."""
    started = []
    monkeypatch.setattr(queue.subprocess, "Popen", lambda *_, **__: started.append(Alive()) or started[-1])
    assert queue.ensure_runner(db)
    assert not queue.ensure_runner(db)
    lock = RunnerLock(db)
    lock.path.parent.mkdir(parents=True, exist_ok=True)
    lock.path.write_text(f"{Alive.pid}\n")
    assert queue.ensure_runner(db)
    assert len(started) == 2


class Alive:
    """A process that does not end."""

    pid = 4_000_001

    def poll(self) -> None:
        return None


def test_runs_wait_in_the_order_in_which_they_were_queued(
    db: Path, tiny: Callable[..., Resolved], nobody_drains: None
) -> None:
    first = enqueue(db, [tiny("lora-r12"), tiny("full")], sweep="two", slots=3)
    then = enqueue(db, [tiny("dora-r12")])
    with Reader(db) as reader:
        assert [run.id for run in reader.active()] == [*first, *then]
        assert reader.first_queued().id == first[0]
        assert [run.sweep for run in reader.active()] == ["two", "two", None]
        assert reader.queue_settings(platform.node()) == QueueSettings(slots=3)
    with closing(Life(db)) as life, Reader(db) as reader:
        life.log(first[0])
        life.log(first[1])
        assert life.writer.back_to_queue(reader.run(first[1]), "killed", first=True, by_itself=True)
        assert reader.first_queued().id == first[1]
        assert [run.id for run in reader.working()] == [first[0]]


@pytest.mark.slow
def test_a_run_that_cannot_be_started_fails_and_later_runs_start(
    db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as still:
        still.setattr(queue, "ensure_runner", lambda database: False)
        (broken,) = enqueue(db, [tiny("lora-r12")])
    (run_folder(db, broken) / "surroundings.json").write_text("{")
    good = launch(tiny("last-layer", ["train.epochs=1"]), db)
    *_, last = follow(db, good.run_id)
    assert last.run.state == "finished", good.log.read_text()
    with Reader(db) as reader:
        run = reader.run(broken)
    assert (run.state, run.failure, run.exit_code) == ("failed", "defect", 1)
    assert "it cannot be started: " in run.reason
    assert not list(run_folder(db, good.run_id).glob("checkpoint-*")), "a finished run has nothing to go on from"
