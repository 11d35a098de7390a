"""Status of planned runs, given the stored ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.jobs import reconcile
from peftbench.jobs.reconcile import run_statuses
from peftbench.spec import resolve
from peftbench.store.rows import Run, now
from tests.factories import run_row as run

PLANNED = [resolve("lora-r12", seed=seed) for seed in range(5)]


def stored(place: int, state: str, **facts: Any) -> Run:
    return replace(
        run(f"run{place}{state}"[:8].ljust(8, "a"), state=state),
        spec_hash=PLANNED[place].spec.hash(),
        state_at=now(),
        **facts,
    )


def test_each_state_needs_its_own() -> None:
    found = run_statuses(
        PLANNED,
        [
            stored(0, "finished"),
            stored(1, "queued"),
            stored(2, "stopped"),
            stored(3, "failed", failure="nan"),
        ],
    )
    assert [one.need for one in found] == ["nothing", "patience", "resume", "run", "run"]


def test_a_finished_run_counts_before_a_newer_one_that_is_not() -> None:
    (first, *_) = run_statuses(PLANNED, [stored(0, "failed", failure="nan"), stored(0, "finished"), stored(0, "lost")])
    assert first.need == "nothing"
    (first, *_) = run_statuses(PLANNED, [stored(0, "stopped"), stored(0, "failed", failure="nan")])
    assert (first.need, first.run and first.run.state) == ("resume", "stopped")


def test_interrupted_runs_are_resumed_and_missing_ones_queued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resumed: list[str] = []
    queued: list[Any] = []

    def enqueue(database: Path, runs: Any, *, sweep: str) -> list[str]:
        queued.extend(runs)
        return [f"new{place}" for place in range(len(runs))]

    monkeypatch.setattr(reconcile, "resume", lambda database, run: resumed.append(run.id))
    monkeypatch.setattr(reconcile, "enqueue", enqueue)
    done, stopped = stored(1, "finished"), stored(3, "stopped")
    ids = reconcile.reconcile(tmp_path / "x.db", run_statuses(PLANNED, [done, stopped]), "study-1")
    assert ids == ["new0", done.id, "new1", stopped.id, "new2"]
    assert resumed == [stopped.id]
    assert queued == [PLANNED[0], PLANNED[2], PLANNED[4]]


def test_nothing_is_queued_when_all_runs_exist(tmp_path: Path) -> None:
    found = [stored(place, "finished") for place in range(5)]
    assert reconcile.reconcile(tmp_path / "x.db", run_statuses(PLANNED, found), "x") == [one.id for one in found]
    assert not (tmp_path / "x.db").exists()
