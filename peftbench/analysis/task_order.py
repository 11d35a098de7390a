"""Groups that differ only in the order of their tasks, and the largest difference between their runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from peftbench.analysis.groups import Group
from peftbench.analysis.settings import flat_spec
from peftbench.store.rows import Run, RunRecord

_PLACES = ("source.root", "source.test")  # paths of the data, which are compared by hash instead
_SAME_BITS_NEED = ("device_type", "device", "threads", "torch", "path", "encoder_sha256", "precision")


def order_key(run: Run) -> str:
    """Return a key that is equal for runs which differ at most in seed and task order."""
    spec = flat_spec(run)
    kept = {key: value for key, value in spec.items() if key != "seed" and not key.endswith(_PLACES)}
    return repr(sorted(kept.items()))


def order_pairs(groups: Sequence[Group]) -> tuple[tuple[Group, Group], ...]:
    """Return the pairs of adapter groups that differ only in the order of their tasks."""
    adapters = [group for group in groups if _has_adapters(group) and len(group.records[0].tasks) > 1]
    keys = [order_key(group.first) for group in adapters]
    return tuple(
        (adapters[a], adapters[b])
        for a, b in combinations(range(len(adapters)), 2)
        if keys[a] == keys[b] and adapters[a].records[0].tasks != adapters[b].records[0].tasks
    )


def largest_difference(first: Group, second: Group) -> tuple[float | None, str | None]:
    """Return the largest difference in any score, loss or prediction of a task between runs of the same seed.

    Returns:
        The difference, 0.0 where all bits are equal; or None and why the runs cannot be expected to be bit-identical.
    """
    by_seed = {(record.run.seed, record.run.fold): record for record in second.records}
    keys = [(record.run.seed, record.run.fold) for record in first.records]
    pairs = [(record, by_seed[key]) for record, key in zip(first.records, keys, strict=True) if key in by_seed]
    if not pairs:
        return None, "no seed in common"
    for this, other in pairs:
        if reason := _not_alike(this.run, other.run):
            return None, reason
    return max(_record_difference(this, other) for this, other in pairs), None


def _has_adapters(group: Group) -> bool:
    """Tell whether each task has trained weights of its own beside its head.

    A best epoch per task is stored only where no two tasks share a trained weight.
    """
    weights = group.first.adapter_weights
    return bool(weights) and all(weights.values()) and all(record.task_bests for record in group.records)


def _not_alike(this: Run, other: Run) -> str | None:
    if any(run.conditions.get("device_type") != "cpu" for run in (this, other)):
        return "not computed on a CPU: GPU kernels are not deterministic to the last bit"
    for key in _SAME_BITS_NEED:
        if this.conditions.get(key) != other.conditions.get(key):
            return f"measured under different conditions: {key}"
    data = [run.conditions.get("data_sha256") for run in (this, other)]
    return "not the same data" if data[0] != data[1] else None


def _record_difference(this: RunRecord, other: RunRecord) -> float:
    differences = [_max_difference(_scores(this), _scores(other))]
    epochs = [{row.epoch for rows in record.predictions.values() for row in rows} for record in (this, other)]
    both = epochs[0] & epochs[1]  # only predictions of best epochs are stored
    return max(*differences, _max_difference(_predictions(this, both), _predictions(other, both)))


def _scores(of: RunRecord) -> dict[tuple[object, ...], float | None]:
    values: dict[tuple[object, ...], float | None] = {}
    for score in of.scores:
        values[score.epoch, score.task, score.split, "value"] = score.value
        values[score.epoch, score.task, score.split, "loss"] = score.loss
    return values


def _predictions(of: RunRecord, epochs: set[int]) -> dict[tuple[object, ...], float | None]:
    values: dict[tuple[object, ...], float | None] = {}
    for row in (row for rows in of.predictions.values() for row in rows if row.epoch in epochs):
        several = row.prediction if isinstance(row.prediction, tuple) else (row.prediction,)
        values |= {(row.task, row.epoch, row.example_id, number): value for number, value in enumerate(several)}
    return values


def _max_difference(
    this: Mapping[tuple[object, ...], float | None], other: Mapping[tuple[object, ...], float | None]
) -> float:
    """Return the largest difference of a value; infinite where only one side has it."""
    most = 0.0
    for key in this.keys() | other.keys():
        a, b = this.get(key), other.get(key)
        if a != b and not (a is not None and b is not None and math.isnan(a) and math.isnan(b)):
            apart = math.inf if a is None or b is None else abs(a - b)
            most = max(most, math.inf if math.isnan(apart) else apart)
    return most
