"""Dashboard fixtures: the real app with a fake source, or with a database written by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from textual.pilot import Pilot

from peftbench.plot import BRAILLE, Glyphs
from peftbench.store.rows import Progress, RunRecord, SampleRow
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.machine import CardNow, Machine
from peftbench.tui.state import DashboardState, Detail, Figures, RunLine, StateRequest
from tests.factories import record
from tests.patience import PATIENCE_S

NOW_S = 1_767_261_661.0
AT = "2026-01-01T10:01:00.000Z"
CARD = CardNow(0, "NVIDIA H100 80GB HBM3", 81_559.0, 700.0, 43_650.0, 312.0, 97.0, 1980.0, 2619.0, 61.0, 0)
ON_CARD = Machine((CARD,), "", 16, 12.0, 9_000.0, 128_000.0)
ON_CPU = Machine((), "NVML Shared Library Not Found", 2, 61.0, 3_000.0, 24_000.0)
PROGRESS = Progress(5, "train", "paraphrase", 30, 120, 450, 1_200, 11.62, AT)
Test = Callable[[Pilot[int], PeftbenchApp], Awaitable[None]]


class Given:
    """A fake source that returns given snapshots and records requests."""

    def __init__(self, snapshot: DashboardState) -> None:
        self.snapshot = snapshot
        self.wanted = StateRequest()

    def look(self, wanted: StateRequest) -> DashboardState:
        self.wanted = wanted
        return self.snapshot

    def close(self) -> None:
        pass


def samples(count: int = 120, **of_all: Any) -> tuple[SampleRow, ...]:
    """Return GPU samples of given length in seconds, a wave plus a slope; throttled in the third quarter."""
    return tuple(
        SampleRow(
            s + 1,
            NOW_S - count + s,
            "train",
            power_w=300.0 + 40 * ((s // 5) % 3),
            power_peak_w=390.0,
            energy_j=300.0 * s,
            device_used_mib=43_000.0,
            process_vram_mib=18_000.0 + s,
            sm_clock_mhz=1980.0 if not count / 2 <= s < count * 3 / 4 else 1200.0,
            mem_clock_mhz=2619.0,
            temperature_c=61.0,
            gpu_util_pct=97.0,
            event_reasons=0x40 if count / 2 <= s < count * 3 / 4 else 0,
            rss_mib=900.0,
            cpu_pct=100.0,
            others_cpu_pct=3.0,
            **of_all,
        )
        for s in range(count)
    )


def run_record(run_id: str = "run00001", name: str = "lora-r12-1", *, epochs: int = 6, **changed: Any) -> RunRecord:
    """Return a run whose scores change between epochs."""
    found = record(epochs=epochs, **{"id": run_id, "name": name, **changed})
    lift = 0.02 * (sum(run_id.encode()) % 5)

    def value(epoch: int, split: str) -> float:
        return 0.45 + lift + (0.05 if split == "train" else 0.035) * min(epoch, 6)

    scores = tuple(replace(score, value=value(score.epoch, score.split)) for score in found.scores)
    ends = tuple(
        replace(epoch, dev_avg=value(epoch.epoch, "dev"), finished_at=f"2026-01-01T10:00:{5 * epoch.epoch:02d}.000Z")
        for epoch in found.epochs
    )
    best = replace(found.run, dev_avg=value(found.run.best_epoch, "dev")) if found.run.best_epoch else found.run
    events = tuple(replace(event, at=AT) for event in found.events)
    return replace(found, run=best, scores=scores, epochs=ends, events=events)


def going_on(run_id: str = "run00002", name: str = "dora-r12-1", **changed: Any) -> RunRecord:
    """Return a run of ten epochs with four of them done."""
    facts = {"state": "running", "finished_at": None, "exit_code": None, "best_epoch": 4, **changed}
    found = run_record(run_id, name, epochs=4, **facts)
    return replace(found, run=replace(found.run, epochs_planned=10))


def snapshot(
    *records: RunRecord, pinned: Sequence[str] | None = None, machine: Machine = ON_CARD, **more: Any
) -> DashboardState:
    """Return a snapshot of runs, all pinned by default."""
    lines, details = [], {}
    for found in records:
        run = found.run
        progress = (
            Progress(5, "train", "paraphrase", 30, 120, 450, 1_200, 11.62, AT) if run.state == "running" else None
        )
        left_s = 185.0 if progress else None
        lines.append(RunLine(run, run.state, progress, Figures(0.08, 18_432.0, 900.0, 184_000.0, left_s)))
        details[run.id] = Detail(found, progress, samples() if run.state != "queued" else ())
    chosen = tuple(details) if pinned is None else tuple(pinned)
    return DashboardState(NOW_S, tuple(lines), chosen, details, machine, **more)


def drive(
    test: Test,
    source: Given | None = None,
    *,
    database: Path = Path("test.db"),
    size: tuple[int, int] = (120, 36),
    glyphs: Glyphs = BRAILLE,
    theme: str | None = None,
    refused: str = "",
) -> None:
    """Run the app headless and a test in it. The first snapshot is on the screen when the test starts."""

    async def run() -> None:
        app = PeftbenchApp(database, (lambda: source) if source is not None else None, glyphs, refused)
        if theme is not None:
            app.theme = theme
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.snapshot.read)
            await pilot.pause()
            await test(pilot, app)

    asyncio.run(run())


async def until(pilot: Pilot[Any], true: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: it is not true before the timeout.
    """
    loop = asyncio.get_running_loop()
    end, wait_s = loop.time() + timeout_s, 0.02
    while not true():
        assert loop.time() < end, f"not within {timeout_s} s: {true}"
        await pilot.pause(wait_s)  # asks every widget for an answer: what takes long is looked at less often
        wait_s = min(2 * wait_s, 0.2)


def screen_lines(app: PeftbenchApp) -> list[str]:
    """Return the text of the screen by row."""
    width, height = app.size
    rows = app.screen._compositor.render_strips()
    lines = ["".join(segment.text for segment in strip) for strip in rows]
    assert len(lines) == height
    assert all(cell_len(line) == width for line in lines), [line for line in lines if cell_len(line) != width]
    return lines


def screen_text(app: PeftbenchApp) -> str:
    """Return the text of the screen."""
    return "\n".join(screen_lines(app))


def row_of(app: PeftbenchApp, word: str) -> str:
    """Return the first row of the screen that contains a word."""
    return next(line for line in screen_lines(app) if word in line)
