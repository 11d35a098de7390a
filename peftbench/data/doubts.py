"""Data checks that cast doubt on dev scores: overlap of train and dev, missing classes, few clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from peftbench.data.examples import Example
from peftbench.tasks import TaskSpec

_CLASSES_SHOWN = 8
_FEW_CLUSTERS = 20


@dataclass(frozen=True, slots=True)
class Doubt:
    """One issue with a task's data: a short name to select by, a message, and the number of affected examples."""

    task: str
    name: str
    message: str
    examples: int

    def as_dict(self) -> dict[str, Any]:
        """Return the issue as a dictionary for a run's record."""
        return asdict(self)


def doubts(task: TaskSpec, train: Sequence[Example], dev: Sequence[Example]) -> list[Doubt]:
    """Return the issues with a task's splits.

    Texts count as equal if they differ only in case, white space and, in a pair, order.
    """
    return [
        Doubt(task.name, name, message, examples)
        for name, message, examples in (*_overlap(train, dev), *_labels(task, train, dev), *_clusters(task, train, dev))
    ]


def _overlap(train: Sequence[Example], dev: Sequence[Example]) -> list[tuple[str, str, int]]:
    seen = {_key(example) for example in train}
    keys = [_key(example) for example in dev]
    shared = sum(key in seen for key in keys)
    if not shared:
        return []
    if shared == len(dev) and set(keys) == seen:
        return [("dev_is_train", f"dev and train are the same {shared:,} examples", shared)]
    return [("dev_in_train", f"{shared:,} of {len(dev):,} dev examples are also in train", shared)]


def _labels(task: TaskSpec, train: Sequence[Example], dev: Sequence[Example]) -> list[tuple[str, str, int]]:
    issues = []
    dev_labels = {example.label for example in dev}
    if len(dev) == 1:
        issues.append(("one_dev_example", "dev has a single example: its score is not informative", 1))
    if task.kind == "similarity":
        if len(dev_labels) == 1:
            issues.append(
                ("dev_constant", f"all dev labels are {dev_labels.pop():g}: Pearson's r is undefined", len(dev))
            )
        return issues
    if len(dev_labels) == 1 < len(dev):
        label = int(dev_labels.pop())
        issues.append(("one_dev_class", f"all {len(dev):,} dev examples are of class {label}", len(dev)))
    train_labels = {int(example.label) for example in train}
    absent = [label for label in range(task.classes or 2) if label not in train_labels]
    if absent:
        shown = ", ".join(map(str, absent[:_CLASSES_SHOWN])) + (", …" if len(absent) > _CLASSES_SHOWN else "")
        of_dev = sum(int(example.label) not in train_labels for example in dev)
        message = f"train has no example of class {shown}; {of_dev:,} of {len(dev):,} dev examples belong to it"
        issues.append(("class_not_in_train", message, of_dev))
    return issues


def _clusters(task: TaskSpec, train: Sequence[Example], dev: Sequence[Example]) -> list[tuple[str, str, int]]:
    if not task.group:
        return []
    issues = []
    train_clusters, dev_clusters = {example.cluster for example in train}, {example.cluster for example in dev}
    leaked = sum(example.cluster in train_clusters for example in dev)
    if leaked:
        shared = len(dev_clusters & train_clusters)
        message = (
            f"{shared:,} of {len(dev_clusters):,} dev groups are also in train, with {leaked:,} of {len(dev):,} dev "
            "examples: their scores say little about new groups"
        )
        issues.append(("group_in_train", message, leaked))
    if len(dev_clusters) < _FEW_CLUSTERS:
        message = f"dev has only {len(dev_clusters)} groups: a confidence interval from so few is imprecise"
        issues.append(("few_dev_groups", message, len(dev)))
    return issues


def _key(example: Example) -> tuple[str, ...]:
    return tuple(sorted(" ".join(text.casefold().split()) for text in example.texts))
