"""Two runs and more side by side: what differs between them first, then what that did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftbench.analysis.paired import PairedDifference, paired_difference
from peftbench.analysis.quality import flags
from peftbench.analysis.resources import Cost, cost
from peftbench.errors import RefusedError
from peftbench.store.rows import RunRecord

# Spec keys whose difference makes a comparison of methods unfair; below them counts too.
_UNFAIR_IN_SPEC = (
    *("encoder", "tasks", "train.batch_size", "train.batching", "train.epochs", "eval", "head"),
    *("runtime", "precision", "train.prefix_cache", "train.accumulation_steps", "train.gradient_checkpointing"),
    *("train.max_steps", "train.limit_examples", "train.patience"),
)
# What a spec means by a key that it is too old to have, where that is not None.
MEANT_BEFORE = {
    "train.accumulation_steps": 1,
    "train.schedule": "constant",
    "train.warmup_ratio": 0.0,
    "train.gradient_checkpointing": False,
}
_REGULARISES = ("encoder.dropout",)  # a setting to choose for each method, as the learning rate is
_UNFAIR_CONDITIONS = ("device", "device_type", "path", "threads", "malloc", "torch", "encoder_sha256")
_UNFAIR_OF_CARD = ("name", "uuid", "power_limit_w", "persistence", "driver", "power_source")
_UNFAIR_FLAGS = ("throttled", "shared_gpu", "busy_machine")
_LABELS = ("preset", "workload")


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting or circumstance in which the runs differ, with each run's value."""

    key: str
    values: tuple[Any, ...]
    unfair: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; the first is the baseline.

    `against[i]` holds run i + 1's differences to the baseline, one a task that both have on the same examples.
    """

    records: tuple[RunRecord, ...]
    costs: tuple[Cost, ...]
    differences: tuple[Difference, ...]
    against: tuple[tuple[PairedDifference, ...], ...]

    @property
    def unfair(self) -> tuple[Difference, ...]:
        """The differences that a reader must know before any figure."""
        return tuple(difference for difference in self.differences if difference.unfair)


def compare(records: Sequence[RunRecord]) -> Comparison:
    """Compare runs, the first as baseline. Records must come with their predictions.

    Raises:
        RefusedError: they are of different workloads, or one has no finished epoch.
    """
    workloads = {record.run.workload for record in records}
    if len(workloads) > 1:
        raise RefusedError(
            f"these runs are of different workloads: {', '.join(sorted(workloads))}",
            "scores on different data say nothing about the methods",
        )
    unscored = [record.run.name for record in records if record.run.best_epoch is None]
    if unscored:
        raise RefusedError(f"no finished epoch to compare: {', '.join(unscored)}")
    baseline, *others = records
    return Comparison(
        tuple(records),
        tuple(cost(record) for record in records),
        tuple(_differences(records)),
        tuple(tuple(_against(baseline, other)) for other in others),
    )


def _against(baseline: RunRecord, other: RunRecord) -> list[PairedDifference]:
    found = []
    for task in baseline.tasks:
        score = baseline.score(task)
        pair = (baseline.predictions.get(task), other.predictions.get(task))
        if score is None or pair[0] is None or pair[1] is None:
            continue
        difference = paired_difference(task, score.metric, pair[0], pair[1])
        if difference is not None:
            found.append(difference)
    return found


def _differences(records: Sequence[RunRecord]) -> list[Difference]:
    specs = [_flat_spec(record) for record in records]
    found = [
        Difference(key, values, key.startswith(_UNFAIR_IN_SPEC) and key not in _REGULARISES)
        for key, values in _differing(specs)
        if not key.endswith("source.root")
    ]
    facts = [_circumstances(record) for record in records]
    found += [Difference(key, values, unfair=True) for key, values in _differing(facts)]
    orders = [{"tasks, order": ", ".join(record.tasks)} for record in records]
    if all(set(record.tasks) == set(records[0].tasks) for record in records):
        found += [Difference(key, values, unfair=True) for key, values in _differing(orders)]
    data = [{"data": record.run.data_hash and record.run.data_hash[:12]} for record in records]
    found += [Difference(key, values, unfair=True) for key, values in _differing(data)]
    states = [{"epochs done": f"{r.run.epochs_done} of {r.run.epochs_planned}"} for r in records]
    if any(record.run.epochs_done < record.run.epochs_planned for record in records):
        found += [Difference(key, values, unfair=True) for key, values in _differing(states)]
    return found


def _circumstances(record: RunRecord) -> dict[str, Any]:
    """Return what a run was measured under, as far as it makes a comparison of cost unfair."""
    conditions = record.run.conditions
    gpu, lock = conditions.get("gpu") or {}, conditions.get("clock_lock") or {}
    doubts, spent = {flag.name for flag in flags(record)}, cost(record)
    return {
        **{key: conditions.get(key) for key in _UNFAIR_CONDITIONS},
        **{f"gpu.{key}": gpu.get(key) for key in _UNFAIR_OF_CARD},
        "clocks locked at MHz": lock.get("asked_mhz"),
        "VRAM, by": spent.vram_source,
        "energy, by": spent.energy_source,
        **{flag: flag in doubts for flag in _UNFAIR_FLAGS},
    }


def _differing(sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[Any, ...]]]:
    keys = dict.fromkeys(key for side in sides for key in side)
    rows = [(key, tuple(side.get(key) for side in sides)) for key in keys]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


def _flat_spec(record: RunRecord) -> dict[str, Any]:
    tree = json.loads(record.run.spec_json)
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
