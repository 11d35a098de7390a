"""The snapshot source: incremental reading, and problems reported instead of raised."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.store.rows import Phase, Progress, SampleRow, now
from peftbench.tui.machine import Machine
from peftbench.tui.source import MOST_POINTS, StoreSource
from peftbench.tui.state import StateRequest
from tests.patience import moment_after
from tests.store.life import Life
from tests.stored import create_resolved as new
from tests.stored import put_scored_epoch as epoch


@pytest.fixture
def life(tmp_path: Path) -> Any:
    made = Life(tmp_path / "runs.db")
    yield made
    made.close()


def source(life: Life) -> StoreSource:
    return StoreSource(life.path, Machine)


def test_a_store_that_is_not_there_reads_as_an_empty_one(tmp_path: Path) -> None:
    found = StoreSource(tmp_path / "none.db", Machine).look(StateRequest())
    assert (found.lines, found.problem, found.read) == ((), None, True)
    assert not (tmp_path / "none.db").exists()


def test_a_store_that_comes_to_be_is_read(tmp_path: Path) -> None:
    looked = StoreSource(tmp_path / "runs.db", Machine)
    assert not looked.look(StateRequest()).lines
    life = Life(tmp_path / "runs.db")
    new(life)
    assert len(looked.look(StateRequest()).lines) == 1
    life.close()


def test_a_store_in_the_making_is_read_as_soon_as_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    sqlite3.connect(path).close()
    path.touch()  # a file without tables, as during its creation
    looked = StoreSource(path, Machine)
    assert not looked.look(StateRequest()).lines
    life = Life(path)
    new(life)
    assert len(looked.look(StateRequest()).lines) == 1
    life.close()


def test_a_run_from_its_queue_to_its_end(life: Life) -> None:
    run_id, looked = new(life), source(life)
    (queued,) = looked.look(StateRequest()).lines
    assert (queued.state, queued.progress, queued.figures.left_s) == ("queued", None, None)

    life.claim(run_id)
    life.put_progress(run_id, Progress(1, "train", "sst", 5, 10, 5, 100, 2.0, now()))
    life.put_samples(run_id, [SampleRow(1, 5.0, "train", energy_j=40.0, process_vram_mib=700.0, rss_mib=500.0)])
    found = looked.look(StateRequest())
    (line,) = found.lines
    assert found.pinned == (run_id,)  # the only active one
    assert line.progress is not None
    assert line.progress.step == 5
    assert line.figures.left_s == pytest.approx(95 / 2.0)
    assert (line.figures.energy_j, line.figures.vram_mib) == (40.0, 700.0)
    assert found.details[run_id].samples[-1].energy_j == 40.0

    epoch(life, run_id, 1, dev=0.5, train=0.7)
    life.finish(run_id, "finished")
    found = looked.look(StateRequest())
    (line,) = found.lines
    assert (line.state, line.progress, line.run.dev_avg) == ("finished", None, 0.5)
    assert line.figures.gap == pytest.approx(0.2)
    assert found.details[run_id].record.epochs[-1].epoch == 1


def test_samples_are_read_once_and_the_window_moves_on(life: Life) -> None:
    run_id, looked = new(life), source(life)
    life.claim(run_id)
    life.put_samples(run_id, [SampleRow(n, float(n), "train", rss_mib=float(n)) for n in range(1, 101)])
    wanted = StateRequest((run_id,), window_s=60)
    first = looked.look(wanted).details[run_id].samples
    assert [first[0].sequence, first[-1].sequence] == [41, 100]
    life.put_samples(run_id, [SampleRow(n, float(n), "train", rss_mib=float(n)) for n in range(101, 111)])
    second = looked.look(wanted).details[run_id].samples
    assert [second[0].sequence, second[-1].sequence, len(second)] == [51, 110, 60]
    wide = looked.look(replace(wanted, window_s=300)).details[run_id].samples
    assert len(wide) == 110


@pytest.mark.slow
def test_all_of_a_long_run_is_summed_up_with_its_peaks(life: Life) -> None:
    run_id, looked = new(life), source(life)
    life.claim(run_id)
    life.put_samples(
        run_id,
        [SampleRow(n, float(n), "train", power_w=400.0 if n == 4321 else 100.0) for n in range(1, 10_001)],
    )
    found = looked.look(StateRequest((run_id,), window_s=None)).details[run_id].samples
    assert MOST_POINTS / 2 < len(found) <= MOST_POINTS
    assert max(sample.power_w or 0 for sample in found) == 400.0
    assert found[-1].sequence == 10_000
    assert [s.at_s for s in found] == sorted(s.at_s for s in found)


def test_a_queued_run_is_judged_by_one_that_has_ended(life: Life) -> None:
    done, looked = new(life), source(life)
    life.claim(done)
    epoch(life, done, 1)
    moment_after(now())
    life.finish(done, "finished")
    waits = new(life, seed=1)
    found = looked.look(StateRequest())
    line = found.line(waits)
    assert line is not None
    assert line.figures.left_s is not None
    assert line.figures.left_s > 0


def test_a_worker_that_is_gone_shows_as_lost(life: Life) -> None:
    from peftbench.jobs.liveness import this_process

    run_id = new(life)
    life.claim(run_id, replace(this_process(), started_at=1.0))
    (line,) = source(life).look(StateRequest()).lines
    assert (line.run.state, line.state) == ("running", "lost")


@pytest.mark.slow
def test_figures_of_many_runs_come_in_time_and_of_those_shown_at_once(life: Life) -> None:
    ids = []
    for seed in range(30):
        run_id = new(life, seed=seed)
        life.claim(run_id)
        epoch(life, run_id, 1, dev=0.5, train=0.6)
        life.finish(run_id, "finished")
        ids.append(run_id)
    looked = source(life)
    found = looked.look(StateRequest((), shown=tuple(ids[:5])))
    assert all(found.line(run_id).figures.gap == pytest.approx(0.1) for run_id in ids[:5])  # type: ignore[union-attr]
    for _ in range(30):
        found = looked.look(StateRequest(()))
    assert all(line.figures.gap == pytest.approx(0.1) for line in found.lines)


def test_a_deleted_run_is_gone(life: Life) -> None:
    run_id, looked = new(life), source(life)
    assert looked.look(StateRequest((run_id,), looked_at=(run_id,))).pinned == (run_id,)
    from peftbench.jobs.removal import remove
    from peftbench.store.reader import Reader

    with Reader(life.path) as reader:
        remove(life.path, [reader.run(run_id)])
    found = looked.look(StateRequest((run_id,), looked_at=(run_id,)))
    assert (found.lines, found.pinned, dict(found.details)) == ((), (), {})


def test_what_cannot_be_read_is_said_and_what_was_read_stays(life: Life) -> None:
    new(life)
    looked = source(life)
    assert len(looked.look(StateRequest()).lines) == 1
    life.close()
    for path in life.path.parent.glob("runs.db*"):
        path.unlink()
    found = looked.look(StateRequest())
    assert found.problem is not None
    assert "deleted or moved" in found.problem
    assert len(found.lines) == 1
    assert looked.look(StateRequest()).problem == found.problem  # as long as the problem persists
    again = Life(life.path)
    found = looked.look(StateRequest())
    assert (found.problem, found.lines) == (None, ())
    again.close()


def test_a_newer_store_and_a_file_that_is_none(tmp_path: Path) -> None:
    life = Life(tmp_path / "newer.db")
    new(life)
    life.close()
    connection = sqlite3.connect(tmp_path / "newer.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    (tmp_path / "text.db").write_text("no database at all, but a text of some length" * 100)
    for name, said in (("newer.db", "newer peftbench"), ("text.db", "not a database")):
        found = StoreSource(tmp_path / name, Machine).look(StateRequest())
        assert found.problem is not None
        assert said in found.problem


def test_a_store_that_is_replaced_is_read_anew(life: Life, tmp_path: Path) -> None:
    new(life)
    looked = source(life)
    assert len(looked.look(StateRequest()).lines) == 1
    life.close()
    other = Life(tmp_path / "other.db")
    new(other, seed=1)
    new(other, seed=2)
    other.close()
    for path in life.path.parent.glob("runs.db*"):
        path.unlink()
    (tmp_path / "other.db").rename(life.path)
    found = looked.look(StateRequest())
    assert (found.problem, len(found.lines)) == (None, 2)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("spec_json", "{}"),
        ("spec_json", "[]"),
        ("spec_json", "not json"),
        ("spec_json", '{"tasks": null}'),
        ("conditions", "[]"),
        ("finished_at", ""),
        ("started_at", "yesterday"),
        ("settings", '{"unknown": 1}'),
    ],
)
def test_a_row_that_makes_no_sense_is_left_out_and_said(life: Life, column: str, value: str) -> None:
    good, odd = new(life), new(life, seed=1)
    life.close()
    connection = sqlite3.connect(life.path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, odd))
    connection.commit()
    connection.close()
    found = StoreSource(life.path, Machine).look(StateRequest(looked_at=(odd,)))
    assert [line.run.id for line in found.lines] == [good]
    assert found.problem is not None
    assert odd in found.problem
    assert not found.broken


def test_what_a_lost_worker_said_last_is_no_more(life: Life) -> None:
    from peftbench.jobs.liveness import this_process

    run_id = new(life)
    life.claim(run_id, replace(this_process(), started_at=1.0))
    life.put_progress(run_id, Progress(1, "train", "sst", 5, 10, 5, 100, 2.0, now()))
    found = source(life).look(StateRequest((run_id,)))
    (line,) = found.lines
    assert (line.state, line.progress, line.figures.left_s) == ("lost", None, None)
    assert found.details[run_id].progress is None


def test_the_last_samples_of_a_run_are_read_after_its_end(life: Life) -> None:
    run_id, looked = new(life), source(life)
    life.claim(run_id)
    life.put_samples(run_id, [SampleRow(1, 1.0, "train", rss_mib=5.0)])
    assert len(looked.look(StateRequest((run_id,))).details[run_id].samples) == 1
    life.put_samples(run_id, [SampleRow(2, 2.0, "train", rss_mib=6.0)])
    life.finish(run_id, "finished")
    assert len(looked.look(StateRequest((run_id,))).details[run_id].samples) == 2
    assert len(looked.look(StateRequest((run_id,))).details[run_id].samples) == 2


def test_memory_is_told_for_a_run_without_an_epoch_too(life: Life) -> None:
    run_id, looked = new(life), source(life)
    life.claim(run_id)
    life.put_phases(run_id, [Phase("load", None, None, None, 1.0, peak_rss_mib=512.0)])
    life.finish(run_id, "failed", "no memory", 1)
    (line,) = looked.look(StateRequest((), shown=(run_id,))).lines
    assert line.figures.rss_mib == 512.0
