"""Which settings and conditions differ between groups of runs, and what each difference does to the comparison.

A `confounding` difference affects the results besides what is compared, so the comparison is unfair; an `intended` one
is what is compared; an `irrelevant` one changes neither cost nor what the scores mean. An `implied` one follows from
another: where a group has no augmentation, `augment.method` alone shows the difference.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peftbench.analysis.cost import cost
from peftbench.analysis.flags import flags
from peftbench.analysis.groups import Group
from peftbench.analysis.input_lengths import long_inputs
from peftbench.analysis.settings import every, flat_spec
from peftbench.store.conditions import Conditions
from peftbench.store.rows import Run, RunRecord
from peftbench.threads import ACTIVE

Standing = Literal["confounding", "intended", "irrelevant", "implied", "same"]

# Spec keys, with all keys below them, whose difference confounds a comparison of methods.
_CONFOUNDING_IN_SPEC = (
    *("encoder", "tasks", "train.batch_size", "train.batching", "train.epochs", "eval", "head", "split"),
    *(
        "runtime",
        "precision",
        "quantization",
        "train.cache_frozen_features",
        "train.accumulation_steps",
        "train.gradient_checkpointing",
    ),
    *("train.max_steps", "train.limit_examples", "train.patience"),
)
_REGULARISES = ("encoder.dropout",)  # a hyperparameter of the method, like the learning rate
_LOSS = re.compile(r"tasks\.[^.]+\.(loss(\..+)?|sample_weight)")  # likewise: what is scored stays the same
# Data are compared by their content's hash, so paths and revisions are ignored, and so is what training does not read:
# the test file and, without folds, the group column (runs that group dev examples differently are told apart where they
# are scored). Folds that one group lacks are left out where scores are compared.
_PLACES = ("source.root", "source.revision", "source.test", "split.fold")
_GROUPING = ".group"
_NEW_ROWS = "new rows"
_LONG = "long inputs"  # what became of them; earlier versions did not record it
_METHOD = "augment.method"
_IRRELEVANT_IN_SPEC = ("seed",)
_CONFOUNDING_CONDITIONS = ("device", "device_type", "path", "threads", "malloc", "torch", "encoder_sha256")
_IRRELEVANT_CONDITIONS = (
    *("python", "peftbench", "transformers", "peft", "bitsandbytes", "torchao"),
    *("host", "platform"),
)
_CONFOUNDING_OF_CARD = ("name", "uuid", "power_limit_w", "persistence", "driver", "power_source")
_CONFOUNDING_FLAGS = ("throttled", "shared_gpu", "busy_machine")


@dataclass(frozen=True, slots=True)
class Mixed:
    """The values, by seed, of a key in which the runs of one group differ."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """One setting or condition, with each group's value (`Mixed` where its runs differ)."""

    key: str
    values: tuple[Any, ...]
    standing: Standing

    @property
    def confounding(self) -> bool:
        """Whether a reader must know it before reading any result."""
        return self.standing == "confounding"


def settings(groups: Sequence[Group]) -> list[SettingDifference]:
    """Return every setting of the specs and condition of the runs, ordered by standing: confounding ones first."""
    differences = [
        *_of_specs(groups),
        *(_difference(key, values, _of_circumstance(key, values)) for key, values in _sides(groups, _circumstances)),
        *(_difference(key, values, "irrelevant") for key, values in _sides(groups, _irrelevant_conditions)),
    ]
    if _same_tasks(groups):
        orders = _sides(groups, lambda record: {"tasks, order": ", ".join(record.tasks)})
        differences += [_difference(key, values, "confounding") for key, values in orders]
    if any(_cut_short(record) for group in groups for record in group.records):
        done = _sides(
            groups, lambda record: {"epochs done": f"{record.run.epochs_done} of {record.run.epochs_planned}"}
        )
        differences += [_difference(key, values, "confounding") for key, values in done]
    order = get_args(Standing)
    return sorted(differences, key=lambda each: order.index(each.standing))


def _difference(key: str, values: tuple[Any, ...], standing: Standing) -> SettingDifference:
    alike = all(value == values[0] for value in values)
    if standing == "confounding" and isinstance(values[0], Mixed):
        alike = False  # a group whose own runs differ cannot be equal to another group
    return SettingDifference(key, values, "same" if alike else standing)


def _of_specs(groups: Sequence[Group]) -> list[SettingDifference]:
    """Return the settings of the specs, each with its standing."""
    rows = _sides(groups, _spec)
    without = None in dict(rows).get(_METHOD, ())
    return [_difference(key, values, "implied" if without and _is_how(key) else _of_spec(key)) for key, values in rows]


def _is_how(key: str) -> bool:
    return key.partition(".")[0] == "augment" and key != _METHOD


def _of_circumstance(key: str, values: Sequence[Any]) -> Standing:
    """Return the standing of a condition; new rows and long inputs are comparable only where all have a record."""
    if key == _LONG and any(isinstance(value, Mixed) and None in value.values for value in values):
        return "implied"
    return "implied" if key in (_NEW_ROWS, _LONG) and None in values else "confounding"


def _of_spec(key: str) -> Standing:
    if key in _IRRELEVANT_IN_SPEC:
        return "irrelevant"
    if key in _REGULARISES or _LOSS.fullmatch(key):
        return "intended"
    return "confounding" if key.startswith(_CONFOUNDING_IN_SPEC) else "intended"


def _sides(groups: Sequence[Group], facts: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Return each key with each group's value."""
    return every([_of_group([facts(record) for record in group.records]) for group in groups])


def _of_group(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: values[0] if all(value == values[0] for value in values) else Mixed(values) for key, values in every(facts)
    }


def _spec(record: RunRecord) -> dict[str, Any]:
    ignored = _PLACES if record.run.folds is not None else (*_PLACES, _GROUPING)
    return {key: value for key, value in flat_spec(record.run).items() if not key.endswith(ignored)}


def _same_tasks(groups: Sequence[Group]) -> bool:
    return len({frozenset(record.tasks) for group in groups for record in group.records}) == 1


def _circumstances(record: RunRecord) -> dict[str, Any]:
    """Return the conditions of a run whose difference confounds a comparison."""
    run, conditions = record.run, record.run.conditions
    gpu, lock = conditions.get("gpu") or {}, conditions.get("clock_lock") or {}
    doubts, spent = {flag.name for flag in flags(record)}, cost(record)
    return {
        **{key: conditions.get(key) for key in _CONFOUNDING_CONDITIONS},
        "omp_wait_policy": _waiting(conditions),
        **{f"gpu.{key}": gpu.get(key) for key in _CONFOUNDING_OF_CARD},
        "clocks locked at MHz": lock.get("asked_mhz"),
        "VRAM, by": spent.vram_source,
        "energy, by": spent.energy_source,
        **{flag: flag in doubts for flag in _CONFOUNDING_FLAGS},
        "data": _own_data(run),
        _NEW_ROWS: _new_rows(run),
        _LONG: long_inputs(conditions) if run.folds is None else None,  # folds differ in their rows
    }


def _waiting(conditions: Conditions) -> str | None:
    """Return OpenMP's wait policy; None for a single thread, ACTIVE for runs from before it was recorded."""
    return None if conditions.get("threads") == 1 else conditions.get("omp_wait_policy", ACTIVE)


def _own_data(run: Run) -> str | None:
    """Return the hash of the data's own rows, without augmented ones: these follow from the spec."""
    own = run.conditions.get("data_sha256")
    digest = hashlib.sha256("".join(own.values()).encode()).hexdigest() if own else run.data_hash
    return digest and digest[:12]


def _new_rows(run: Run) -> Any:
    """Return the hashes of the training rows with augmented ones; with folds, which differ in them, the tasks alone."""
    hashes = (run.conditions.get("augment") or {}).get("rows_sha256")
    return sorted(hashes) if hashes and run.folds is not None else hashes


def _cut_short(record: RunRecord) -> bool:
    """Tell whether a run did fewer epochs than planned, other than by its own spec (patience, max_steps)."""
    train = record.run.spec["train"]
    ends_early = any(train.get(key) is not None for key in ("patience", "max_steps"))
    return record.run.epochs_done < record.run.epochs_planned and not ends_early


def _irrelevant_conditions(record: RunRecord) -> dict[str, Any]:
    return {key: record.run.conditions.get(key) for key in _IRRELEVANT_CONDITIONS if key in record.run.conditions}
