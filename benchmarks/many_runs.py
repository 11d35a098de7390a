"""Cost of commands and of an idle dashboard on a database of many runs.

    python -m benchmarks.many_runs [--runs N] [--db FILE] [--keep] [--seconds S] [--json FILE]

The database is written in SQL, modelled on a run created by the store itself: each run has its row with a real spec,
origins and conditions, three epochs with scores of three tasks, and the phases of a real run (load, then per epoch
warm-up, training and evaluation of each task, and a checkpoint). Some runs wait in the queue. Each command is a
separate process: its CPU seconds (user and system) and peak memory are the kernel's. The dashboard is the real app
without a screen; its CPU seconds are counted once it is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peftbench.spec import resolve
from peftbench.store import prediction_sets
from peftbench.store.reader import Reader
from peftbench.store.rows import MeterSettings, Prediction, RunSettings, now
from peftbench.store.writer import Writer

PRESETS = ("last-layer", "full", "lora-r12", "dora-r12", "rslora-r12", "pissa-r12", "ia3", "ln-tuning")
COMPARED = 20  # runs with predictions
WAITING = 30
EPOCHS = 3
TASKS = ("sst", "paraphrase", "sts")
BATCH = 2_000
CONDITIONS = {
    "device_type": "cpu", "device": "AMD EPYC", "threads": 2, "torch": "2.8.0", "path": "native: linear, attention",
    **{f"library_{number}": f"version {number}.0.{number}" for number in range(60)},
}  # fmt: skip
COMMANDS: dict[str, tuple[str, ...]] = {
    "--help, which reads nothing": ("--help",),
    "runs": ("runs",),
    "runs --state finished --preset full": ("runs", "--state", "finished", "--preset", "full"),
    "show ID": ("show", "{id}"),
    "show NAME": ("show", "{name}"),
    "compare ID ID": ("compare", "{id}", "{other}"),
    "queue": ("queue",),
    "stop of 100 names": ("stop", "--detach", "{hundred}"),
}


_ALONE = """
import peftbench.jobs.control as control, peftbench.jobs.queue as queue
queue.ensure_runner = control.ensure_runner = lambda database: False
"""
_COUNTED = """
import resource, sys
from pathlib import Path
from peftbench.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print("USED", used.ru_utime + used.ru_stime, int(peak.split()[1]) / 1024, file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--db", type=Path, help="path of the database; default: in a temporary folder")
    parser.add_argument("--keep", action="store_true", help="with --db: use the existing database")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the dashboard is measured")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.db or Path(folder) / "many.db"
        begun = time.perf_counter()
        if not (arguments.keep and path.exists()):
            fill(path, arguments.runs)
        size = path.stat().st_size / 2**20
        print(f"{arguments.runs:,} runs, {size:,.0f} MiB, written in {time.perf_counter() - begun:.0f} s")
        figures: dict[str, Any] = {}
        for name, words in COMMANDS.items():
            figures[name] = found = measured(path, words)
            print(f"{name:<38} {found['cpu_s']:6.2f} s of processor {found['rss_mib']:7.0f} MiB")
        figures["dashboard"] = idle = asyncio.run(dashboard(path, arguments.seconds))
        print(
            f"dashboard, idle for {arguments.seconds:.0f} s{'':<15} {idle['core_pct']:6.1f} % of a core"
            f" {idle['rss_mib']:9.0f} MiB; its runs were there after {idle['first_cpu_s']:.2f} s of processor"
        )
    machine = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": arguments.runs, "machine": machine, **figures}, indent=2) + "\n")


def fill(path: Path, runs: int) -> None:
    """Write the database: finished runs, a hundred per day, followed by some that wait."""
    for old in path.parent.glob(f"{path.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    with Writer(path):
        pass
    specs = {preset: resolve(preset) for preset in PRESETS}
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    for at in range(0, runs, BATCH):
        connection.execute("BEGIN")
        rows = [_row(number, specs, number >= runs - WAITING) for number in range(at, min(at + BATCH, runs))]
        marks = ", ".join(f":{name}" for name in columns)
        blank = {**dict.fromkeys(columns), "tags": "[]"}
        connection.executemany(f"INSERT INTO runs VALUES ({marks})", [{**blank, **row} for row in rows])
        finished = [row["id"] for row in rows if row["state"] == "finished"]
        connection.executemany("INSERT INTO epochs VALUES (?, ?, 0.7, 0.7, NULL, ?)", _epochs(finished))
        connection.executemany(
            "INSERT INTO scores VALUES (?, ?, ?, ?, 'accuracy', ?, NULL, 0.6, 300)", _scores(finished)
        )
        for number, run_id in enumerate(finished[:COMPARED] if at == 0 else ()):
            prediction_sets.put(connection, run_id, _predictions(number))
        connection.executemany(
            "INSERT INTO phases (run_id, phase, epoch, task, split, wall_s, steps, attempt, sequence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)",
            _phases(finished),
        )
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _row(number: int, specs: dict[str, Any], waits: bool) -> dict[str, Any]:
    preset = PRESETS[number % len(PRESETS)]
    resolved, seed = specs[preset], number // len(PRESETS)
    spec = json.loads(resolved.spec.canonical_json()) | {"seed": seed}
    made = f"20{10 + number // 31_000:02}-{number // 2_600 % 12 + 1:02}-{number // 100 % 26 + 1:02}"
    at = f"{made}T{number % 100 // 5:02}:{number % 5 * 10:02}"
    facts = {
        "id": _id(number), "name": f"{preset}-{seed + 1}", "state": "queued", "state_at": f"{at}:00.000Z",
        "preset": preset, "workload": spec["workload"], "method": spec["method"]["name"],
        "encoder": spec["encoder"]["name"], "seed": seed, "spec_json": json.dumps(spec),
        "spec_hash": f"{number:064x}", "group_hash": f"{PRESETS.index(preset) + 16 * (seed // 5):064x}",
        "origins": json.dumps(resolved.origins), "conditions": "{}", "adapter_weights": "{}",
        "meter_settings": json.dumps(vars_of(MeterSettings())), "settings": json.dumps(vars_of(RunSettings())),
        "epochs_planned": EPOCHS, "epochs_done": 0, "attempt": 0, "resumed": 0, "queue_position": number,
        "created_at": f"{at}:00.000Z",
    }  # fmt: skip
    if waits:
        return facts
    return facts | {
        "state": "finished", "state_at": f"{at}:40.000Z", "started_at": f"{at}:01.000Z",
        "finished_at": f"{at}:40.000Z", "heartbeat_at": f"{at}:40.000Z", "exit_code": 0,
        "conditions": json.dumps(CONDITIONS), "data_hash": "d" * 64, "weights_total": 22_700_000,
        "weights_trainable": 500_000, "adapter_weights": json.dumps(dict.fromkeys(TASKS, 150_000)),
        "epochs_done": EPOCHS, "best_epoch": EPOCHS, "dev_avg": 0.7, "leaderboard": 0.7, "attempt": 1,
        "worker_pid": 1, "worker_started_at": 1.0, "worker_boot_id": "boot", "worker_host": platform.node(),
    }  # fmt: skip


def _id(number: int) -> str:
    """Return ids in ascending order: rows with random ids take ten times as long to insert."""
    letters = "23456789abcdefghjkmnpqrstvwxyz"
    text = ""
    for _ in range(8):
        number, rest = divmod(number, len(letters))
        text = letters[rest] + text
    return text


def vars_of(settings: MeterSettings | RunSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def _epochs(ids: list[str]) -> list[tuple[Any, ...]]:
    at = now()
    return [(run_id, epoch, at) for run_id in ids for epoch in range(1, EPOCHS + 1)]


def _scores(ids: list[str]) -> list[tuple[Any, ...]]:
    return [
        (run_id, epoch, task, split, 0.6 + 0.03 * epoch)
        for run_id in ids
        for epoch in range(1, EPOCHS + 1)
        for task in TASKS
        for split in ("train", "dev")
    ]


def _predictions(number: int) -> list[Prediction]:
    """Return the predictions of one of the first runs, which are those compared."""
    return [
        Prediction(task, EPOCHS, f"{task}-{at}", float(at % 2), float((at * 7 + number) % 3 == 0))
        for task in TASKS
        for at in range(300)
    ]


def _phases(ids: list[str]) -> list[tuple[Any, ...]]:
    one = [("load", None, None, None, 2.0, None)]
    for epoch in range(1, EPOCHS + 1):
        one += [("warmup", epoch, None, None, 0.3, 5)]
        one += [("train", epoch, task, None, 4.0, 120) for task in TASKS]
        one += [("eval", epoch, task, split, 0.4, None) for task in TASKS for split in ("train", "dev")]
        one += [("checkpoint", epoch, None, None, 0.1, None)]
    one += [("run", None, None, None, 39.0, None)]
    return [(run_id, *phase, number) for run_id in ids for number, phase in enumerate(one, start=1)]


def measured(path: Path, words: tuple[str, ...]) -> dict[str, float]:
    """Run a command and return its cost. The queue's runner is disabled, so that nothing else is started."""
    with Reader(path) as reader:
        names = sqlite3.connect(path).execute("SELECT id, name FROM runs ORDER BY rowid LIMIT 110").fetchall()
        assert reader.count() > len(names)
    places = {"id": names[0][0], "other": names[9][0], "name": names[50][1]}
    filled: list[str] = []
    for word in words:
        filled += [name for _, name in names[:100]] if word == "{hundred}" else [word.format(**places)]
    alone = _ALONE if words[0] in ("queue", "stop") else ""
    done = subprocess.run(
        [sys.executable, "-c", alone + _COUNTED, *filled, "--db", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cpu_s, rss_mib = map(float, done.stderr.rpartition("USED")[2].split())
    return {"cpu_s": cpu_s, "rss_mib": rss_mib}


async def dashboard(path: Path, seconds: float) -> dict[str, float]:
    from peftbench.tui.app import PeftbenchApp

    begun = time.process_time()
    app = PeftbenchApp(path)
    async with app.run_test(size=(120, 36)) as pilot:
        while not app.snapshot.lines:
            await pilot.pause(0.1)
        first = time.process_time() - begun
        used, quiet = time.process_time(), 0
        for _ in range(180):  # until the figures of all listed runs are read
            await asyncio.sleep(1.0)
            before, used = used, time.process_time()
            quiet = quiet + 1 if used - before < 0.05 else 0
            if quiet == 3:
                break
        at, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        core_pct = 100 * (time.process_time() - used) / (time.perf_counter() - at)
    return {
        "first_cpu_s": first,
        "core_pct": core_pct,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
