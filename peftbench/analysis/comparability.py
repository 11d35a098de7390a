"""What differs between groups of runs, and whether that is what is studied, harmless, or makes a comparison unfair.

How rows are augmented is implied where a group has no augmentation at all: the method alone tells it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peftbench.analysis.groups import Group
from peftbench.analysis.quality import flags
from peftbench.analysis.resources import cost
from peftbench.analysis.settings import every, flat_spec
from peftbench.store.rows import Run, RunRecord

Standing = Literal["unfair", "studied", "harmless", "implied", "same"]

# Spec keys whose difference makes a comparison of methods unfair; below them counts too.
_UNFAIR_IN_SPEC = (
    *("encoder", "tasks", "train.batch_size", "train.batching", "train.epochs", "eval", "head"),
    *("runtime", "precision", "train.prefix_cache", "train.accumulation_steps", "train.gradient_checkpointing"),
    *("train.max_steps", "train.limit_examples", "train.patience"),
)
_REGULARISES = ("encoder.dropout",)  # a setting to choose for each method, as the learning rate is
# What the data hold is fingerprinted; where they lie does not matter, nor a file that no training reads.
_PLACES = ("source.root", "source.test")
_NEW_ROWS = "new rows"
_METHOD = "augment.method"
_HARMLESS_IN_SPEC = ("seed",)
_UNFAIR_CONDITIONS = ("device", "device_type", "path", "threads", "malloc", "torch", "encoder_sha256")
_HARMLESS_CONDITIONS = ("python", "peftbench", "transformers", "peft", "host", "platform")
_UNFAIR_OF_CARD = ("name", "uuid", "power_limit_w", "persistence", "driver", "power_source")
_UNFAIR_FLAGS = ("throttled", "shared_gpu", "busy_machine")


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the runs of one group do not agree in: their values, by seed."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting or circumstance, with each group's value (`Mixed` where its runs do not agree)."""

    key: str
    values: tuple[Any, ...]
    standing: Standing

    @property
    def unfair(self) -> bool:
        """Whether a reader must know it before any figure."""
        return self.standing == "unfair"


def settings(groups: Sequence[Group]) -> list[Difference]:
    """Return every setting of the specs and every circumstance of the runs; unfair ones first, then what is studied."""
    found = [
        *_of_specs(groups),
        *(_judged(key, values, _of_circumstance(key, values)) for key, values in _sides(groups, _circumstances)),
        *(_judged(key, values, "harmless") for key, values in _sides(groups, _by_the_way)),
    ]
    if _same_tasks(groups):
        orders = _sides(groups, lambda record: {"tasks, order": ", ".join(record.tasks)})
        found += [_judged(key, values, "unfair") for key, values in orders]
    if any(_cut_short(record) for group in groups for record in group.records):
        done = _sides(
            groups, lambda record: {"epochs done": f"{record.run.epochs_done} of {record.run.epochs_planned}"}
        )
        found += [_judged(key, values, "unfair") for key, values in done]
    order = get_args(Standing)
    return sorted(found, key=lambda each: order.index(each.standing))


def _judged(key: str, values: tuple[Any, ...], standing: Standing) -> Difference:
    alike = all(value == values[0] for value in values)
    if standing == "unfair" and isinstance(values[0], Mixed):
        alike = False  # runs that differ among themselves are no measure for others
    return Difference(key, values, "same" if alike else standing)


def _of_specs(groups: Sequence[Group]) -> list[Difference]:
    """Return the settings of the specs, each with its standing."""
    rows = _sides(groups, _spec)
    without = None in dict(rows).get(_METHOD, ())
    return [_judged(key, values, "implied" if without and _is_how(key) else _of_spec(key)) for key, values in rows]


def _is_how(key: str) -> bool:
    return key.partition(".")[0] == "augment" and key != _METHOD


def _of_circumstance(key: str, values: Sequence[Any]) -> Standing:
    """Return what a circumstance's difference is; new rows are other ones only where all groups have some."""
    return "implied" if key == _NEW_ROWS and None in values else "unfair"


def _of_spec(key: str) -> Standing:
    if key in _HARMLESS_IN_SPEC:
        return "harmless"
    return "unfair" if key.startswith(_UNFAIR_IN_SPEC) and key not in _REGULARISES else "studied"


def _sides(groups: Sequence[Group], facts: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Return each key with each group's value."""
    return every([_of_group([facts(record) for record in group.records]) for group in groups])


def _of_group(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: values[0] if all(value == values[0] for value in values) else Mixed(values) for key, values in every(facts)
    }


def _spec(record: RunRecord) -> dict[str, Any]:
    return {key: value for key, value in flat_spec(record.run).items() if not key.endswith(_PLACES)}


def _same_tasks(groups: Sequence[Group]) -> bool:
    return len({frozenset(record.tasks) for group in groups for record in group.records}) == 1


def _circumstances(record: RunRecord) -> dict[str, Any]:
    """Return what a run was measured under, as far as it makes a comparison unfair."""
    run, conditions = record.run, record.run.conditions
    gpu, lock = conditions.get("gpu") or {}, conditions.get("clock_lock") or {}
    doubts, spent = {flag.name for flag in flags(record)}, cost(record)
    return {
        **{key: conditions.get(key) for key in _UNFAIR_CONDITIONS},
        **{f"gpu.{key}": gpu.get(key) for key in _UNFAIR_OF_CARD},
        "clocks locked at MHz": lock.get("asked_mhz"),
        "VRAM, by": spent.vram_source,
        "energy, by": spent.energy_source,
        **{flag: flag in doubts for flag in _UNFAIR_FLAGS},
        "data": _own_data(run),
        _NEW_ROWS: (conditions.get("augment") or {}).get("rows_sha256"),
    }


def _own_data(run: Run) -> str | None:
    """Return the hash of the data's own rows: how new ones are made of them is a setting of the spec."""
    own = run.conditions.get("data_sha256")
    found = hashlib.sha256("".join(own.values()).encode()).hexdigest() if own else run.data_hash
    return found and found[:12]


def _cut_short(record: RunRecord) -> bool:
    """Tell whether a run did not do all of its epochs, and not because its own spec ends it early."""
    train = json.loads(record.run.spec_json)["train"]
    ends_early = any(train.get(key) is not None for key in ("patience", "max_steps"))
    return record.run.epochs_done < record.run.epochs_planned and not ends_early


def _by_the_way(record: RunRecord) -> dict[str, Any]:
    return {key: record.run.conditions.get(key) for key in _HARMLESS_CONDITIONS if key in record.run.conditions}
