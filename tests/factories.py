"""Rows of runs as the store returns them, made up: no store, nothing trained."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from peftbench.analysis.groups import Group, group_of
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, Event, Phase, Prediction, Run, RunRecord, Score, TaskBest, Worker, now
from peftbench.tasks import QuickstartSource, TaskSpec
from tests.meters.fakes import usage
from tests.tiny import TASKS

METRICS = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}
_NUMBERS = itertools.count()
CONDITIONS = {
    "device": "a CPU",
    "device_type": "cpu",
    "path": "native: torch, float32",
    "threads": 2,
    "malloc": {},
    "torch": "2.9",
    "encoder_sha256": "abc",
    "python": "3.12",
}


def run_row(run_id: str, **changed: Any) -> Run:
    """Return the row of a run: queued, where nothing else is said."""
    moment = now()
    missing = (
        "reason exit_code data_hash weights_total weights_trainable best_epoch dev_avg leaderboard started_at "
        "finished_at worker"
    )
    fields: dict[str, Any] = {
        **dict.fromkeys(missing.split()),
        "id": run_id,
        "name": f"lora-{run_id}",
        "state": "queued",
        "preset": "lora-r12",
        "workload": "quickstart",
        "method": "lora",
        "encoder": "tiny",
        "seed": 0,
        "spec_json": "{}",
        "spec_hash": "s",
        "group_hash": "g",
        "origins": {},
        "conditions": {},
        "adapter_weights": {},
        "epochs_planned": 1,
        "epochs_done": 0,
        "created_at": moment,
        "state_at": moment,
    }
    return Run(**{**fields, **changed})


def _finished_row(run_id: str, preset: str, **changed: Any) -> Run:
    """Return the row of a run that finished, at a moment that is always the same."""
    fields: dict[str, Any] = {
        "name": f"{preset}-1",
        "state": "finished",
        "exit_code": 0,
        "preset": preset,
        "data_hash": "d" * 64,
        "created_at": "2026-01-01T10:00:00.000Z",
        "started_at": "2026-01-01T10:00:01.000Z",
        "state_at": None,
    }
    return run_row(run_id, **{**fields, **changed})


def comparable_record(
    preset: str = "lora-r12",
    overrides: tuple[str, ...] = (),
    *,
    spec_json: str | None = None,
    seed: int = 0,
    conditions: dict[str, Any] | None = None,
    predictions: dict[str, tuple[Prediction, ...]] | None = None,
    test_predictions: dict[str, tuple[Prediction, ...]] | None = None,
    phases: tuple[Phase, ...] = (),
    shift: float = 0.0,
    **changed: Any,
) -> RunRecord:
    """Return the record of a finished run on the quickstart workload."""
    spec = resolve(preset, overrides=overrides, seed=seed).spec
    fields: dict[str, Any] = {
        "method": spec.method.name,
        "encoder": spec.encoder.name,
        "seed": seed,
        "spec_json": spec_json or spec.canonical_json(),
        "spec_hash": spec.hash(),
        "group_hash": spec.group_hash(),
        "conditions": CONDITIONS | (conditions or {}),
        "weights_total": 100,
        "weights_trainable": 10,
        "adapter_weights": {},
        "epochs_planned": spec.train.epochs,
        "epochs_done": spec.train.epochs,
        "best_epoch": 2,
        "dev_avg": 0.5,
        "leaderboard": 0.6,
        "finished_at": "2026-01-01T10:01:31.500Z",
        **changed,
    }
    own = predictions if predictions is not None else {task: predicted(task, shift) for task in TASKS}
    scores = tuple(Score(2, task, "dev", METRICS[task], 0.5, None, 0.1, 6) for task in TASKS)
    tests = test_predictions or {}
    scores += tuple(Score(2, task, "test", METRICS[task], 0.4, None, 0.1, len(rows)) for task, rows in tests.items())
    run_id = fields.pop("id", None) or f"id-{next(_NUMBERS)}"
    run = _finished_row(run_id, preset, **fields)
    return RunRecord(run, scores=scores, phases=phases, predictions=own, test_predictions=tests)


def predicted(task: str, shift: float = 0.0, count: int = 6) -> tuple[Prediction, ...]:
    return tuple(Prediction(task, 2, f"{task}-{n}", float(n % 2), n % 3 + shift * n) for n in range(count))


_RNG = np.random.default_rng(2)
_DIFFICULTIES = _RNG.normal(size=400)


def scored_run(accuracy: float, weights: int, seed: int = 0, name: str = "x") -> RunRecord:
    """Return a run that gets about so much of the first task right."""
    correct = _DIFFICULTIES + 0.5 * np.random.default_rng([seed, *name.encode()]).normal(size=400)
    hits = correct > np.quantile(correct, 1 - accuracy)
    rows = tuple(Prediction("sst", 2, str(n), 1.0, float(hit)) for n, hit in enumerate(hits))
    return comparable_record(seed=seed, weights_trainable=weights, predictions={"sst": rows})


def scored_group(label: str, accuracy: float, weights: int, seeds: int = 1) -> Group:
    return group_of(label, [scored_run(accuracy, weights, seed, label) for seed in range(seeds)])


def record(preset: str = "lora-r12", tasks: tuple[str, ...] = TASKS, *, epochs: int = 10, **changed: Any) -> RunRecord:
    tree = resolve(preset).spec.model_dump(mode="json")
    by_name = {task["name"]: task for task in tree["tasks"]}
    tree["tasks"] = [by_name.get(task, by_name["paraphrase"]) | {"name": task} for task in tasks]
    spec = json.dumps(tree)
    fields: dict[str, Any] = {
        "encoder": "all-MiniLM-L6-v2",
        "spec_json": spec,
        "spec_hash": "s" * 64,
        "group_hash": "g" * 64,
        "conditions": {"device": "a CPU of 2 cores", "threads": 2, "torch": "2.9.0+cpu"},
        "weights_total": 22_713_216,
        "weights_trainable": 497_671,
        "adapter_weights": dict.fromkeys(tasks, 165_888),
        "epochs_planned": epochs,
        "epochs_done": epochs,
        "best_epoch": epochs,
        "dev_avg": 0.7654,
        "leaderboard": 0.8123,
        "finished_at": "2026-01-01T23:59:31.500Z",
        **changed,
    }
    scores = tuple(
        Score(n, task, split, "accuracy", 0.1 + place / 10 + n / 1000, None, 0.25, 300)
        for n in range(1, epochs + 1)
        for place, task in enumerate(tasks)
        for split in ("train", "dev")
    )
    phases = tuple(Phase("train", 1, task, None, 5_000.0, 555_000, 80, 900, 9.0, 8.0, 12.0, 12_345.0) for task in tasks)
    return RunRecord(
        _finished_row(fields.pop("id", "abcd2345"), preset, **fields),
        tuple(Epoch(n, 0.5 + n / 1000, 0.6 + n / 1000, None, "t") for n in range(1, epochs + 1)),
        scores,
        (Phase("load", None, None, None, 3.0), *phases),
        tuple(TaskBest(task, 7, 0.5) for task in tasks),
        (Event(1, "t", "data", "2 rows left out"),),
        {
            task: tuple(Prediction(task, epochs, str(n), n % 2, (n + len(preset)) % 3) for n in range(9))
            for task in tasks
        },
    )


CARD_CONDITIONS = {
    "name": "NVIDIA RTX A6000",
    "uuid": "GPU-1",
    "power_limit_w": 300.0,
    "part_time_sensor": False,
    "mig": False,
}
QUIET_CONDITIONS = {
    "gpu": CARD_CONDITIONS,
    "gpu_computes": True,
    "cores": 8,
    "clock_lock": {"asked_mhz": 1695, "read_mhz": 1695, "held": True, "undone": True},
    "sampler": {"period_ms": 100, "failure": None},
}


def phase(name: str, wall_s: float = 10.0, task: str | None = None, epoch: int | None = 1, **changed: Any) -> Phase:
    steps = {"steps": 40, "examples": 320} if name == "train" else {}
    return Phase(name, epoch, task, None, wall_s, **steps, usage=usage(changed.pop("window_s", wall_s), **changed))


def on_a_card(*, conditions: dict[str, Any] | None = None, train: dict[str, Any] | None = None, **of: Any) -> RunRecord:
    """Return a run that was measured as well as can be, but for what is changed; None takes a phase away."""
    phases = [
        None if of.get("idle", {}) is None else phase("idle", 30.0, epoch=None, power_w=20.0, **of.get("idle", {})),
        phase("load", 3.0, epoch=None, started_s=30.0, energy_so_far_j=400.0),
        phase("anatomy", 2.0, epoch=None, started_s=33.0, energy_so_far_j=600.0),
        *(phase("train", 10.0, task, **(train or {})) for task in ("sst", "paraphrase", "sts")),
        phase("eval", 2.0, "sst", energy_so_far_j=4600.0, started_s=80.0),
        phase("run", 100.0, epoch=None, energy_j=7200.0, energy_integrated_j=7300.0, **of.get("run", {})),
    ]
    return replace(
        record(conditions=QUIET_CONDITIONS | (conditions or {})),
        phases=tuple(each for each in phases if each is not None),
    )


STARTED = datetime(2026, 11, 25, 23, 59, 30, tzinfo=UTC)
ON_CPU, ON_GPU = {"device_type": "cpu", "device": "a CPU"}, {"device_type": "cuda", "device": "a card"}


def timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finished_run(took_s: float = 30.0, epochs: int = 3, *, host: str | None = "here", **changed: Any) -> Run:
    """Return a finished run of LoRA on quickstart, of group "lora"."""
    worker = None if host is None else Worker(1, 0.0, "boot", host)
    fields: dict[str, Any] = {
        "state": "finished",
        "group_hash": "lora",
        "conditions": ON_CPU,
        "started_at": timestamp(STARTED),
        "finished_at": timestamp(STARTED + timedelta(seconds=took_s)),
        "worker": worker,
        "attempt": 1,
    }
    return replace(record(epochs=epochs).run, **(fields | changed))


def run_ids(count: int) -> tuple[str, ...]:
    return tuple(f"r{number}" for number in range(count))


_SOURCE = QuickstartSource()
FIVE_CLASSES = TaskSpec(name="sst", kind="classes", classes=5, text=("t",), label="y", source=_SOURCE)
YES_OR_NO = TaskSpec(name="paraphrase", kind="binary", text=("a", "b"), label="y", source=_SOURCE)
SIMILARITY = TaskSpec(name="sts", kind="similarity", text=("a", "b"), label="y", source=_SOURCE)
