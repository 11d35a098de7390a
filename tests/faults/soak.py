"""Kill workers at random moments, and hold what the runs come to in the end to runs that nobody killed.

    python -m tests.faults.soak [--points 200] [--seed N] [--at-once 2] [--json FILE]

Each point is a run of a real worker that is killed with SIGKILL at a moment drawn at random from its whole life, load
and end included; one in five is killed once more after it was resumed, and with one in five what drains the queue is
killed too. The queue resumes each by itself. Then weights, scores, losses, predictions and events must be those of the
run that was left alone, to the bit, and the database must be sound.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftbench.jobs.launch import Launched, launch
from peftbench.jobs.liveness import liveness
from peftbench.jobs.lock import RunnerLock
from peftbench.spec import Resolved, resolve
from peftbench.store.rows import Run, RunSettings
from tests.faults.finals import differences, final, unsound
from tests.tiny import tiny_encoder_into, tiny_overrides

CHECKPOINT_MINUTES = 0.002  # 0.12 s: several within an epoch of a run this small
EPOCHS, TRAIN = 8, 160  # 20 steps a task and epoch
IN_LOAD = 0.15  # of the kills; the others are in what follows
RESUMES = 20

# What is trained: each with another part of the state that has to come back.
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lora, dropout": ("lora-r12", ("encoder.dropout=0.1",)),
    "dora, cosine, clipped": ("dora-r12", ("train.schedule=cosine", "train.warmup_ratio=0.1", "train.clip_norm=1.0")),
    "full, accumulated": ("full", ("train.accumulation_steps=2", "train.schedule=linear")),
    "last-layer, bucketed": ("last-layer", ("train.batching=bucketed",)),
    "loraplus, patience": ("loraplus-r12", ("train.patience=2",)),
    "delta-lora, bounded": ("delta-lora-r12", ("train.max_steps=20", "train.limit_examples=60")),
    "adalora": ("adalora-r12", ()),
    "lora, recomputed": ("lora-r12", ("train.gradient_checkpointing=true", "encoder.dropout=0.1")),
}


@dataclass
class Tally:
    """What came of the points so far."""

    points: int = 0
    kills: int = 0
    runner_kills: int = 0
    attempts: int = 0
    identical: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Soak:
    """Kills runs of every variant, `at_once` of them side by side, each side with a database of its own."""

    def __init__(self, folder: Path, seed: int, variants: Sequence[str]) -> None:
        self.folder, self.seed, self.variants = folder, seed, tuple(variants)
        self.encoder = tiny_encoder_into(folder / "encoder")
        self.references: dict[str, tuple[dict[str, Any], float, float]] = {}
        self.tally = Tally()
        self._lock = threading.Lock()

    def spec(self, variant: str) -> Resolved:
        preset, overrides = VARIANTS[variant]
        sizes = tiny_overrides(self.encoder, train=TRAIN)
        return resolve(preset, overrides=[*sizes, f"train.epochs={EPOCHS}", *overrides])

    def make_references(self) -> None:
        """Run each variant once, left alone."""
        for variant in self.variants:
            database = self.folder / "references.db"
            launched = launch(self.spec(variant), database, settings=RunSettings(CHECKPOINT_MINUTES))
            began = worked = None
            for update in launched.follow(0.05):
                began = began or (time.monotonic() if update.run.state == "running" else None)
                worked = worked or (time.monotonic() if update.progress is not None else None)
            assert update.run.state == "finished", launched.log.read_text()
            assert began is not None and worked is not None
            lives = worked - began, time.monotonic() - worked
            self.references[variant] = final(database, launched.run_id), *lives

    def side(self, number: int, points: int) -> None:
        """Do some of the points, one after another."""
        draw = random.Random(f"{self.seed}/{number}")
        database = self.folder / f"side-{number}.db"
        for point in range(points):
            variant = self.variants[(number + point) % len(self.variants)]
            self._point(variant, database, draw)

    def _point(self, variant: str, database: Path, draw: random.Random) -> None:
        expected, load_s, work_s = self.references[variant]
        launched = launch(self.spec(variant), database, settings=RunSettings(CHECKPOINT_MINUTES, RESUMES))
        plan = [
            ("load", draw.uniform(0, load_s)) if draw.random() < IN_LOAD else ("work", draw.uniform(0, work_s))
            for _ in range(2 if draw.random() < 0.2 else 1)
        ]
        with_runner = draw.random() < 0.2
        killed, last = self._kill_as_planned(launched, plan, with_runner)
        until = time.monotonic() + 5.0
        while liveness(last.worker) == "alive" or (
            (found := final(database, launched.run_id))["left over"] and time.monotonic() < until
        ):
            time.sleep(0.05)  # a worker that was killed just after its last word is tidied up after
        wrong = differences(expected, found) + unsound(database)
        with self._lock:
            tally = self.tally
            tally.points += 1
            tally.kills += len(killed)
            tally.runner_kills += with_runner
            tally.attempts += last.attempt
            tally.identical += not wrong
            for phase in killed:
                tally.phases[phase] = tally.phases.get(phase, 0) + 1
            if wrong:
                tally.wrong.append(f"{variant}, run {launched.run_id} of {database.name}: {', '.join(wrong)}")
            state = "the same" if not wrong else f"WRONG: {', '.join(wrong)}"
            print(f"{tally.points:>4} {variant:<24} killed in {', '.join(killed) or 'time to finish':<28} {state}")
            sys.stdout.flush()

    def _kill_as_planned(
        self, launched: Launched, plan: list[tuple[str, float]], with_runner: bool
    ) -> tuple[list[str], Run]:
        """Follow a run to its end, killing its workers at the planned seconds after they began to load, or to work."""
        killed: list[str] = []
        attempt = 0
        since: dict[str, float] = {}
        for update in launched.follow(0.02):
            run = update.run
            if run.state != "running" or run.worker is None:
                continue
            if run.attempt != attempt:
                attempt, since = run.attempt, {"load": time.monotonic()}
            if update.progress is not None:
                since.setdefault("work", time.monotonic())
            if len(killed) == len(plan) or len(killed) != attempt - 1:
                continue
            where, seconds = plan[len(killed)]
            if where in since and time.monotonic() >= since[where] + seconds:
                if with_runner and not killed:
                    _kill(RunnerLock(launched.database).holder())
                if _kill(run.worker.pid):
                    killed.append(update.progress.phase.split()[0] if update.progress else "load")
        return killed, update.run


def _kill(pid: int | None) -> bool:
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def soak(folder: Path, points: int, at_once: int, seed: int, variants: Sequence[str] = tuple(VARIANTS)) -> Tally:
    """Do so many points and return what came of them."""
    work = Soak(folder, seed, variants)
    work.make_references()
    sides = [
        threading.Thread(target=work.side, args=(n, points // at_once + (n < points % at_once))) for n in range(at_once)
    ]
    for side in sides:
        side.start()
    for side in sides:
        side.join()
    return work.tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the summary here too")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a runner may still write into it
        os.environ["PEFTBENCH_CACHE"] = str(Path(folder) / "cache")
        tally = soak(Path(folder), arguments.points, arguments.at_once, arguments.seed)
    minutes = (time.monotonic() - started) / 60
    where = ", ".join(f"{phase} {count}" for phase, count in sorted(tally.phases.items(), key=lambda item: -item[1]))
    print(
        f"{tally.points} points, {tally.kills} workers and {tally.runner_kills} runners killed, {tally.attempts}"
        f" workers in all, {minutes:.0f} min; {platform.machine()}, {os.cpu_count()} cores, Python"
        f" {platform.python_version()}, seed {arguments.seed}"
    )
    print(f"killed in: {where}")
    print(f"bit-identical in the end: {tally.identical} of {tally.points}")
    for line in tally.wrong:
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps({**tally.__dict__, "minutes": minutes}, indent=2))
    sys.exit(0 if tally.identical == tally.points else 1)


if __name__ == "__main__":
    main()
