"""A stored spec as flat keys, and labels from the settings in which specs differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.metrics import headline_for
from peftbench.store.rows import Run

_LABELS = ("preset", "workload")
# Defaults, other than None, of spec keys that were added later.
MEANT_BEFORE = {
    "train.accumulation_steps": 1,
    "train.schedule": "constant",
    "train.warmup_ratio": 0.0,
    "train.gradient_checkpointing": False,
    "split.dev_is": "both",
    "eval.dev_examples": 500,
    "quantization.library": "bitsandbytes",
    "quantization.double_quant": True,
    "quantization.compute_dtype": "fp32",
    "head.kind": "linear",
    "head.layers": 1,
    "head.bias": True,
}
MEANT_BEFORE_OF_TASKS = {"missing": "skip", "group": "", "sample_weight": "", "threshold": 0.5}
_OF_RUNS = ("seed", "split.fold")  # what the runs of one group differ in
_OF_LORA = {"train_norms": False, "train_embeddings": False, "train_pooler": False}
_WITH_LORA_OPTIONS = ("lora", "dora", "loraplus", "delta-lora")
_OF_FILES = {"quoting": "auto"}


def flat_spec(run: Run) -> dict[str, Any]:
    """Return a run's spec by dotted key, tasks by name, without the names of preset and workload."""
    return flat(run.spec)


def flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored spec with current names as `flat_spec` does a run's."""
    tasks = {task["name"]: {**MEANT_BEFORE_OF_TASKS, **task} for task in spec["tasks"]}
    for task in tasks.values():
        task["metric"] = task.get("metric") or headline_for(task["kind"])
        if task["source"].get("type") == "files":
            task["source"] = {**_OF_FILES, **task["source"]}
    method = spec["method"]
    if method["name"] in _WITH_LORA_OPTIONS:
        method = {**_OF_LORA, **method}
    flat: dict[str, Any] = dict(MEANT_BEFORE)

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", {key: value for key, value in {**spec, "tasks": tasks, "method": method}.items() if key not in _LABELS})
    return flat


def differing(sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the keys whose values are not the same on all sides, with each side's value."""
    return [(key, values) for key, values in every(sides) if any(value != values[0] for value in values)]


def every(sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return all keys, with each side's value; None where a side lacks the key."""
    keys = dict.fromkeys(key for side in sides for key in side)
    return [(key, tuple(side.get(key) for side in sides)) for key in keys]


def labels(runs: Sequence[Run]) -> list[str]:
    """Return labels that tell specs apart: the preset and, where several share it, the settings in which they differ.

    `lora-r12 epochs=2`, as a sweep labels its rows; with the start of the group's hash where settings do not differ.
    """
    titles = [run.preset for run in runs]
    for preset, count in Counter(titles).items():
        same = [index for index, run in enumerate(runs) if run.preset == preset]
        if count == 1:
            continue
        specs = [{key: value for key, value in flat_spec(runs[index]).items() if key not in _OF_RUNS} for index in same]
        apart = differing(specs)
        names = short_keys([key for key, _ in apart])
        for number, index in enumerate(same):
            words = [f"{names[key]}={text_of(values[number])}" for key, values in apart]
            titles[index] = " ".join([preset, *words])
    twice = {label for label, count in Counter(titles).items() if count > 1}
    return [
        f"{label} ({run.group_hash[:8]}/{(run.data_hash or '')[:8]})" if label in twice else label
        for label, run in zip(titles, runs, strict=True)
    ]


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return each key's last part where it is unique, else the key."""
    leaves = Counter(key.rpartition(".")[2] for key in keys)
    return {key: leaf if leaves[leaf := key.rpartition(".")[2]] == 1 else key for key in keys}


def text_of(value: Any) -> str:
    """Format a setting's value as on a command line."""
    return value if isinstance(value, str) else json.dumps(value)
