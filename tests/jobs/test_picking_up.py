"""What is to be done for planned runs, by what a store has of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftbench.jobs import picking_up
from peftbench.jobs.picking_up import pick_up, standings
from peftbench.spec import resolve
from peftbench.store.rows import Run, now
from tests.jobs.rows import run

PLANNED = [resolve("lora-r12", seed=seed) for seed in range(5)]


def stored(place: int, state: str, **facts: Any) -> Run:
    return replace(
        run(f"run{place}{state}"[:8].ljust(8, "a"), state=state),
        spec_hash=PLANNED[place].spec.hash(),
        state_at=now(),
        **facts,
    )


def test_each_state_needs_its_own() -> None:
    found = standings(
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
    (first, *_) = standings(PLANNED, [stored(0, "failed", failure="nan"), stored(0, "finished"), stored(0, "lost")])
    assert first.need == "nothing"
    (first, *_) = standings(PLANNED, [stored(0, "stopped"), stored(0, "failed", failure="nan")])
    assert (first.need, first.run and first.run.state) == ("resume", "stopped")


def test_what_is_there_is_resumed_and_the_rest_queued_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resumed: list[str] = []
    queued: list[Any] = []

    def enqueue(database: Path, runs: Any, *, sweep: str) -> list[str]:
        queued.extend(runs)
        return [f"new{place}" for place in range(len(runs))]

    monkeypatch.setattr(picking_up, "resume", lambda database, run: resumed.append(run.id))
    monkeypatch.setattr(picking_up, "enqueue", enqueue)
    done, stopped = stored(1, "finished"), stored(3, "stopped")
    ids = pick_up(tmp_path / "x.db", standings(PLANNED, [done, stopped]), "study-1")
    assert ids == ["new0", done.id, "new1", stopped.id, "new2"]
    assert resumed == [stopped.id]
    assert queued == [PLANNED[0], PLANNED[2], PLANNED[4]]


def test_nothing_is_queued_where_all_is_there(tmp_path: Path) -> None:
    found = [stored(place, "finished") for place in range(5)]
    assert pick_up(tmp_path / "x.db", standings(PLANNED, found), "x") == [one.id for one in found]
    assert not (tmp_path / "x.db").exists()
