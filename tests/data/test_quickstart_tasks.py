"""The generated tasks of several labels, as the workload `quickstart-tasks` trains them."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from peftbench.data.load import load_split
from peftbench.data.quickstart import SEVERAL, generate
from peftbench.errors import DataError
from peftbench.metrics.value import value
from peftbench.spec import RunSpec, resolve
from tests.marks import soaked_but
from tests.recorders import train

METHODS = ("last-layer", "full", "lora-r12", "dora-r12")


def spec_of(preset: str, *overrides: str) -> RunSpec:
    return resolve(preset, "quickstart-tasks", overrides=list(overrides)).spec


def labels_of(task: str, split: str) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    examples = generate(task, split, {"train": 400, "dev": 300, "test": 300}[split])
    return [(tuple(e.texts[0].split(" ")), e.label) for e in examples if isinstance(e.label, tuple)]


def majority_of_each_word() -> float:
    """Return the span F1 on test of the tag that each word has most often in train; O for other words."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for words, tags in labels_of("entities", "train"):
        for word, tag in zip(words, tags, strict=True):
            seen[word.lower()][tag] += 1
    names = SEVERAL["entities"][1]
    test = labels_of("entities", "test")
    guessed = [
        [names[seen[word.lower()].most_common(1)[0][0]] if word.lower() in seen else "O" for word in words]
        for words, _ in test
    ]
    score = value("span_f1", [[names[tag] for tag in tags] for _, tags in test], guessed).value
    assert score is not None
    return score


def all_topics() -> float:
    """Return the micro F1 on test of all topics for every review."""
    labels = np.asarray([[topic in own for topic in range(6)] for _, own in labels_of("topics", "test")])
    score = value("micro_f1", labels, np.ones_like(labels)).value
    assert score is not None
    return score


@pytest.mark.slow
@pytest.mark.parametrize("preset", soaked_but(("last-layer",), METHODS))
def test_every_method_beats_the_baselines(preset: str, tmp_path: Path) -> None:
    memory = train(spec_of(preset), tmp_path)
    assert memory.test is not None
    scores = {score.task: score.value or 0 for score in memory.test.scores}
    assert scores["entities"] > majority_of_each_word() + 0.02
    assert scores["topics"] > all_topics() + 0.1
    tags = [row.prediction for row in memory.test.predictions if row.task == "entities"]
    assert any(any(each) for each in tags if isinstance(each, tuple)), "not the majority's tag alone, whose F1 is 0"


def test_they_are_generated_with_the_labels_of_the_workload() -> None:
    for task in spec_of("lora-r12").tasks:
        assert SEVERAL[task.name] == (task.kind, task.labels)
        split = load_split(task, "dev")
        assert split.label_names == task.labels and len(split.examples) == 300


@pytest.mark.parametrize(
    "override", ['tasks.topics.labels=["price", "staff"]', "tasks.entities.kind=multilabel", "tasks.topics.classes=7"]
)
def test_other_labels_than_those_generated_are_refused(override: str) -> None:
    from peftbench.errors import UsageError

    with pytest.raises((DataError, UsageError)):
        for task in spec_of("lora-r12", override).tasks:
            load_split(task, "train")
