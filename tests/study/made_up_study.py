"""Synthetic groups for the study's rows, with scores, costs and overfitting set by the test."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from peftbench.analysis.groups import Group, group_of
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, Phase, Prediction, RunRecord, Score, TaskBest, Usage
from peftbench.study.groups import StudyGroups, study_groups
from tests.factories import comparable_record as record

EXAMPLES = 1000
TASKS = ("sst", "paraphrase")
PRESETS = (
    "last-layer",
    "last-layer-dropout",
    "full",
    "lora-r12",
    "dora-r1",
    "dora-r4",
    "dora-r12",
    "dora-r24",
    "dora-r128",
)


@cache
def spec_of(preset: str, seed: int, augmented: bool, tasks: tuple[str, ...] = TASKS) -> str:
    tree = resolve(preset, seed=seed).spec.model_dump(mode="json")
    by_name = {task["name"]: task for task in tree["tasks"]}
    tree["tasks"] = [by_name[name] for name in tasks]
    by_name["sst"]["kind"] = "binary"
    if augmented:
        tree["augment"] = resolve("dora-r12-augmented").spec.model_dump(mode="json")["augment"]
    return json.dumps(tree)


@cache
def predicted(task: str, accuracy: float, seed: int) -> tuple[Prediction, ...]:
    """Return predictions with a given number correct; hard examples are hard for all runs."""
    rng, own = random.Random(task), random.Random(f"{task}{seed}")
    hard = [rng.random() + 0.02 * own.random() for _ in range(EXAMPLES)]
    edge = sorted(hard)[round(accuracy * EXAMPLES) - 1]
    return tuple(Prediction(task, 2, str(n), 1.0, float(value <= edge)) for n, value in enumerate(hard))


def run(
    preset: str,
    seed: int = 0,
    accuracy: float = 0.7,
    memory_mib: float = 900.0,
    step_s: float = 0.1,
    gap: float = 0.1,
    augmented: bool = False,
    power_w: float | None = None,
    cpu_w: float | None = None,
    tasks: tuple[str, ...] = TASKS,
    conditions: Mapping[str, object] | None = None,
) -> RunRecord:
    accuracy += 0.002 * (seed - 1)
    train = accuracy + gap + 0.001 * (seed - 1)
    scores = [
        Score(epoch, task, split, "accuracy", value, None, 0.1, EXAMPLES)
        for epoch in (1, 2)
        for task in tasks
        for split, value in (("train", train if epoch == 2 else accuracy), ("dev", accuracy))
    ]
    seconds = step_s * 40 * (1 + 0.01 * (seed - 1))
    usage = None if power_w is None and cpu_w is None else used(seconds, seed, power_w, cpu_w)
    phases = tuple(
        Phase("train", 2, task, None, seconds, 40, 320, 900, peak_rss_mib=memory_mib + seed, usage=usage)
        for task in tasks
    )
    base = record(
        "dora-r12",
        spec_json=spec_of(preset, seed, augmented, tasks),
        seed=seed,
        phases=phases,
        predictions={task: predicted(task, accuracy, seed) for task in tasks},
        id=f"{preset}-{augmented}-{seed}{'' if tasks == TASKS else '-'.join(tasks)}",
        name=f"{preset}-{seed + 1}",
        epochs_done=2,
        dev_avg=accuracy,
        group_hash=f"{preset} {augmented} {tasks}",
    )
    adapters = {} if preset.startswith(("last", "full")) else dict.fromkeys(tasks, 1000)
    called = replace(
        base.run,
        preset=f"{preset}-augmented" if augmented else preset,
        adapter_weights=adapters,
        conditions={**base.run.conditions, **(conditions or {})},
    )
    epochs = tuple(Epoch(epoch, accuracy, accuracy, None, "t") for epoch in (1, 2))
    bests = tuple(TaskBest(task, 2, accuracy) for task in tasks) if preset != "full" else ()
    return RunRecord(
        called, scores=tuple(scores), phases=phases, task_bests=bests, predictions=base.predictions, epochs=epochs
    )


def used(seconds: float, seed: int, power_w: float | None, cpu_w: float | None) -> Usage:
    watts = None if power_w is None else power_w + 0.1 * seed
    joules = None if cpu_w is None else (cpu_w + 0.1 * seed) * seconds
    return Usage(0.0, seconds, 100, power_w=watts, cpu_energy_j=joules)


def row(preset: str, seeds: int = 3, **of: float) -> Group:
    augmented = bool(of.pop("augmented", False))
    name = f"{preset}-augmented" if augmented else preset
    return group_of(name, [run(preset, seed, augmented=augmented, **of) for seed in range(seeds)])


def study(changed: Mapping[str, Mapping[str, float]] | None = None, seeds: int = 3) -> StudyGroups:
    """Return a group for every preset; `changed` overrides settings of single presets."""
    return study_groups([row(preset, seeds, **(changed or {}).get(preset, {})) for preset in PRESETS])
