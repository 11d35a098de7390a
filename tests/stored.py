"""Runs in a store, as the rows that others would write."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from peftbench.jobs.liveness import this_process
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, EpochResult, Phase, Prediction, Progress, Score, now
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer
from tests.store.life import Life
from tests.tiny import TASKS

TWO_TASKS = ("sst", "sts")
PROGRESS = Progress(1, "train", "sst", 3, 9, 4, 90, 2.5, "2026-01-01T00:00:00.000Z")


def spec_json(preset: str = "lora-r12", seed: int = 0, workload: str = "quickstart") -> str:
    return json.dumps(
        {
            "preset": preset,
            "workload": workload,
            "method": {"name": "lora"},
            "encoder": {"name": "tiny"},
            "seed": seed,
            "train": {"epochs": 3},
            "tasks": [{"name": task} for task in TWO_TASKS],
        }
    )


def create(writer: Life, name: str | None = None, *, group: str = "g", **described: object) -> str:
    return writer.create_run(
        spec_json=spec_json(**described), spec_hash="s", group_hash=group, origins={"seed": "--seed"}, name=name
    )


def execute_sql(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(sql, values)
        connection.commit()


_RIGHT = {"lora-r12": 0.7, "dora-r12": 0.72, "last-layer": 0.4}


def store_scored_run(
    db: Path, preset: str, seed: int, *overrides: str, examples: int = 120, finish: bool = True
) -> None:
    """Store a run that gets so many of its tasks right."""
    resolved = resolve(preset, overrides=overrides, seed=seed)
    spec, rng, labels = resolved.spec, random.Random(f"{preset}{seed}"), random.Random(0)
    new = NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), resolved.origins)
    with Writer(db) as writer:
        writer.create_runs([new])
        writer.start(new.id, None)
    with RunLog(db, new.id) as log:
        log.claim(this_process())
        scores, phases, predictions = [], [], []
        for task in spec.tasks:
            wrong = 1 - _RIGHT.get(preset, 0.6)
            for n in range(examples):
                label = float(labels.randrange(task.classes or 5))
                off = rng.gauss(0, 1 + wrong) if task.headline == "pearson" else rng.random() < wrong
                predictions.append(Prediction(task.name, 1, str(n), label, abs(label - off)))
            scores += [
                Score(1, task.name, split, task.headline, 0.7, None, 1.0, examples) for split in ("train", "dev")
            ]
            phases.append(Phase("train", 1, task.name, None, 10.0 + seed, 40, 320, 900, peak_rss_mib=900.0 + seed))
        epoch = Epoch(1, 0.7, 0.75, None, now())
        log.put_epoch(EpochResult(epoch, scores, phases, 1, [], predictions))
        if finish:
            log.finish("finished")


def create_resolved(life: Life, seed: int = 0, **facts: Any) -> str:
    spec = resolve("lora-r12", seed=seed).spec
    return life.create_run(
        spec_json=spec.canonical_json(), spec_hash=spec.hash(), group_hash=spec.group_hash(), origins={}, **facts
    )


def put_scored_epoch(life: Life, run_id: str, number: int, dev: float = 0.5, train: float = 0.6) -> None:
    """End an epoch whose tasks all score the same."""
    scores = [
        Score(number, task, split, "accuracy", value, None, 0.5, 10)
        for task in TASKS
        for split, value in (("train", train), ("dev", dev))
    ]
    epoch = Epoch(number, dev, dev, None, now())
    life.put_epoch(run_id, epoch, scores, [], best_epoch=number, task_bests=[], predictions=[])
