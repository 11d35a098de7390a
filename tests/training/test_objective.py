"""Weighted, smoothed and focal losses: against torch's own, written-out formulas, and a run that uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from peftbench.errors import DataError, UsageError
from peftbench.spec import Resolved, resolve
from peftbench.tasks import LossSpec, TaskSpec
from peftbench.training.metrics import loss_of
from peftbench.training.objective import Objective
from tests.recorders import train

pytestmark = pytest.mark.usefixtures("no_prediction")

SOURCE = {"type": "quickstart"}
LABELS = np.asarray([0.0] * 6 + [1.0] * 3 + [2.0])
RNG = torch.Generator().manual_seed(0)
LOGITS, TARGETS = torch.randn(10, 3, generator=RNG), torch.tensor(LABELS, dtype=torch.float32)


def task(kind: str = "classes", **loss: Any) -> TaskSpec:
    classes = {"classes": 3} if kind == "classes" else {}
    return TaskSpec(name="own", kind=kind, text=("t",), label="l", source=SOURCE, loss=LossSpec(**loss), **classes)


def test_without_a_change_it_is_the_plain_loss() -> None:
    torch.testing.assert_close(Objective(task(), LABELS)(LOGITS, TARGETS), loss_of(task(), LOGITS, TARGETS))


def test_balanced_weights_are_inverse_to_the_shares_and_average_to_one() -> None:
    objective = Objective(task(class_weights="balanced"), LABELS)
    weights = torch.tensor([10 / 18, 10 / 9, 10 / 3])
    plain = F.cross_entropy(LOGITS, TARGETS.long(), reduction="none")
    torch.testing.assert_close(objective(LOGITS, TARGETS), (plain * weights[TARGETS.long()]).mean())
    # over all training examples the weights average to 1, so that torch's own normalisation is the same
    torch.testing.assert_close(objective(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS.long(), weight=weights))
    assert "class weights 0.556, 1.11, 3.33" in objective.described()


def test_given_weights_and_smoothing_are_torchs() -> None:
    objective = Objective(task(class_weights=(1.0, 2.0, 0.5), label_smoothing=0.1), LABELS)
    weights = torch.tensor([1.0, 2.0, 0.5])
    log_p = F.log_softmax(LOGITS, dim=1)
    smoothed = 0.9 * F.one_hot(TARGETS.long(), 3) + 0.1 / 3
    expected = (weights[TARGETS.long()] * -(smoothed * log_p).sum(dim=1)).mean()
    torch.testing.assert_close(objective(LOGITS, TARGETS), expected)
    plain = Objective(task(label_smoothing=0.1), LABELS)
    torch.testing.assert_close(plain(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS.long(), label_smoothing=0.1))


def test_focal_loss_is_the_papers() -> None:
    objective = Objective(task(focal_gamma=2.0, class_weights=(1.0, 2.0, 3.0)), LABELS)
    p = LOGITS.softmax(dim=1)[range(10), TARGETS.long()]
    alpha = torch.tensor([1.0, 2.0, 3.0])[TARGETS.long()]
    torch.testing.assert_close(objective(LOGITS, TARGETS), (-alpha * (1 - p) ** 2 * p.log()).mean())


def test_binary_losses() -> None:
    scores, truth = LOGITS[:, :1], (TARGETS > 0).float()
    balanced = Objective(task("binary", pos_weight="balanced"), truth.numpy())
    torch.testing.assert_close(
        balanced(scores, truth),
        F.binary_cross_entropy_with_logits(scores[:, 0], truth, pos_weight=torch.tensor(6 / 4)),
    )
    smoothed = Objective(task("binary", label_smoothing=0.2), truth.numpy())
    torch.testing.assert_close(
        smoothed(scores, truth), F.binary_cross_entropy_with_logits(scores[:, 0], truth * 0.8 + 0.1)
    )
    focal = Objective(task("binary", focal_gamma=1.5, pos_weight=2.0), truth.numpy())
    p = torch.where(truth > 0, scores[:, 0].sigmoid(), 1 - scores[:, 0].sigmoid())
    weight = torch.where(truth > 0, 2.0, 1.0)
    torch.testing.assert_close(focal(scores, truth), (-weight * (1 - p) ** 1.5 * p.log()).mean())


@pytest.mark.parametrize("size", [1, 3, 7])
def test_batches_together_have_the_gradient_of_one_large_batch(size: int) -> None:
    objective = Objective(task(class_weights="balanced"), LABELS)
    whole = LOGITS.clone().requires_grad_()
    objective(whole, TARGETS).backward()
    parts = LOGITS.clone().requires_grad_()
    for at in range(0, 10, size):
        logits, targets = parts[at : at + size], TARGETS[at : at + size]
        (objective(logits, targets) * len(targets) / 10).backward()
    torch.testing.assert_close(parts.grad, whole.grad)


def test_balanced_weights_need_every_class() -> None:
    with pytest.raises(DataError, match="class 2 has none"):
        Objective(task(class_weights="balanced"), LABELS[:9])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks.paraphrase.loss.class_weights=balanced", "use pos_weight"),
        ("tasks.sst.loss.pos_weight=2.0", "use class_weights"),
        ("tasks.sst.loss.class_weights=[1.0, 2.0]", "has 2 weights for 5 classes"),
        ("tasks.sst.loss.class_weights=[1.0, 2.0, -1.0, 1.0, 1.0]", "must not be negative"),
        ("tasks.sts.loss.label_smoothing=0.1", "no meaning for a task of kind 'similarity'"),
        ("tasks.sst.loss.label_smoothing=1", "less than 1"),
        ("tasks.sst.loss.gamma=2", "unknown key"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve("lora-r12", overrides=[override])


def test_focusing_and_smoothing_together_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be combined"):
        resolve("lora-r12", overrides=["tasks.sst.loss.focal_gamma=2", "tasks.sst.loss.label_smoothing=0.1"])


def test_the_hash_has_a_loss_only_where_there_is_one() -> None:
    plain = resolve("lora-r12").spec
    own = resolve("lora-r12", overrides=["tasks.sst.loss.class_weights=balanced"]).spec
    assert "loss" not in plain.determinants()["tasks"][0]
    assert own.hash() != plain.hash()
    assert own.determinants()["tasks"][1] == plain.determinants()["tasks"][1]


def test_a_run_trains_on_it_and_reports_the_plain_loss(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    plain = train(tiny("last-layer").spec, tmp_path / "plain")
    changed = ["tasks.sst.loss.class_weights=[0.0, 0.0, 0.0, 0.0, 5.0]", "tasks.paraphrase.loss.pos_weight=balanced"]
    own = train(tiny("last-layer", changed).spec, tmp_path / "own")
    assert own.loss_points != plain.loss_points
    assert any("sst: training loss with class weights 0, 0, 0, 0, 5" in note for note in own.notes)
    sts = [[score for score in memory.scores if score.task == "sts"] for memory in (plain, own)]
    assert sts[0] == sts[1], "another task's loss is none of its business"
    first, other = (next(s for s in memory.scores if s.task == "sst" and s.split == "dev") for memory in (plain, own))
    assert 0 < other.loss != first.loss < 3, "the mean cross entropy, without weights"


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("kind", "logits"), [("classes", [[40.0, 0.0, 0.0]]), ("binary", [[40.0]])])
def test_a_certain_example_has_a_finite_gradient(kind: str, logits: list[list[float]], gamma: float) -> None:
    """At p = 1 the derivative of (1 - p)^gamma is infinite for a gamma below 1."""
    task = TaskSpec.model_validate(
        {
            "name": "own", "kind": kind, "text": ("a",), "label": "b", "source": {"type": "quickstart"},
            "loss": {"focal_gamma": gamma}, **({"classes": 3} if kind == "classes" else {}),
        }
    )  # fmt: skip
    label = 0.0 if kind == "classes" else 1.0
    given = torch.tensor(logits, requires_grad=True)
    Objective(task, np.array([label]))(given, torch.tensor([label])).backward()
    assert given.grad is not None and torch.isfinite(given.grad).all()
