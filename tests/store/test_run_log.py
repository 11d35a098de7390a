"""A worker's writes: numbered, fenced, idempotent, and spooled in memory while they cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peftbench.errors import StorageError
from peftbench.store import spool
from peftbench.store.reader import Reader
from peftbench.store.rows import (
    Epoch,
    EpochResult,
    Phase,
    Prediction,
    Progress,
    SampleRow,
    Score,
    TaskBest,
    TrainPoint,
    Worker,
)
from peftbench.store.run_log import RunLog, TakenOver
from tests.store.life import WORKER, Life

SPEC = (
    '{"preset":"p","workload":"w","method":{"name":"lora"},"encoder":{"name":"e"},"seed":0,'
    '"train":{"epochs":9},"tasks":[{"name":"sst"}]}'
)
PROGRESS = Progress(1, "train", "sst", 3, 9, 4, 90, 2.5, "2026-01-01T00:00:00.000Z")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def life(path: Path) -> Iterator[Life]:
    with closing(Life(path)) as life:
        yield life


@pytest.fixture
def run_id(life: Life) -> str:
    return life.create_run(spec_json=SPEC, spec_hash="s", group_hash="g", origins={})


@pytest.fixture
def reader(path: Path, life: Life) -> Iterator[Reader]:
    with Reader(path) as reader:
        yield reader


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def again(life: Life, reader: Reader, run_id: str) -> RunLog:
    """Replace the worker of the run by another one."""
    assert life.writer.back_to_queue(reader.run(run_id), "its worker was killed", first=True, by_itself=True)
    log = life.worker(run_id)
    assert log is not None
    return log


class TestSessions:
    def test_a_superseded_worker_writes_nothing(self, life: Life, reader: Reader, run_id: str) -> None:
        old = life.log(run_id)
        new = again(life, reader, run_id)
        with pytest.raises(TakenOver):
            old.put_event("data", "too late")
        with pytest.raises(TakenOver):
            old.finish("finished")
        old.stall("too late as well")
        new.put_event("data", "in time")
        run = reader.run(run_id)
        assert (run.state, run.attempt, run.resumed) == ("running", 2, 1)
        assert [e.message for e in reader.record(run).events if e.kind == "data"] == ["in time"]

    def test_a_worker_declared_lost_reclaims_its_run(self, life: Life, reader: Reader, run_id: str) -> None:
        log = life.log(run_id)
        assert life.end(run_id, "lost", "no word", failure="signal", exit_code=1)
        assert reader.run(run_id).finished_at is not None
        log.put_event("data", "here I am")
        run = reader.run(run_id)
        assert (run.state, run.failure, run.exit_code, run.finished_at) == ("running", None, None, None)

    def test_samples_of_a_second_worker_follow_those_of_the_first(
        self, life: Life, reader: Reader, run_id: str
    ) -> None:
        life.log(run_id).put_samples([SampleRow(n, float(n), "train") for n in (1, 2, 3)])
        again(life, reader, run_id).put_samples([SampleRow(n, 10.0 + n, "train") for n in (1, 2)])
        assert [(row.sequence, row.at_s) for row in reader.samples(run_id)] == [
            (1, 1.0),
            (2, 2.0),
            (3, 3.0),
            (4, 11.0),
            (5, 12.0),
        ]

    def test_what_the_first_worker_noted_is_not_noted_again(self, life: Life, reader: Reader, run_id: str) -> None:
        first = life.log(run_id)
        first.put_event("data", "2 rows left out")
        first.put_event("data", "2 rows left out")  # twice in one attempt is twice
        second = again(life, reader, run_id)
        second.put_event("data", "2 rows left out")
        second.put_event("resume", "from epoch 2")
        again(life, reader, run_id).put_event("resume", "from epoch 2")  # again: this one is new
        events = [(e.kind, e.message) for e in reader.record(reader.run(run_id)).events if e.kind != "state"]
        assert events == [
            ("data", "2 rows left out"),
            ("data", "2 rows left out"),
            ("resume", "from epoch 2"),
            ("resume", "from epoch 2"),
        ]

    def test_repeated_losses_and_phases_replace_themselves(self, life: Life, reader: Reader, run_id: str) -> None:
        for value in (1.0, 2.0):
            log = life.log(run_id) if value == 1.0 else again(life, reader, run_id)
            log.put_train_points([TrainPoint(20, 1, "sst", 20, value), TrainPoint(30, 1, "sst", 10, value)])
            log.put_epoch(
                EpochResult(
                    Epoch(1, 0.5, 0.5, None, "t"),
                    [Score(1, "sst", "dev", "accuracy", 0.5, None, value, 9)],
                    [Phase("train", 1, "sst", "train", value)],
                    best_epoch=1,
                    task_bests=[],
                    predictions=[],
                )
            )
            log.put_phases([Phase("load", None, None, None, value)])
        record = reader.record(reader.run(run_id))
        assert [(p.phase, p.wall_s, p.attempt) for p in record.phases] == [
            ("load", 1.0, 1),
            ("train", 2.0, 2),
            ("load", 2.0, 2),
        ]
        with closing(sqlite3.connect(life.path)) as connection:
            assert connection.execute("SELECT step, loss FROM losses").fetchall() == [(20, 2.0), (30, 2.0)]

    def test_a_restarted_run_deletes_its_epochs_and_nothing_else(self, life: Life, reader: Reader, run_id: str) -> None:
        """The data may have changed: later epochs on the old data must not remain."""

        def tell(log: RunLog, epochs: int) -> None:
            for number in range(1, epochs + 1):
                log.put_train_points([TrainPoint(number * 20, number, "sst", 20, 1.0)])
                log.put_epoch(
                    EpochResult(
                        Epoch(number, 0.5, 0.5, None, "t"),
                        [Score(number, "sst", "dev", "accuracy", 0.5, None, 1.0, 9)],
                        [Phase("train", number, "sst", "train", 1.0)],
                        best_epoch=number,
                        task_bests=[TaskBest("sst", number, 0.5)],
                        predictions=[Prediction("sst", number, "x", 1.0, 1.0)],
                    )
                )

        first = life.log(run_id)
        first.clear_epochs()
        first.put_phases([Phase("load", None, None, None, 1.0)])
        first.put_event("data", "2 rows left out")
        tell(first, 3)
        second = again(life, reader, run_id)
        second.clear_epochs()
        run = reader.run(run_id)
        record = reader.record(run, predictions=True)
        assert (run.epochs_done, run.best_epoch, run.dev_avg, run.leaderboard) == (0, None, None, None)
        assert (record.epochs, record.scores, record.task_bests, record.predictions) == ((), (), (), {})
        assert [phase.phase for phase in record.phases] == ["load"]
        assert "2 rows left out" in [event.message for event in record.events]
        tell(second, 1)
        assert [epoch.epoch for epoch in reader.record(reader.run(run_id)).epochs] == [1]

    def test_two_resumes_at_once_and_one_wins(self, life: Life, reader: Reader, run_id: str) -> None:
        life.log(run_id).finish("stopped", "asked to stop", 130)
        seen = reader.run(run_id)
        assert life.writer.back_to_queue(seen, "resumed", first=False, by_itself=False)
        assert not life.writer.back_to_queue(seen, "resumed", first=False, by_itself=False)

    def test_a_late_resume_does_not_take_over_a_working_run(self, life: Life, reader: Reader, run_id: str) -> None:
        life.log(run_id)
        seen = reader.run(run_id)  # "running", but its worker is dead
        again(life, reader, run_id)
        assert reader.run(run_id).state == "running"
        assert not life.writer.back_to_queue(seen, "resumed", first=False, by_itself=False)

    def test_a_stalled_run_is_running_again_with_its_next_progress(
        self, life: Life, reader: Reader, run_id: str
    ) -> None:
        log = life.log(run_id)
        log.stall("it has made no progress for 300 s")
        assert reader.run(run_id).state == "stalled"
        log.put_progress(PROGRESS)
        run = reader.run(run_id)
        assert run.state == "running"
        said = [event.message for event in reader.record(run).events][-2:]
        assert said == ["stalled: it has made no progress for 300 s", "running: it goes on"]

    def test_every_change_of_state_is_kept_with_its_reason(self, life: Life, reader: Reader, run_id: str) -> None:
        life.log(run_id)
        life.request_stop(run_id)
        life.log(run_id).finish("stopped", "asked to stop", 130)
        assert life.writer.back_to_queue(reader.run(run_id), "resumed", first=True, by_itself=False)
        said = [event.message for event in reader.record(reader.run(run_id)).events if event.kind == "state"]
        assert said == [
            "queued",
            "starting",
            "running",
            "stopping: asked to stop",
            "stopped: asked to stop",
            "queued: resumed",
        ]
        run = reader.run(run_id)
        assert (run.worker, run.exit_code, run.failure, run.stop_requested_at) == (None, None, None, None)


class TestDiskFull:
    """SQLite's limit on the file's size gives the same error as a full disk."""

    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool, "TRY_AGAIN_S", 0.0)

    def fill(self, log: RunLog) -> int:
        """Write samples until the file is full and a few of them wait; return how many."""
        pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
        log._connection.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(1, 5_000):  # the last page, and those that migrations freed
            log.put_samples([SampleRow(number, float(number), "train")])
            if len(log._spool) > 5:
                return number
        pytest.fail("it was to be full by now")

    def free(self, log: RunLog) -> None:
        log._connection.execute("PRAGMA max_page_count = 1000000")

    def test_spooled_writes_keep_their_order_and_are_written_once(
        self, life: Life, reader: Reader, run_id: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        log = life.log(run_id)
        written = self.fill(log)
        assert len(reader.samples(run_id)) < written
        log.put_event("data", "while it was full")
        log.put_train_points([TrainPoint(20, 1, "sst", 20, 1.0)])
        assert log.put_progress(PROGRESS) is False
        assert reader.record(reader.run(run_id)).events[-1].message == "running"
        self.free(log)
        log.finish("finished")
        assert [row.sequence for row in reader.samples(run_id)] == list(range(1, written + 1))
        run = reader.run(run_id)
        assert run.state == "finished"
        said = [(event.kind, event.message) for event in reader.record(run).events][3:]
        assert [kind for kind, _ in said] == ["data", "storage", "state"]
        assert [kind for kind, _ in said].count("storage") == 1
        assert "cannot be written" in capfd.readouterr().err

    def test_a_stop_request_is_seen_while_writes_fail(
        self, life: Life, reader: Reader, run_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = life.log(run_id)
        life.request_stop(run_id)
        self.fill(log)
        assert log.put_progress(PROGRESS) is True

    def test_the_spool_is_bounded(
        self, life: Life, reader: Reader, run_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = life.log(run_id)
        self.fill(log)
        monkeypatch.setattr(spool, "SPOOL_BYTES", 100_000)
        with pytest.raises(StorageError, match="cannot be written, and 0 MiB wait in memory"):
            for number in range(1000):
                log.put_event("data", f"{number} {'x' * 1000}")
        assert log._spooled_bytes <= 100_000
        self.free(log)
        log.finish("failed", "the disk is full", 1, "storage")
        record = reader.record(reader.run(run_id))
        assert (record.run.state, record.run.failure) == ("failed", "storage")
        told = [event.message.split()[0] for event in record.events if event.kind == "data"]
        assert told == [str(number) for number in range(len(told))]
        assert len(told) > 50

    def test_an_end_that_cannot_be_written_is_an_error(
        self, life: Life, reader: Reader, run_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "LAST_TRIES_S", 0.2)
        monkeypatch.setattr(spool, "TRY_AGAIN_S", 0.01)
        log = life.log(run_id)
        self.fill(log)
        with pytest.raises(StorageError, match="the end of run"):
            log.finish("finished")
        assert reader.run(run_id).state == "running"

    def test_a_spooled_end_is_written_last(
        self, life: Life, reader: Reader, run_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "TRY_AGAIN_S", 0.2)
        log = life.log(run_id)
        self.fill(log)
        log.put_event("data", "while it was full")
        monkeypatch.setattr(spool.time, "sleep", lambda seconds: self.free(log))
        log.finish("finished")
        record = reader.record(reader.run(run_id))
        assert record.run.state == "finished"
        assert [event.kind for event in record.events][-3:] == ["data", "storage", "state"]

    def test_trouble_without_spooled_writes_ends_with_the_next_write(
        self, life: Life, reader: Reader, run_id: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        log = life.log(run_id)
        log._check_temporary(_full())
        log.put_event("data", "it is written again")
        log._check_temporary(_full())
        assert capfd.readouterr().err.count("cannot be written") == 2
        assert [event.kind for event in reader.record(reader.run(run_id)).events][-1] == "data"

    def test_a_programming_error_is_not_treated_as_a_full_disk(self, life: Life, run_id: str) -> None:
        log = life.log(run_id)
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            log.write(lambda connection: connection.execute("SELECT nonsense FROM runs"), "x")
        assert not log._spool


def test_another_worker_is_another_worker(life: Life, reader: Reader, run_id: str) -> None:
    life.log(run_id)
    assert life.worker(run_id, Worker(1, 1.0, "b", "h")) is None
    assert reader.run(run_id).worker == WORKER


def test_writers_wait_for_each_other_without_a_note(path: Path, life: Life, run_id: str) -> None:
    """SQLite itself waits for another program's short lock; nothing is spooled."""
    import threading

    log = life.log(run_id)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    written: list[bool] = []

    def release() -> None:
        written.append(bool(other.execute("SELECT 1 FROM events WHERE message = 'after it'").fetchall()))
        other.execute("ROLLBACK")

    releasing = threading.Timer(0.4, release)
    releasing.start()
    log.put_event("data", "after it")
    assert written == [False], "it came back before the other one had let go"
    assert not log._spool
    releasing.join()
    other.close()
