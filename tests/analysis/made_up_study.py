"""Made-up groups that stand for the study's rows: what they score, cost and overfit is what a test says."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from peftbench.analysis.groups import Group, group
from peftbench.analysis.study_groups import StudyGroups, study_groups
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, Phase, Prediction, RunRecord, Score
from tests.analysis.test_comparison import record

EXAMPLES = 1000
TASKS = ("sst", "paraphrase")
PRESETS = ("last-layer", "full", "lora-r12", "dora-r1", "dora-r4", "dora-r12", "dora-r24", "dora-r128")


@cache
def spec_of(preset: str, seed: int, augmented: bool) -> str:
    tree = resolve(preset, seed=seed).spec.model_dump(mode="json")
    tree["tasks"] = [task for task in tree["tasks"] if task["name"] in TASKS]
    tree["tasks"][0]["kind"] = "binary"
    if augmented:
        tree["augment"] = {"method": "eda", "tasks": ["sst"]}
    return json.dumps(tree)


@cache
def predicted(task: str, accuracy: float, seed: int) -> tuple[Prediction, ...]:
    """Return predictions of which so many are right, hard examples being hard for all runs."""
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
) -> RunRecord:
    accuracy += 0.002 * (seed - 1)
    train = accuracy + gap + 0.001 * (seed - 1)
    scores = [
        Score(epoch, task, split, "accuracy", value, None, 0.1, EXAMPLES)
        for epoch in (1, 2)
        for task in TASKS
        for split, value in (("train", train if epoch == 2 else accuracy), ("dev", accuracy))
    ]
    seconds = step_s * 40 * (1 + 0.01 * (seed - 1))
    phases = tuple(
        Phase("train", 2, task, None, seconds, 40, 320, 900, peak_rss_mib=memory_mib + seed) for task in TASKS
    )
    base = record(
        "dora-r12",
        spec_json=spec_of(preset, seed, augmented),
        seed=seed,
        phases=phases,
        predictions={task: predicted(task, accuracy, seed) for task in TASKS},
        id=f"{preset}-{augmented}-{seed}",
        name=f"{preset}-{seed + 1}",
        epochs_done=2,
        dev_avg=accuracy,
        group_hash=f"{preset} {augmented}",
    )
    called = replace(base.run, preset=f"{preset}-augmented" if augmented else preset)
    epochs = tuple(Epoch(epoch, accuracy, accuracy, None, "t") for epoch in (1, 2))
    return RunRecord(called, scores=tuple(scores), phases=phases, predictions=base.predictions, epochs=epochs)


def row(preset: str, seeds: int = 3, **of: float) -> Group:
    augmented = bool(of.pop("augmented", False))
    name = f"{preset}-augmented" if augmented else preset
    return group(name, [run(preset, seed, augmented=augmented, **of) for seed in range(seeds)])


def study(changed: Mapping[str, Mapping[str, float]] | None = None, seeds: int = 3) -> StudyGroups:
    """Return a group for every preset; `changed` says what is not as the others."""
    return study_groups([row(preset, seeds, **(changed or {}).get(preset, {})) for preset in PRESETS])
