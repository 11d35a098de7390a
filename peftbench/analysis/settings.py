"""A stored spec as flat keys, and what tells several specs apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.store.rows import Run

_LABELS = ("preset", "workload")
# What a spec means by a key that it is too old to have, where that is not None.
MEANT_BEFORE = {
    "train.accumulation_steps": 1,
    "train.schedule": "constant",
    "train.warmup_ratio": 0.0,
    "train.gradient_checkpointing": False,
    "head.kind": "linear",
    "head.layers": 1,
}


def flat_spec(run: Run) -> dict[str, Any]:
    """Return a run's spec by dotted key, tasks by their names; without the names of preset and workload."""
    tree = json.loads(run.spec_json)
    tree["tasks"] = {task["name"]: task for task in tree["tasks"]}
    flat: dict[str, Any] = dict(MEANT_BEFORE)

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", {key: value for key, value in tree.items() if key not in _LABELS})
    return flat


def differing(sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the keys whose values are not the same on all sides, with each side's value."""
    return [(key, values) for key, values in every(sides) if any(value != values[0] for value in values)]


def every(sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return all keys, with each side's value; None where a side has none."""
    keys = dict.fromkeys(key for side in sides for key in side)
    return [(key, tuple(side.get(key) for side in sides)) for key in keys]


def labels(runs: Sequence[Run]) -> list[str]:
    """Return names that tell specs apart: the preset, and where several have it, the settings in which these differ.

    `lora-r12 epochs=2`, as a sweep calls its rows; the start of the group's hash where settings do not tell.
    """
    found = [run.preset for run in runs]
    for preset, count in Counter(found).items():
        same = [place for place, run in enumerate(runs) if run.preset == preset]
        if count == 1:
            continue
        specs = [{key: value for key, value in flat_spec(runs[place]).items() if key != "seed"} for place in same]
        apart = differing(specs)
        names = short_keys([key for key, _ in apart])
        for number, place in enumerate(same):
            words = [f"{names[key]}={text_of(values[number])}" for key, values in apart]
            found[place] = " ".join([preset, *words])
    twice = {label for label, count in Counter(found).items() if count > 1}
    return [
        f"{label} ({run.group_hash[:8]}/{(run.data_hash or '')[:8]})" if label in twice else label
        for label, run in zip(found, runs, strict=True)
    ]


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return each key's last part, where that tells it from the others."""
    leaves = Counter(key.rpartition(".")[2] for key in keys)
    return {key: leaf if leaves[leaf := key.rpartition(".")[2]] == 1 else key for key in keys}


def text_of(value: Any) -> str:
    """Return a setting's value as it is written on a command line."""
    return value if isinstance(value, str) else json.dumps(value)
