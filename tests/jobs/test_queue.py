"""The queue: what is made ready before a run can be seen, and runs that cannot be started."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.jobs import queue as module
from peftbench.jobs.follow import follow
from peftbench.jobs.launch import launch
from peftbench.jobs.queue import enqueue
from peftbench.paths import run_folder, runs_folder
from peftbench.spec import Resolved
from peftbench.store.reader import Reader
from peftbench.store.rows import QueueSettings
from peftbench.store.writer import Writer
from tests.store.life import Life


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def nobody_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ensure_runner", lambda database: False)


def test_a_run_is_made_ready_before_anybody_can_see_it(
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


def test_what_is_refused_leaves_nothing(db: Path, tiny: Callable[..., Resolved], nobody_drains: None) -> None:
    enqueue(db, [tiny("lora-r12")], name="mine")
    with pytest.raises(UsageError, match="another run has that name"):
        enqueue(db, [tiny("lora-r12")], name="mine")
    assert len([path for path in runs_folder(db).iterdir() if path.is_dir()]) == 1
    with Reader(db) as reader:
        assert len(reader.runs()) == 1


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


def test_a_run_that_cannot_be_started_fails_and_those_behind_it_go_on(
    db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as still:
        still.setattr(module, "ensure_runner", lambda database: False)
        (broken,) = enqueue(db, [tiny("lora-r12")])
    (run_folder(db, broken) / "surroundings.json").write_text("{")
    good = launch(tiny("last-layer", ["train.epochs=1"]), db)
    *_, last = follow(db, good.run_id)
    assert last.run.state == "finished", good.log.read_text()
    with Reader(db) as reader:
        run = reader.run(broken)
    assert (run.state, run.failure, run.exit_code) == ("failed", "defect", 1)
    assert "it cannot be started: " in run.reason
    assert not list(run_folder(db, good.run_id).glob("snapshot-*")), "a finished run has nothing to go on from"
