"""Probabilities: stored beside the predictions, and the metrics that are computed from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from peftbench.spec import Resolved
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import probabilities
from tests.recorders import train

SOURCE = {"type": "quickstart"}


def task_of(kind: str, **keys: object) -> TaskSpec:
    return TaskSpec.model_validate(
        {"name": "sst", "kind": kind, "text": ("a",), "label": "b", "source": SOURCE, **keys}
    )


def test_they_are_those_of_the_logits() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [1000.0, -1000.0, 0.0]], np.float32)
    of_classes = probabilities(task_of("classes", classes=3), logits)
    assert of_classes is not None
    assert of_classes[0] == pytest.approx(np.exp(logits[0]) / np.exp(logits[0]).sum(), abs=1e-7)
    assert of_classes[1].tolist() == [1, 0, 0]
    of_labels = probabilities(task_of("multilabel", classes=3), logits)
    assert of_labels is not None and of_labels[1].tolist() == [1, 0, 0.5]
    of_one = probabilities(task_of("binary"), logits[:, 2:])
    assert of_one is not None and of_one == pytest.approx([1 / (1 + np.exp(-0.5)), 0.5], abs=1e-7)
    assert probabilities(task_of("regression"), logits[:, :1]) is None


def test_a_task_can_be_judged_by_the_order_of_its_probabilities(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("last-layer", ["tasks.paraphrase.metric=auroc"]).spec, tmp_path / "run")
    rows = [row for row in memory.predictions if (row.task, row.epoch) == ("paraphrase", memory.best_epoch)]
    stored = [row.probabilities for row in rows]
    assert [(p or 0) > 0.5 for p in stored] == [row.prediction == 1 for row in rows]  # type: ignore[operator]
    (score,) = [s for s in memory.scores if (s.task, s.epoch, s.split) == ("paraphrase", memory.best_epoch, "dev")]
    assert score.metric == "auroc"
    assert score.value == pytest.approx(roc_auc_score([row.label for row in rows], stored), abs=1e-12)
    of_classes = [row.probabilities for row in memory.predictions if row.task == "sst"]
    assert np.asarray(of_classes).sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert {row.probabilities for row in memory.predictions if row.task == "sts"} == {None}
