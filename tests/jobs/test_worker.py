"""Runs as real processes: finished, failed, killed, stopped; their end is always recorded in the store."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.errors import MissingError, UsageError
from peftbench.jobs import control, worker
from peftbench.jobs.follow import Update
from peftbench.jobs.launch import Launched, launch
from peftbench.jobs.liveness import identity, liveness, state_shown, this_process
from peftbench.spec import Resolved, resolve
from peftbench.store.reader import Reader
from peftbench.store.rows import Run, RunSettings
from peftbench.store.writer import Writer
from tests.marks import soaked_but
from tests.store.life import Life
from tests.worked import worked_here

LONG = ["train.epochs=500"]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def stored(resolved: Resolved) -> dict[str, Any]:
    return {
        "spec_json": resolved.spec.canonical_json(),
        "spec_hash": "s",
        "group_hash": "g",
        "origins": resolved.origins,
    }


def log_of(launched: Launched) -> str:
    return launched.log.read_text() if launched.log.exists() else "no log"


def signal_worker(run: Run, number: signal.Signals) -> None:
    assert run.worker is not None
    with suppress(ProcessLookupError):
        os.kill(run.worker.pid, number)


def follow(launched: Launched, act: Callable[[Update], None] = lambda update: None) -> Update:
    last = None
    for last in launched.follow():
        act(last)
    assert last is not None
    return last


def test_a_run_goes_to_its_end_and_all_of_it_is_stored(db: Path, tiny: Callable[..., Resolved]) -> None:
    launched = launch(tiny("dora-r12"), db)
    seen: list[int] = []
    last = follow(launched, lambda update: seen.extend(epoch.epoch for epoch in update.epochs))
    run = last.run
    assert (run.state, run.exit_code, run.reason) == ("finished", 0, None), log_of(launched)
    assert seen == [1, 2]
    assert run.name == "dora-r12-1"
    assert run.best_epoch in (1, 2)
    assert run.dev_avg is not None
    assert set(run.adapter_weights.values()) == {2 * 3 * (12 * 64 + 32)}
    assert run.weights_trainable == 3 * 2 * 3 * (12 * 64 + 32) + (5 + 1 + 1) * 33
    assert run.conditions["torch"]
    assert set(run.conditions["data_sha256"]) == {
        f"{t}/{s}" for t in ("sst", "paraphrase", "sts") for s in ("train", "dev")
    }
    assert {phase.phase for phase in last.record.phases} == {
        "load",
        "anatomy",
        "warmup",
        "train",
        "eval",
        "checkpoint",
        "run",
    } - ({"train"} if not any(phase.phase == "train" for phase in last.record.phases) else set())
    with Reader(db) as reader:
        assert reader.progress(run.id) is None
        record = reader.record(run, predictions=True)
    assert {task: len(rows) for task, rows in record.predictions.items()} == dict.fromkeys(
        ("sst", "paraphrase", "sts"), 16
    )


@pytest.mark.slow
def test_a_killed_worker_leaves_a_failed_run_with_its_epochs(db: Path, tiny: Callable[..., Resolved]) -> None:
    launched = launch(tiny("lora-r12", LONG), db, settings=RunSettings(resumes=0))

    def kill(update: Update) -> None:
        if update.run.epochs_done:
            signal_worker(update.run, signal.SIGKILL)

    last = follow(launched, kill)
    assert (last.run.state, last.run.failure) == ("failed", "signal")
    assert "signal 9" in last.run.reason
    assert str(launched.log) in last.run.reason
    assert last.run.epochs_done == len(last.record.epochs) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("how", soaked_but(["SIGTERM", "stop"], ["SIGTERM", "SIGINT", "stop"]))
def test_a_stopped_run_keeps_all_finished_epochs(how: str, db: Path, tiny: Callable[..., Resolved]) -> None:
    launched = launch(tiny("lora-r12", LONG), db)

    def stop(update: Update) -> None:
        if not update.run.epochs_done or update.run.state != "running":
            return
        if how == "stop":
            launched.stop()
        else:
            signal_worker(update.run, signal.Signals[how])

    last = follow(launched, stop)
    assert (last.run.state, last.run.exit_code) == ("stopped", 130), log_of(launched)
    assert last.run.epochs_done == len(last.record.epochs) >= 1
    assert last.run.best_epoch is not None


@pytest.mark.slow
def test_a_stop_requested_in_the_store_takes_effect(db: Path, tiny: Callable[..., Resolved]) -> None:
    launched = launch(tiny("lora-r12", LONG), db)
    with Writer(db) as writer:
        last = follow(launched, lambda update: writer.request_stop(update.run.id) if update.run.epochs_done else None)
    assert (last.run.state, last.run.reason) == ("stopped", "asked to stop")


@pytest.mark.slow
def test_a_missing_encoder_fails_the_run_with_its_exit_code(db: Path, tiny: Callable[..., Resolved]) -> None:
    with worked_here():
        last = follow(launch(tiny("lora-r12", ["encoder.name=/no/such"]), db))
    assert (last.run.state, last.run.exit_code) == ("failed", 3)
    assert "/no/such" in last.run.reason
    assert last.run.failure == "missing"


@pytest.mark.slow
def test_a_defect_keeps_its_traceback_in_the_log(
    db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise KeyError("weight_map")

    monkeypatch.setattr(worker, "of_worker", defect)
    with worked_here():
        launched = launch(tiny("lora-r12"), db)
    last = follow(launched)
    assert (last.run.state, last.run.exit_code) == ("failed", 1)
    assert "KeyError" in last.run.reason
    assert "Traceback" in log_of(launched)
    assert last.run.failure == "defect"


@pytest.mark.slow
def test_a_diverged_run_reports_it_and_keeps_no_checkpoint(db: Path, tiny: Callable[..., Resolved]) -> None:
    """It would fail in the same way from each of its checkpoints."""
    with worked_here():
        launched = launch(tiny("full", [*LONG, "train.lr=10.0", "train.weight_decay=1e9"]), db)
    last = follow(launched)
    assert (last.run.state, last.run.failure, last.run.exit_code) == ("failed", "nan", 1), log_of(launched)
    assert "learning rate" in last.run.reason
    assert not list(launched.log.parent.glob("checkpoint-*"))
    with pytest.raises(UsageError, match="would fail in the same way again"):
        control.resume(db, last.run)


def test_missing_files_start_no_run(db: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"ids-sst-train\.csv does not exist"):
        launch(resolve("lora-r12", "paper-mini", data=[str(tmp_path)]), db)
    with pytest.raises(MissingError, match=r"reads 'ids-sst-train\.csv' from a folder, and none was given"):
        launch(resolve("lora-r12", "paper-mini"), db)
    assert not db.exists()


@pytest.mark.slow
def test_a_run_is_executed_once(db: Path, tiny: Callable[..., Resolved]) -> None:
    with worked_here():
        last = follow(launch(tiny("last-layer"), db))
    again = subprocess.run(
        [sys.executable, "-m", "peftbench.jobs.worker", last.run.id, "--db", str(db)], capture_output=True, text=True
    )
    assert again.returncode == 1
    assert "not waiting for a worker" in again.stderr
    with Reader(db) as reader:
        assert len(reader.record(reader.run(last.run.id)).epochs) == 2


@pytest.mark.slow
def test_a_name_is_taken_once(db: Path, tiny: Callable[..., Resolved]) -> None:
    with worked_here():
        launch(tiny("last-layer"), db, name="mine")
    with pytest.raises(UsageError, match="another run has that name"):
        launch(tiny("last-layer"), db, name="mine")


def test_liveness_distinguishes_processes_with_the_same_pid() -> None:
    me = this_process()
    assert (me.pid, me.host) == (os.getpid(), platform.node())
    assert liveness(me) == "alive"
    assert liveness(replace(me, started_at=me.started_at - 60)) == "dead"
    assert liveness(replace(me, boot_id="another boot/1")) == "dead"
    assert liveness(replace(me, boot_id="another boot/1", host="another host")) == "elsewhere"


def test_a_zombie_is_dead_and_its_run_is_shown_as_lost(db: Path, tiny: Callable[..., Resolved]) -> None:
    import psutil

    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    worker = identity(child.pid)
    assert liveness(worker) == "alive"
    assert child.stdin is not None
    child.stdin.close()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert liveness(worker) == "dead"
    with closing(Life(db)) as life:
        run_id = life.create_run(**stored(tiny("lora-r12")))
        life.claim(run_id, worker)
    with Reader(db) as reader:
        run = reader.run(run_id)
    assert run.state == "running"
    assert state_shown(run) == "lost"
    child.wait()
    deleted = subprocess.run(
        [sys.executable, "-m", "peftbench", "delete", run_id, "--yes", "--db", str(db)], capture_output=True, text=True
    )
    assert deleted.returncode == 0, deleted.stderr
    with Reader(db) as reader:
        assert reader.runs() == []


def test_a_run_without_a_claim_is_lost_after_a_grace_period(db: Path, tiny: Callable[..., Resolved]) -> None:
    with closing(Life(db)) as life:
        run_id = life.create_run(**stored(tiny("lora-r12")))
        life.writer.start(run_id, None)
    with Reader(db) as reader:
        run = reader.run(run_id)
    assert state_shown(run) == "starting"
    assert state_shown(replace(run, state_at="2026-01-01T00:00:00.000Z")) == "lost"


def test_a_stop_while_it_loads_is_a_stop_too(db: Path, tiny: Callable[..., Resolved]) -> None:
    launched = launch(tiny("lora-r12"), db)

    def stop(update: Update) -> None:
        if update.run.state == "running" and update.progress is None and not update.run.epochs_done:
            signal_worker(update.run, signal.SIGTERM)

    last = follow(launched, stop)
    assert (last.run.state, last.run.exit_code) == ("stopped", 130), log_of(launched)


@pytest.mark.slow
def test_a_worker_imports_nothing_from_the_current_folder(
    db: Path, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the trap was imported')")
    resolved = tiny("last-layer", ["train.epochs=1"])
    monkeypatch.chdir(tmp_path)
    launched = launch(resolved, db)
    assert follow(launched).run.state == "finished", log_of(launched)


@pytest.mark.slow
def test_a_run_stopped_twice_is_killed_at_once_and_still_stopped(
    db: Path, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = launch(tiny("lora-r12", LONG), db)
    killed = []
    kill = control.kill
    monkeypatch.setattr(control, "kill", lambda run: (killed.append(run.id), kill(run)))

    def stop_twice(update: Update) -> None:
        if update.run.epochs_done and not launched.stops_asked:
            launched.stop()
            launched.stop()

    last = follow(launched, stop_twice)
    assert killed == [launched.run_id]
    assert (last.run.state, last.run.exit_code) == ("stopped", 130)
