"""Duration of the light commands as whole processes: the median of ten, with a warm disk cache.

    python benchmarks/startup.py [--json FILE]

Aims: `peftbench --help` under 0.3 s, `peftbench compare` under 0.6 s for two runs and under 1 s for two groups of five
(three tasks of 1,000 dev examples each, 10,000 resamples). The rounds are interleaved, so that other load on the
machine affects all commands alike.
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
import time
from pathlib import Path

from peftbench.jobs.liveness import this_process
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, EpochResult, Prediction, Score, now
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer

ROUNDS = 10
EXAMPLES = 1000
SEEDS = 5
AIMS = {"--help": 0.3, "runs": None, "show": None, "compare 1+1": 0.6, "compare 5+5": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "runs.db"
        presets = ("lora-r12", "dora-r12")
        for seed in range(SEEDS):
            for preset in presets:
                fill(database, preset, seed)
        names = [f"{preset}-1" for preset in presets]
        commands = {
            "--help": ["--help"],
            "runs": ["runs"],
            "show": ["show", names[0]],
            "compare 1+1": ["compare", *names],
            "compare 5+5": ["compare", *presets],
        }
        took: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(ROUNDS + 1):
            for name, words in commands.items():
                seconds = once(words, database)
                if turn:  # the first round warms the disk cache
                    took[name].append(seconds)
    print(f"{'peftbench':<12} {'median s':>9} {'fastest':>9} {'slowest':>9} {'aim':>6}")
    rows = {}
    for name, seconds in took.items():
        rows[name] = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
        aim = f"{AIMS[name]:.1f}" if AIMS[name] else ""
        print(f"{name:<12} {rows[name]['median_s']:>9.3f} {min(seconds):>9.3f} {max(seconds):>9.3f} {aim:>6}")
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{ROUNDS} interleaved rounds after one to warm up; {machine}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rounds": ROUNDS, "figures": rows}, indent=2))


def once(words: list[str], database: Path) -> float:
    started = time.perf_counter()
    subprocess.run(
        [Path(sys.executable).with_name("peftbench"), *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PEFTBENCH_DB": str(database)},
    )
    return time.perf_counter() - started


def fill(database: Path, preset: str, seed: int) -> None:
    """Store a finished run with random predictions."""
    resolved = resolve(preset, seed=seed)
    spec = resolved.spec
    rng = random.Random(f"{preset}-{seed}")
    labels = random.Random(0)
    with Writer(database) as writer:
        new = NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), resolved.origins)
        writer.create_runs([new])
        writer.start(new.id, None)
    with RunLog(database, new.id) as log:
        log.claim(this_process())
        scores, predictions = [], []
        for task in spec.tasks:
            scores.append(Score(1, task.name, "dev", task.metric, 0.7, None, 1.0, EXAMPLES))
            for i in range(EXAMPLES):
                label = float(labels.randrange(task.classes or 2))
                noise = rng.gauss(0, 1) if task.metric == "pearson" else rng.random() < 0.3
                predictions.append(Prediction(task.name, 1, f"{i}", label, abs(label - noise)))
        log.put_epoch(EpochResult(Epoch(1, 0.7, 0.75, None, now()), scores, [], 1, [], predictions))
        log.finish("finished")


if __name__ == "__main__":
    main()
