"""Cost of the dashboard: a redraw, twenty concurrent runs, opening a large database, a key press.

    python -m benchmarks.dashboard [--rounds N] [--seconds N] [--json FILE]

The app is the real one, on a store written by this script. "redraw" is the CPU time and the bytes for the terminal
between consecutive snapshots while all runs train: 4.5 snapshots per second, each with new progress and machine
readings, a new sample of each run every second, a new epoch of one run every fourth second. "all new" is the worst
case: a new epoch and sample of every run at once. Last, bytes per second by state: see `benchmarks.dashboard_traffic`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.dashboard_traffic import lines, traffic
from peftbench.spec import resolve
from peftbench.store.reader import Reader
from peftbench.store.rows import Epoch, EpochResult, Progress, Run, RunRecord, SampleRow, Score, Worker
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.machine import CardNow, Machine
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.source import StoreSource
from peftbench.tui.state import DashboardState, Detail, Figures, RunLine, StateRequest

SIZE = (120, 36)
AT = "2026-01-01T00:00:00Z"
CARD = CardNow(0, "NVIDIA H100 80GB", 81_559.0, 700.0, 43_000.0, 312.0, 97.0, 1980.0, 2619.0, 61.0, 0)


class Given:
    """A source that returns a preset snapshot."""

    def __init__(self) -> None:
        self.snapshot = DashboardState(0.0, read=False)

    def look(self, wanted: StateRequest) -> DashboardState:
        return self.snapshot

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long what is sent in each state is counted")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        template = _template(Path(folder) / "one.db")
        for name, runs, points, aim in (
            ("3 runs x 10 epochs", 3, 10, "15 ms, 10 KB"),
            ("20 runs x 2,000", 20, 2000, "30 ms"),
        ):
            figures[name] = cost = asyncio.run(redraws(template, runs, points, arguments.rounds))
            worst = f"worst {cost['worst_ms']:.1f}, all new {cost['all_new_ms']:.1f}"
            print(f"redraw, {name:<18} {cost['cpu_ms']:5.1f} ms CPU ({worst}) {cost['kb']:5.1f} KB (aim: {aim})")
        large = Path(folder) / "large.db"
        fill(large)
        figures["opening"] = opened = asyncio.run(opening(large))
        print(
            f"opening 1,000 runs and 10^6 samples: first look {opened['look_s']:.2f} s, runs on the screen after"
            f" {opened['screen_s']:.2f} s; 10^6 samples summed up in {opened['summary_s']:.2f} s (aim: under 1 s)"
        )
        figures["key"] = key = asyncio.run(keys(large, arguments.rounds))
        print(f"key press to paint, 1,000 runs: median {key['median_ms']:.1f} ms, p95 {key['p95_ms']:.1f} (aim: 50)")
        (states := Path(folder) / "states").mkdir()
        figures["states"] = sent = traffic(states, arguments.seconds)
        print("\n".join(lines(sent)))
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"at {SIZE[0]}x{SIZE[1]}, medians of {arguments.rounds} rounds; {machine}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2))


async def redraws(template: Run, runs: int, points: int, rounds: int) -> dict[str, float]:
    """Return the CPU time (ms) between consecutive snapshots (median, worst case, all new) and the mean bytes (KB)."""
    source = Given()
    app = PeftbenchApp(Path("bench.db"), lambda: source)
    app.poller.start = lambda: None  # type: ignore[method-assign]
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, Dashboard)
        sent = Sent(app)
        world = World(template, runs, points)

        async def redraw(change: Callable[[], None]) -> tuple[float, float]:
            change()
            app.snapshot = world.snapshot()
            begun, before = time.process_time(), sent.bytes
            screen.show(app.snapshot)
            await pilot.pause()
            return 1000 * (time.process_time() - begun), (sent.bytes - before) / 1000

        await redraw(world.all_new)
        usual = [await redraw(world.tick) for _ in range(rounds)]
        all_new = [await redraw(world.all_new) for _ in range(max(rounds // 4, 3))]
    return {
        "cpu_ms": statistics.median(cpu for cpu, _ in usual),
        "worst_ms": max(cpu for cpu, _ in usual),
        "all_new_ms": statistics.median(cpu for cpu, _ in all_new),
        "kb": statistics.mean(kb for _, kb in usual),
    }


class Sent:
    """Counts the bytes sent to the terminal, by rendering each update as the app's own driver would."""

    def __init__(self, app: PeftbenchApp) -> None:
        self.bytes = 0
        display = app._display

        def counting(screen: Any, renderable: Any) -> None:
            if renderable is not None and hasattr(renderable, "render_segments"):
                self.bytes += len(renderable.render_segments(app.console).encode())
            display(screen, renderable)

        app._display = counting  # type: ignore[method-assign]


async def opening(path: Path) -> dict[str, float]:
    """Return the seconds to the first snapshot, to the runs on screen, and to summarise all samples of a run."""
    begun = time.perf_counter()
    source = StoreSource(path, Machine)
    source.look(StateRequest())
    look_s = time.perf_counter() - begun
    source.close()
    begun = time.perf_counter()
    app = PeftbenchApp(path)
    async with app.run_test(size=SIZE) as pilot:
        while not app.snapshot.lines or not app.screen.query_one("#runs").row_count:  # type: ignore[attr-defined]
            await pilot.pause(0.005)
        screen_s = time.perf_counter() - begun
    with Reader(path) as reader:
        run = reader.runs()[0]
        begun = time.perf_counter()
        assert reader.sample_summary(run.id, 600)
        summary_s = time.perf_counter() - begun
    return {"look_s": look_s, "screen_s": screen_s, "summary_s": summary_s}


async def keys(path: Path, rounds: int) -> dict[str, float]:
    """Return the milliseconds from a key press until the table is repainted."""
    app = PeftbenchApp(path)
    taken = []
    async with app.run_test(size=SIZE) as pilot:
        while not app.snapshot.lines:
            await pilot.pause(0.05)
        painted = asyncio.Event()
        display = app._display

        def noting(screen: Any, renderable: Any) -> None:
            display(screen, renderable)
            painted.set()

        app._display = noting  # type: ignore[method-assign]
        await pilot.pause(1.0)
        for _ in range(rounds):
            painted.clear()
            begun = time.perf_counter()
            app.simulate_key("down")
            await painted.wait()
            taken.append(1000 * (time.perf_counter() - begun))
            await pilot.pause(0.02)
    return {"median_ms": statistics.median(taken), "p95_ms": sorted(taken)[int(0.95 * len(taken))]}


class World:
    """Running runs, each with five minutes of samples and half of its epochs done."""

    def __init__(self, template: Run, runs: int, points: int) -> None:
        self.points, self.ticks = points, 0
        self.tasks = RunRecord(template).tasks
        self.records: dict[int, RunRecord] = {}
        self.samples: dict[int, tuple[SampleRow, ...]] = {}
        for number in range(runs):
            run = replace(template, id=f"run{number:05d}", name=f"run-{number}", state="running", epochs_planned=points)
            noise = random.Random(number)
            self.records[number] = RunRecord(run)
            for _ in range(max(points // 2, 1)):
                self._epoch(number, noise.gauss(0, 0.01))
            self.samples[number] = tuple(self._sample(number, s) for s in range(300))
        self.noise = random.Random(0)

    def tick(self) -> None:
        """Advance by 0.22 s."""
        self.ticks += 1
        if self.ticks % 5 == 0:
            self._seconds()
        if self.ticks % 18 == 0:
            self._epoch(self.ticks // 18 % len(self.records), self.noise.gauss(0, 0.01))

    def all_new(self) -> None:
        """Advance every run by an epoch."""
        self.ticks += 5
        self._seconds()
        for number in self.records:
            self._epoch(number, self.noise.gauss(0, 0.01))

    def snapshot(self) -> DashboardState:
        """Return the current snapshot, as the feed would."""
        details, lines = {}, []
        for number, record in self.records.items():
            done = record.run.epochs_done
            progress = Progress(done + 1, "train", "sst", self.ticks % 90, 90, 90 * done, 90 * self.points, 11.5, AT)
            details[record.run.id] = Detail(record, progress, self.samples[number])
            last = self.samples[number][-1]
            lines.append(
                RunLine(record.run, "running", progress, Figures(0.1, last.vram_mib, 900.0, last.energy_j, 60.0))
            )
        card = replace(CARD, used_mib=43_000.0 + self.ticks // 5, power_w=300.0 + self.ticks // 5 % 7)
        now_s = 300 + self.ticks * 0.22
        return DashboardState(
            now_s, tuple(lines), tuple(details), details, Machine((card,), "", 2, 50.0, 4000.0, 24_000.0)
        )

    def _seconds(self) -> None:
        for number, held in self.samples.items():
            self.samples[number] = (*held[1:], self._sample(number, held[-1].sequence + 1))

    def _sample(self, number: int, s: int) -> SampleRow:
        power_w = 300 + 50 * math.sin((s + number) / 9)
        return SampleRow(s, float(s), "train", power_w, 350.0, 300.0 * s, 43e3, 18e3 + number, 17e3, 18e3, 1980.0)

    def _epoch(self, number: int, noise: float) -> None:
        record = self.records[number]
        epoch = record.run.epochs_done + 1
        value = (1 - math.exp(-8 * epoch / self.points)) * (0.7 + number / 100) + noise
        scores = [Score(epoch, t, s, "accuracy", value, None, 0.5, 100) for t in self.tasks for s in ("train", "dev")]
        run = replace(record.run, epochs_done=epoch, best_epoch=epoch, dev_avg=value)
        epochs = (*record.epochs, Epoch(epoch, value, value, None, AT))
        self.records[number] = replace(record, run=run, epochs=epochs, scores=(*record.scores, *scores))


def _template(path: Path) -> Run:
    spec = resolve("lora-r12").spec
    with Writer(path) as writer:
        writer.create_runs([NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), {})])
    with Reader(path) as reader:
        return reader.runs()[0]


def fill(path: Path, runs: int = 1000, samples: int = 1_000_000) -> None:
    """Write a store of finished runs; the newest has all the samples."""
    new = []
    for number in range(runs):
        spec = resolve("lora-r12", seed=number).spec
        new.append(NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), {}))
    with Writer(path) as writer:
        writer.create_runs(new)
        ids = [run.id for run in new]
        for run_id in (ids[0], ids[-1]):
            writer.start(run_id, None)
            log = RunLog(path, run_id)
            log.claim(Worker(1, 1.0, "boot", "elsewhere"))
            for epoch in range(1, 4):
                scores = [
                    Score(epoch, t, s, "accuracy", 0.5, None, 0.5, 100)
                    for t in ("sst", "paraphrase", "sts")
                    for s in ("train", "dev")
                ]
                log.put_epoch(EpochResult(Epoch(epoch, 0.5, 0.5, None, AT), scores, (), 1, (), ()))
            log.finish("finished", None, 0)
            log.__exit__(None, None, None)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET state = 'finished', finished_at = created_at WHERE state = 'queued'")
    rows = ((ids[-1], n, 1.7e9 + n, "train", 300.0, 310.0, 300.0 * n, 18e3) for n in range(1, samples + 1))
    connection.executemany(
        "INSERT INTO samples (run_id, sequence, at_s, phase, power_w, power_peak_w, energy_j, process_vram_mib)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main()
