"""Weights of training examples from a column: in the loss of every kind of task, and nowhere else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from peftbench.data.load import load_split
from peftbench.errors import DataError, UsageError
from peftbench.spec import RunSpec, resolve
from peftbench.tasks import TaskKind, TaskSpec
from peftbench.training.metrics import loss_of
from peftbench.training.objective import Objective
from tests.recorders import train
from tests.several_labels import sentence, workload

pytestmark = pytest.mark.usefixtures("no_prediction")

KINDS: dict[TaskKind, dict[str, object]] = {
    "classes": {"classes": 3},
    "binary": {},
    "similarity": {},
    "regression": {},
    "multilabel": {"classes": 3},
    "tokens": {"labels": ["O", "B-X", "I-X"]},
}


def task_of(kind: TaskKind) -> TaskSpec:
    known = {"name": "own", "kind": kind, "text": ("a",), "label": "b", "source": {"type": "quickstart"}}
    return TaskSpec.model_validate({**known, "sample_weight": "w", **KINDS[kind]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_is_the_example_twice_and_of_zero_none(kind: TaskKind) -> None:
    task, rng = task_of(kind), torch.Generator().manual_seed(0)
    logits = torch.randn(4, task.outputs, generator=rng)
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])
    if kind == "multilabel":
        labels = torch.stack([labels, 1 - labels, labels], dim=1)
    objective = Objective(task, labels.numpy())
    weighted = objective(logits, labels, torch.tensor([2.0, 1.0, 0.0, 1.0]))
    rows = torch.tensor([0, 0, 1, 3])
    torch.testing.assert_close(weighted, loss_of(task, logits[rows], labels[rows]))
    torch.testing.assert_close(objective(logits, labels), loss_of(task, logits, labels))


@pytest.fixture
def own(tmp_path: Path, tiny_encoder: Path) -> Path:
    """Both kinds of several labels from jsonl files, whose training rows have weights."""
    path = workload(tmp_path, tiny_encoder)
    rng = random.Random(1)
    for split, count in (("train", 24), ("dev", 12), ("test", 12)):
        rows = []
        for number in range(count):
            words, tags = sentence(rng)
            rows.append({"tokens": words, "tags": tags, **({"w": number % 3} if split == "train" else {})})
        (tmp_path / f"{split}-ner.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    text = path.read_text()
    for split in ("train", "dev", "test"):
        text = text.replace(f"{split}.conll", f"{split}-ner.jsonl")
    path.write_text(text.replace('label = "tags"', 'label = "tags"\nsample_weight = "w"'))
    return path


def spec_of(path: Path, *overrides: str) -> RunSpec:
    return resolve("lora-r12", str(path), overrides=["train.epochs=1", *overrides]).spec


def test_they_change_training_and_no_score_is_weighted(own: Path, tmp_path: Path) -> None:
    spec = spec_of(own)
    assert [example.weight for example in load_split(spec.tasks[0], "train").examples[:4]] == [0, 1, 2, 0]
    weighted = train(spec, tmp_path / "weighted")
    plain = train(spec_of(own, "tasks.ner.sample_weight="), tmp_path / "plain")
    assert weighted.loss_points != plain.loss_points
    assert any("weights of examples in 'w', 1 on average" in note for note in weighted.notes)
    assert spec.hash() != spec_of(own, "tasks.ner.sample_weight=").hash()
    assert weighted.test is not None, "dev and test have no such column"


def test_weights_that_are_all_the_same_change_nothing(own: Path, tmp_path: Path) -> None:
    path = tmp_path / "train-ner.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps({**row, 'w': 0.3})}\n" for row in rows))
    weighted = train(spec_of(own), tmp_path / "weighted")
    plain = train(spec_of(own, "tasks.ner.sample_weight="), tmp_path / "plain")
    np.testing.assert_allclose(
        [loss for _, _, loss in weighted.loss_points], [loss for _, _, loss in plain.loss_points], rtol=1e-5
    )


@pytest.mark.parametrize("value", [-1, None, "much", float("inf")])
def test_what_is_no_weight_is_refused_with_its_line(own: Path, tmp_path: Path, value: object) -> None:
    path = tmp_path / "train-ner.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "w": value}), *rest]))
    with pytest.raises(DataError, match=r"train-ner.jsonl, line 1: 'w' is .*, not a weight"):
        load_split(spec_of(own).tasks[0], "train")


def test_a_column_that_is_missing_is_named(own: Path) -> None:
    with pytest.raises(DataError, match="no column 'importance'"):
        load_split(spec_of(own, "tasks.ner.sample_weight=importance").tasks[0], "train")


def test_generated_data_have_none() -> None:
    with pytest.raises(DataError, match="generated data have no column 'w' of weights"):
        load_split(resolve("lora-r12", overrides=["tasks.sst.sample_weight=w"]).spec.tasks[0], "train")


def test_they_are_not_for_folds(own: Path) -> None:
    with pytest.raises(UsageError, match="leave one of the two out"):
        spec_of(own, "split.folds=3", "split.dev_is=select")
