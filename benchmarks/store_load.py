"""Load test of the store: concurrent writers and readers, with a check for lost, duplicated or refused writes.

    python -m benchmarks.store_load [--writers 16] [--readers 8] [--rate 50] [--seconds 60] [--json FILE]

Each writer is a separate process that writes one run as a worker does: numbered events, and at intervals progress,
samples, losses and a full epoch with predictions. Each reader is a process that reads the list of runs and one run's
record, progress and new samples four times a second, as a dashboard does. At the end every event must be stored
exactly once, in order, and no process may have seen an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peftbench.jobs.liveness import this_process
from peftbench.spec import resolve
from peftbench.store.reader import Reader
from peftbench.store.rows import Epoch, EpochResult, Phase, Prediction, Progress, SampleRow, Score, TrainPoint, now
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer

LOOKS_PER_S = 4
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--rate", type=int, default=50, help="events a second of each writer")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--as", dest="role", choices=("writer", "reader"), help=argparse.SUPPRESS)
    parser.add_argument("--db", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        role = {"writer": write, "reader": read}[arguments.role]
        print(json.dumps(role(arguments.db, arguments.run, arguments.rate, arguments.seconds)))
        return
    figures = measure(arguments.writers, arguments.readers, arguments.rate, arguments.seconds)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    wrong = ("lost", "doubled", "errors", "disordered_runs", "unfinished_runs")
    sys.exit(0 if figures["integrity"] == "ok" and not any(figures[name] for name in wrong) else 1)


def measure(writers: int, readers: int, rate: int, seconds: float) -> dict[str, Any]:
    """Run the load and return the results."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "runs.db"
        runs = create(database, writers)
        words = ["--rate", str(rate), "--seconds", str(seconds), "--db", str(database)]
        started = [part("writer", run_id, words) for run_id in runs]
        started += [part("reader", runs[n % writers], words) for n in range(readers)]
        for process in started:
            process.stdout.readline()  # wait until all have loaded
        begun = time.monotonic()
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        wal = watch_wal(database, started)
        took = time.monotonic() - begun
        said = [process.communicate() for process in started]
        found = [json.loads(out) if out else {"error": err[-500:]} for out, err in said]
        wrote, looked = found[:writers], found[writers:]
        return {
            "writers": writers,
            "readers": readers,
            "rate": rate,
            "seconds": took,
            "errors": sum("error" in each for each in found) + sum(bool(err) for _, err in said),
            "said": [err for _, err in said if err][:3] + [each["error"] for each in found if "error" in each][:3],
            "events": sum(each.get("events", 0) for each in wrote),
            "late_s": max(each.get("late_s", 0) for each in wrote),
            "write_ms": spread([ms for each in wrote for ms in each.get("write_ms", ())]),
            "look_ms": spread([ms for each in looked for ms in each.get("look_ms", ())]),
            "looks": sum(len(each.get("look_ms", ())) for each in looked),
            "wal_peak_mib": max(wal) / MIB,
            **check(database, runs, wrote),
            "machine": f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores",
        }


def create(database: Path, count: int) -> list[str]:
    resolved = resolve("lora-r12")
    spec = resolved.spec
    new = [NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), resolved.origins) for _ in range(count)]
    with Writer(database) as writer:
        writer.create_runs(new)
        for run in new:
            writer.start(run.id, None)
    return [run.id for run in new]


def part(role: str, run_id: str, words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.store_load", "--as", role, "--run", run_id, *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def watch_wal(database: Path, started: list[subprocess.Popen[str]]) -> list[int]:
    """Return the size of the -wal file, sampled ten times a second until all processes have ended."""
    wal, sizes = database.with_name(f"{database.name}-wal"), [0]
    while any(process.poll() is None for process in started):
        if wal.exists():
            sizes.append(wal.stat().st_size)
        time.sleep(0.1)
    return sizes


def write(database: Path, run_id: str, rate: int, seconds: float) -> dict[str, Any]:
    """Write `rate` numbered events per second, and a worker's other rows in between."""
    with RunLog(database, run_id) as log:
        if not log.claim(this_process()):
            return {"error": "not claimed"}
        ready()
        took: list[float] = []
        late_s = 0.0
        begun = time.monotonic()
        count = round(rate * seconds)
        for number in range(count):
            wait = begun + number / rate - time.monotonic()
            late_s = max(late_s, -wait)
            if wait > 0:
                time.sleep(wait)
            started = time.perf_counter()
            log.put_event("load", str(number))
            took.append((time.perf_counter() - started) * 1e3)
            if number % (rate // LOOKS_PER_S) == 0:
                log.put_progress(Progress(1, "train", "sst", number, count, number, count, 9.0, now()))
            if number % rate == 0:
                log.put_samples([SampleRow(number + 1, time.time(), "train", rss_mib=1.0)])
            if number % (10 * rate) == 0:
                put_epoch(log, number // (10 * rate) + 1)
        log.finish("finished")
        return {"events": count, "write_ms": took, "late_s": late_s}


def put_epoch(log: RunLog, epoch: int) -> None:
    log.put_train_points([TrainPoint(epoch * 100 + n, epoch, "sst", 20, 0.5) for n in range(20)])
    result = EpochResult(
        Epoch(epoch, 0.5, 0.5, None, now()),
        scores=[Score(epoch, "sst", "dev", "accuracy", 0.5, None, 1.0, 1000)],
        phases=[Phase("train", epoch, "sst", "train", 1.0, steps=10)],
        best_epoch=epoch,
        task_bests=[],
        predictions=[Prediction("sst", epoch, str(n), 0.0, 1.0) for n in range(1000)],
    )
    log.put_epoch(result)


def read(database: Path, run_id: str, rate: int, seconds: float) -> dict[str, Any]:
    """Read what a dashboard reads, four times a second."""
    ready()
    took = []
    begun = time.monotonic()
    seen = 0
    with Reader(database) as reader:
        while (now_s := time.monotonic()) - begun < seconds:
            started = time.perf_counter()
            reader.runs()
            reader.record(reader.run(run_id))
            reader.progress(run_id)
            seen = max([seen, *(row.sequence for row in reader.samples(run_id, seen))])
            took.append((time.perf_counter() - started) * 1e3)
            time.sleep(max(0.0, now_s + 1 / LOOKS_PER_S - time.monotonic()))
    return {"look_ms": took}


def ready() -> None:
    print("", flush=True)
    sys.stdin.readline()


def check(database: Path, runs: list[str], wrote: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of lost, duplicated and disordered events, and the result of SQLite's integrity check."""
    lost = doubled = disordered = 0
    with Reader(database) as reader:
        for run_id, said in zip(runs, wrote, strict=True):
            found = [int(e.message) for e in reader.record(reader.run(run_id)).events if e.kind == "load"]
            lost += said.get("events", 0) - len(set(found))
            doubled += len(found) - len(set(found))
            disordered += found != sorted(found)
        unfinished = sum(run.state != "finished" for run in reader.runs())
    connection = sqlite3.connect(database)
    integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    left = database.with_name(f"{database.name}-wal")
    return {
        "lost": lost,
        "doubled": doubled,
        "disordered_runs": disordered,
        "unfinished_runs": unfinished,
        "integrity": integrity,
        "wal_left_mib": left.stat().st_size / MIB if left.exists() else 0.0,
    }


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [float("nan")]
    return {
        "median": statistics.median(ordered),
        "p95": ordered[int(0.95 * (len(ordered) - 1))],
        "p99": ordered[int(0.99 * (len(ordered) - 1))],
        "max": ordered[-1],
    }


def show(figures: dict[str, Any]) -> None:
    print(
        f"{figures['writers']} writers at {figures['rate']} events/s beside {figures['readers']} readers,"
        f" {figures['seconds']:.0f} s; {figures['machine']}"
    )
    print(
        f"events {figures['events']}: lost {figures['lost']}, doubled {figures['doubled']}, runs out of order"
        f" {figures['disordered_runs']}, runs unfinished {figures['unfinished_runs']}, errors {figures['errors']},"
        f" integrity_check {figures['integrity']}"
    )
    for name, what in (("write_ms", "an event's write"), ("look_ms", f"a reader's look ({figures['looks']})")):
        values = ", ".join(f"{key} {value:.1f}" for key, value in figures[name].items())
        print(f"{what}, ms: {values}")
    print(
        f"a writer behind its time by at most {figures['late_s']:.2f} s; -wal file at most"
        f" {figures['wal_peak_mib']:.1f} MiB, {figures['wal_left_mib']:.1f} at the end"
    )
    for line in figures["said"]:
        print(line)


if __name__ == "__main__":
    main()
