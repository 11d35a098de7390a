"""The comparison on the screen follows its runs, and compares those that can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from peftbench.store.reader import Reader
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.compare import Compare
from tests.store.life import Life
from tests.stored import create_resolved, put_scored_epoch, store_scored_run
from tests.tui.world import drive, screen_lines, screen_text, until

pytestmark = pytest.mark.slow


def test_runs_that_cannot_be_compared_yet_are_named_and_follow(tmp_path: Path) -> None:
    """Regression: one run without an epoch kept the others from being compared, for ever."""
    database = tmp_path / "runs.db"
    store_scored_run(database, "lora-r12", 0)
    store_scored_run(database, "dora-r12", 0)
    life = Life(database)
    late = create_resolved(life, seed=5)
    with Reader(database) as reader:
        ids = [run.id for run in reader.runs()]
    ids = [*(run_id for run_id in ids if run_id != late), late]

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await until(pilot, lambda: len(app.snapshot.lines) == 3)
        await app.push_screen(Compare(ids, {run_id: slot for slot, run_id in enumerate(ids)}))
        await pilot.pause()
        await until(pilot, lambda: "Dev Avg" in screen_text(app))
        assert "left out, without a finished epoch: lora-r12-2 (queued)" in screen_text(app)
        assert "against" in screen_lines(app)[0]
        life.claim(late)
        put_scored_epoch(life, late, 1)
        await until(pilot, lambda: "lora-r12-2" in screen_lines(app)[0])
        assert "left out, without" not in screen_text(app)

    drive(test, database=database)
    life.close()


def test_fewer_than_two_wait_for_their_epochs(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    life = Life(database)
    ids = [create_resolved(life, seed=seed) for seed in range(2)]

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await until(pilot, lambda: len(app.snapshot.lines) == 2)
        await app.push_screen(Compare(ids, {run_id: slot for slot, run_id in enumerate(ids)}))
        await pilot.pause()
        await until(pilot, lambda: "fewer than two can be compared yet" in screen_text(app))
        for run_id in ids:
            life.claim(run_id)
            put_scored_epoch(life, run_id, 1)
        await until(pilot, lambda: "against" in screen_lines(app)[0])

    drive(test, database=database)
    life.close()
