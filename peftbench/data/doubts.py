"""Data checks that cast doubt on scores: overlap of splits, missing classes, few clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.data.examples import Example
from peftbench.store.conditions import DataNote
from peftbench.store.rows import Label
from peftbench.tasks import SEVERAL_LABELS, TaskSpec
from peftbench.text import clean

_CLASSES_SHOWN = 8
_LABELS = {"pearson": "Pearson's r", "spearman": "Spearman's rho", "r2": "R2"}
_FEW_CLUSTERS = 20


@dataclass(frozen=True, slots=True)
class Doubt:
    """One issue with a task's data: a short name to select by, a message, and the number of affected examples."""

    task: str
    name: str
    message: str
    examples: int

    def as_dict(self) -> DataNote:
        """Return the issue as a dictionary for a run's record."""
        return {"task": self.task, "name": self.name, "message": self.message, "examples": self.examples}


def doubts(task: TaskSpec, train: Sequence[Example], scored: Sequence[Example], split: str = "dev") -> list[Doubt]:
    """Return the issues with a split that is scored (`dev` or `test`) beside the training split.

    Texts count as equal if they differ only in case, white space and, in a pair, order.
    """
    issues = (*_overlap(train, scored, split), *_labels(task, train, scored, split))
    return [Doubt(task.name, *issue) for issue in (*issues, *_clusters(task, train, scored, split))]


def overlap(task: TaskSpec, dev: Sequence[Example], test: Sequence[Example]) -> list[Doubt]:
    """Return the issue of test examples that are also in dev, which chose the epoch."""
    return [Doubt(task.name, *issue) for issue in _overlap(dev, test, "test", "dev")]


def _overlap(
    train: Sequence[Example], scored: Sequence[Example], split: str, other: str = "train"
) -> list[tuple[str, str, int]]:
    seen = {_key(example) for example in train}
    keys = [_key(example) for example in scored]
    shared = sum(key in seen for key in keys)
    if not shared:
        return []
    if shared == len(scored) and set(keys) == seen:
        return [(f"{split}_is_{other}", f"{split} and {other} are the same {shared:,} examples", shared)]
    return [(f"{split}_in_{other}", f"{shared:,} of {len(scored):,} {split} examples are also in {other}", shared)]


def _labels(
    task: TaskSpec, train: Sequence[Example], scored: Sequence[Example], split: str
) -> list[tuple[str, str, int]]:
    issues = []
    scored_labels = {example.label for example in scored}
    if len(scored) == 1:
        issues.append((f"one_{split}_example", f"{split} has a single example: its score is not informative", 1))
    if task.is_score:
        if len(scored_labels) == 1:
            message = f"all {split} labels are {_number(scored_labels.pop()):g}: {_LABELS[task.headline]} is undefined"
            issues.append((f"{split}_constant", message, len(scored)))
        return issues
    if task.kind in SEVERAL_LABELS:
        return issues + _absent_labels(task, train, scored, split)
    if len(scored_labels) == 1 < len(scored):
        label = int(_number(scored_labels.pop()))
        issues.append((f"one_{split}_class", f"all {len(scored):,} {split} examples are of class {label}", len(scored)))
    train_labels = {int(_number(example.label)) for example in train}
    absent = [label for label in range(task.classes or 2) if label not in train_labels]
    if absent:
        shown = ", ".join(map(str, absent[:_CLASSES_SHOWN])) + (", …" if len(absent) > _CLASSES_SHOWN else "")
        of_them = sum(int(_number(example.label)) not in train_labels for example in scored)
        message = f"train has no example of class {shown}; {of_them:,} of {len(scored):,} {split} examples belong to it"
        issues.append(("class_not_in_train", message, of_them))
    return issues


def _absent_labels(
    task: TaskSpec, train: Sequence[Example], scored: Sequence[Example], split: str
) -> list[tuple[str, str, int]]:
    """Return the issue of labels or tags of a scored split that the training split never has."""
    in_train, in_scored = ({label for each in part for label in _several(each.label)} for part in (train, scored))
    absent = sorted(in_scored - in_train)
    if not absent:
        return []
    names = [task.labels[label] if task.labels else str(label) for label in absent[:_CLASSES_SHOWN]]
    shown = ", ".join(clean(name, 40) for name in names) + (", …" if len(absent) > _CLASSES_SHOWN else "")
    of_them = sum(bool(set(_several(each.label)) & set(absent)) for each in scored)
    what = "tag" if task.kind == "tokens" else "label"
    message = f"train has no example of {what} {shown}; {of_them:,} of {len(scored):,} {split} examples have it"
    return [("class_not_in_train", message, of_them)]


def _several(label: Label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else ()


def _number(label: Label) -> float:
    assert not isinstance(label, tuple)
    return label


def _clusters(
    task: TaskSpec, train: Sequence[Example], scored: Sequence[Example], split: str
) -> list[tuple[str, str, int]]:
    if not task.group:
        return []
    issues = []
    train_clusters, scored_clusters = {example.cluster for example in train}, {example.cluster for example in scored}
    leaked = sum(example.cluster in train_clusters for example in scored)
    if leaked:
        shared = len(scored_clusters & train_clusters)
        message = (
            f"{shared:,} of {len(scored_clusters):,} {split} groups are also in train, with {leaked:,} of "
            f"{len(scored):,} {split} examples: their scores say little about new groups"
        )
        issues.append(("group_in_train", message, leaked))
    if len(scored_clusters) < _FEW_CLUSTERS:
        message = f"{split} has only {len(scored_clusters)} groups: a confidence interval from so few is imprecise"
        issues.append((f"few_{split}_groups", message, len(scored)))
    return issues


def _key(example: Example) -> tuple[str, ...]:
    return tuple(sorted(" ".join(text.casefold().split()) for text in example.texts))
