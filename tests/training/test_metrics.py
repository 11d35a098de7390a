from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peftbench.errors import UsageError
from peftbench.metrics import METRICS, metrics_for
from peftbench.metrics.value import value
from peftbench.spec import Resolved, resolve
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of, pearson, predict, score
from tests.factories import FIVE_CLASSES as FIVE
from tests.factories import SIMILARITY as SIMILAR
from tests.factories import YES_OR_NO as PAIR
from tests.recorders import train

pytestmark = pytest.mark.usefixtures("no_prediction")

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=30))
def test_pearson_is_scipys_or_says_why_not(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    found = pearson(x, y)
    if found.value is None:
        assert found.reason in ("constant predictions", "constant labels")
    elif np.std(x) > 1e-6 and np.std(y) > 1e-6:
        assert found.value == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-6)
    assert found.value is None or -1 <= found.value <= 1


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], "constant predictions"),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "constant labels"),
        ([1.0], [1.0], "fewer than two examples"),
        ([1.0, math.nan, 3.0], [1.0, 2.0, 3.0], "1 of 3 predictions are not finite numbers"),
        ([1.0, math.inf, 3.0], [1.0, 2.0, 3.0], "1 of 3 predictions are not finite numbers"),
        ([-math.inf, math.inf, 3.0], [1.0, 2.0, 3.0], "2 of 3 predictions are not finite numbers"),
        ([math.nan] * 3, [1.0, 2.0, 3.0], "3 of 3 predictions are not finite numbers"),
        ([1.0, 2.0, 3.0], [1.0, math.nan, 3.0], "1 of 3 labels are not finite numbers"),
        ([1e300, -1e300, 1e299], [1.0, 2.0, 3.0], "predictions too large to square"),
    ],
)
def test_a_correlation_that_does_not_exist_is_none_with_its_reason(x: list[float], y: list[float], reason: str) -> None:
    found = score(SIMILAR, np.array(x), np.array(y))
    assert (found.name, found.value, found.reason) == ("pearson", None, reason)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("task", [FIVE, PAIR, SIMILAR])
def test_no_task_has_a_metric_of_what_is_not_finite(task: TaskSpec, bad: float) -> None:
    found = score(task, np.array([1.0, bad, 0.0]), np.array([1.0, 0.0, 1.0]))
    assert (found.name, found.value) == (task.headline, None)
    assert found.reason == "1 of 3 predictions are not finite numbers"


def test_predictions_and_accuracy_of_each_kind() -> None:
    classes = np.array([[0.1, 0.9, 0, 0, 0], [0, 0, 0, 0, 3.0]])
    assert predict(FIVE, classes).tolist() == [1, 4]
    assert score(FIVE, predict(FIVE, classes), np.array([1.0, 3.0])).value == 0.5
    assert predict(PAIR, np.array([[-0.1], [0.2]])).tolist() == [0, 1]
    assert predict(SIMILAR, np.array([[3.25]])).tolist() == [3.25]


def test_losses_are_cross_entropy_bce_and_mse_on_the_raw_score() -> None:
    logits, labels = torch.randn(4, 5), torch.tensor([0.0, 4.0, 2.0, 2.0])
    by_hand = -torch.log_softmax(logits, dim=1)[torch.arange(4), labels.long()].mean()
    torch.testing.assert_close(loss_of(FIVE, logits, labels), by_hand)
    one, truth = torch.randn(4, 1), torch.tensor([0.0, 1.0, 1.0, 0.0])
    p = torch.sigmoid(one[:, 0])
    by_hand = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    torch.testing.assert_close(loss_of(PAIR, one, truth), by_hand)
    scores = torch.tensor([0.0, 5.0, 2.5, 1.0])
    torch.testing.assert_close(loss_of(SIMILAR, one, scores), ((one[:, 0] - scores) ** 2).mean())


class TestHeadline:
    """`tasks.TASK.metric`: what the task is judged by."""

    @pytest.mark.parametrize("metric", metrics_for("classes"))
    def test_a_task_is_scored_by_its_headline(self, metric: str) -> None:
        labels, predictions = np.asarray([0.0, 1, 2, 2, 1, 0]), np.asarray([0.0, 2, 2, 2, 1, 1])
        task = resolve("lora-r12", overrides=[f"tasks.sst.metric={metric}"]).spec.tasks[0]
        assert task.headline == metric
        sure = np.eye(5)[predictions.astype(int)]
        given = sure if METRICS[metric].of_probabilities else predictions
        assert score(task, predictions, labels, sure) == value(metric, labels, given)

    def test_without_one_it_is_accuracy_or_pearson_and_the_hash_stays(self) -> None:
        spec = resolve("lora-r12").spec
        assert [task.headline for task in spec.tasks] == ["accuracy", "accuracy", "pearson"]
        assert all("metric" not in task for task in spec.determinants()["tasks"])
        assert resolve("lora-r12", overrides=["tasks.sst.metric=mcc"]).spec.hash() != spec.hash()

    @pytest.mark.parametrize("metric", ["sst.metric=f1", "sts.metric=accuracy", "sst.metric=pearson"])
    def test_a_metric_of_another_kind_is_refused_with_those_there_are(self, metric: str) -> None:
        with pytest.raises(UsageError, match="cannot be the headline of a task of kind"):
            resolve("lora-r12", overrides=[f"tasks.{metric}"])

    def test_an_undefined_one_has_its_reason(self) -> None:
        task = resolve("lora-r12", overrides=["tasks.paraphrase.metric=mcc"]).spec.tasks[1]
        found = score(task, np.zeros(4), np.asarray([0.0, 1, 0, 1]))
        assert found.value is None and "constant predictions" in str(found.reason)

    def test_it_chooses_the_epoch(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        memory = train(tiny("last-layer", ["tasks.sst.metric=macro_f1", "train.epochs=3"]).spec, tmp_path)
        sst = {s.epoch: (s.metric, s.value) for s in memory.scores if s.task == "sst" and s.split == "dev"}
        assert {metric for metric, _ in sst.values()} == {"macro_f1"}
        best = next(best for best in memory.task_bests if best.task == "sst")
        assert best.value == max(value for _, value in sst.values() if value is not None)
        assert all(epoch.leaderboard is None for epoch in memory.epochs), "its formula is for accuracy"
