"""Cost of OpenMP's wait policies: training steps per second of real runs, alone and beside busy processes.

    python -m benchmarks.busy [--rounds N] [--busy N] [--window S] [--presets P ...] [--ways W ...] [--json FILE]

A round runs each preset under each wait policy, once alone and once beside the busy processes, in a newly shuffled
order. Each is a run of the quickstart workload through the queue, in a database of its own; its steps are counted over
a window of `train` after the first steps, then it is stopped. Ratios are taken within a round and reported with their
spread, so that other load on the machine affects all cases alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil

from peftbench.jobs.launch import launch
from peftbench.spec import resolve
from peftbench.store.rows import MeterSettings

THREADS = str(os.cpu_count() or 1)
WAYS: dict[str, dict[str, str]] = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "passive": {"OMP_NUM_THREADS": THREADS, "OMP_WAIT_POLICY": "passive"},
    "spin 1000": {"OMP_NUM_THREADS": THREADS, "GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"OMP_NUM_THREADS": THREADS, "GOMP_SPINCOUNT": "10000"},
    "active": {"OMP_NUM_THREADS": THREADS, "GOMP_SPINCOUNT": "300000"},  # libgomp's default
}
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
FIRST_STEPS = 10  # excluded from the window
START_S = 30.0  # time limit for these, from the first step on
SETTINGS = ("tasks.sst.source.train=8000", "train.epochs=1")  # one task outlasts any window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=2, help="number of processes that keep a core busy")
    parser.add_argument("--window", type=float, default=8.0, help="seconds of training to count steps in")
    parser.add_argument("--presets", nargs="+", default=["lora-r12", "full"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rates: dict[tuple[str, str, bool], list[float]] = {}
    others = []
    for number in range(options.rounds):
        cases = [
            (preset, way, beside) for preset in options.presets for way in options.ways for beside in (False, True)
        ]
        random.Random(number).shuffle(cases)
        for preset, way, beside in cases:
            with busy_processes(options.busy if beside else 0) as busy:
                rate, used = steps_per_second(preset, WAYS[way], options.window, busy)
            rates.setdefault((preset, way, beside), []).append(rate)
            others.append(used)
            name = f"beside {options.busy}" if beside else "alone"
            print(
                f"round {number + 1}  {preset:<12} {way:<11} {name:<9} {rate:6.2f} steps/s", file=sys.stderr, flush=True
            )
    for line in table(rates, options.presets, options.ways, options.busy):
        print(line)
    print(
        f"{options.rounds} rounds, windows of {options.window:g} s; {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; other processes used {statistics.median(others):.1f} cores (at most "
        f"{max(others):.1f}) beside the run and the {options.busy}"
    )
    if options.json is not None:
        named = {
            " | ".join((preset, way, "beside" if beside else "alone")): of
            for (preset, way, beside), of in rates.items()
        }
        options.json.write_text(json.dumps({"rates": named, "others_cores": others}, indent=1))


@contextmanager
def busy_processes(count: int) -> Iterator[list[psutil.Process]]:
    """Run `count` processes that keep a core busy, while the context is open."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield [psutil.Process(child.pid) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()


def steps_per_second(
    preset: str, variables: Mapping[str, str], window_s: float, busy: Sequence[psutil.Process]
) -> tuple[float, float]:
    """Return the steps per second of a run under some variables, and the cores used by neither it nor `busy`."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(variables)
    with tempfile.TemporaryDirectory() as folder:
        launched = launch(resolve(preset, overrides=SETTINGS), Path(folder) / "busy.db", meter_settings=MeterSettings())
        first: tuple[float, int] | None = None
        last, began, used_before, used = (0.0, 0), None, None, 0.0
        for update in launched.follow():
            progress, worker = update.progress, update.run.worker
            if launched.stops_asked or progress is None or progress.phase != "train" or worker is None:
                continue
            last = datetime.fromisoformat(progress.at).timestamp(), progress.done
            began = last[0] if began is None else began
            if first is None and (progress.done >= FIRST_STEPS or last[0] - began > START_S):
                first, used_before = last, elsewhere_s(worker.pid, busy)
            if first is not None and used_before is not None and last[0] - first[0] >= window_s:
                used = (elsewhere_s(worker.pid, busy) - used_before) / (last[0] - first[0])
                launched.stop()
        if first is None or last[0] <= first[0]:
            raise SystemExit(f"no steps were counted: {update.run.reason}; {launched.log.read_text()[-2000:]}")
    return (last[1] - first[1]) / (last[0] - first[0]), used


def elsewhere_s(worker: int, busy: Sequence[psutil.Process]) -> float:
    """Return the machine's CPU seconds that were used by neither the worker nor the busy processes."""
    own = sum(sum(process.cpu_times()[:2]) for process in (psutil.Process(worker), *busy))
    return (
        sum(value for name, value in psutil.cpu_times()._asdict().items() if name in ("user", "nice", "system")) - own
    )


def table(
    rates: Mapping[tuple[str, str, bool], Sequence[float]], presets: Sequence[str], ways: Sequence[str], busy: int
) -> Iterator[str]:
    """Yield a line for each preset and way: medians, and ratios within rounds with their quartiles."""
    head = f"{'alone':>7} {'to active':>22} {f'beside {busy}':>9} {'to one thread':>22}"
    yield f"{'preset':<12} {'threads wait':<12} {head}"
    for preset in presets:
        for way in ways:
            alone, beside = rates[preset, way, False], rates[preset, way, True]
            to_active = ratios(alone, rates.get((preset, "active", False), ()))
            to_one = ratios(beside, rates.get((preset, "one thread", True), ()))
            medians = f"{statistics.median(alone):7.2f} {to_active:>22} {statistics.median(beside):9.2f} {to_one:>22}"
            yield f"{preset:<12} {way:<12} {medians}"


def ratios(values: Sequence[float], base: Sequence[float]) -> str:
    """Return the median and the quartiles of the ratios within rounds, as text."""
    found = sorted(value / other for value, other in zip(values, base, strict=False) if other)
    if not found:
        return ""
    low, high = found[(len(found) - 1) // 4], found[-1 - (len(found) - 1) // 4]
    return f"{statistics.median(found):.3f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
