"""Tasks that are judged by an error: lower is better, and an error is in no average."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.cost import reach
from peftbench.analysis.dynamics import dynamics
from peftbench.analysis.groups import Group, group_of
from peftbench.analysis.pareto import pareto
from peftbench.analysis.run_filter import parsed
from peftbench.analysis.scores import average_of, headlines, run_sign
from peftbench.analysis.trajectory import AVERAGE, curve, positions
from peftbench.errors import UsageError
from peftbench.report.comparison import page
from peftbench.report.formats.text import markdown
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, Prediction, RunRecord, Score
from peftbench.tui.listing import ORDERS, listed
from peftbench.tui.state import Figures, RunLine
from tests.factories import comparable_record
from tests.metrics.cases import REFERENCE

RNG = np.random.default_rng(9)
LABELS = RNG.normal(50, 10, 300)
NOISE = RNG.normal(size=300)


def sts_alone(metric: str) -> str:
    """Return the spec of a run of the one task, judged by this metric."""
    tree: dict[str, Any] = json.loads(
        resolve("lora-r12", overrides=[f"tasks.sts.metric={metric}"]).spec.canonical_json()
    )
    tree["tasks"] = [task for task in tree["tasks"] if task["name"] == "sts"]
    return json.dumps(tree)


def run_of(spread: float, seed: int, weights: int, metric: str = "mae", **changed: Any) -> RunRecord:
    """Return a run whose predictions are off by about `spread`."""
    own = LABELS + spread * (NOISE + 0.1 * np.random.default_rng([seed, weights]).normal(size=300))
    rows = tuple(Prediction("sts", 2, str(n), *pair) for n, pair in enumerate(zip(LABELS, own, strict=True)))
    value = REFERENCE[metric](LABELS, own)
    made = comparable_record(
        spec_json=sts_alone(metric),
        seed=seed,
        predictions={"sts": rows},
        weights_trainable=weights,
        dev_avg=value,
        **changed,
    )
    return replace(made, scores=(Score(2, "sts", "dev", metric, value, None, 0.1, 300),))


def group(label: str, spread: float, weights: int, metric: str = "mae") -> Group:
    return group_of(label, [run_of(spread, seed, weights, metric) for seed in range(3)])


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_the_smaller_error_is_better_and_ranks_first(metric: str) -> None:
    rough, fine = group("rough", 5.0, 10, metric), group("fine", 2.0, 20, metric)
    for pair, verdict, sign in (((rough, fine), "better", -1), ((fine, rough), "worse", 1)):
        result = compare(pair)
        (row,) = result.against[0].metrics
        assert (row.metric, row.verdict) == (metric, verdict)
        assert sign * row.difference > 0 and row.low < row.difference < row.high
        assert row.values == pytest.approx([np.mean([r.scores[0].value for r in side.records]) for side in pair])
        assert result.best["sts"] == {pair.index(fine)}
    assert "lower is better" in markdown(page(compare((rough, fine))))


def test_a_front_has_small_errors_on_it() -> None:
    front = pareto([group("cheap", 5.0, 10), group("dear", 2.0, 20), group("silly", 6.0, 15)], "weights", "dev_avg")
    assert [point.group.label for point in front.points] == ["cheap", "silly", "dear"]
    assert [point.dominated_by for point in front.points] == [(), ("cheap",), ()]
    assert front.points[1].stays < 0.05 < 0.95 < front.points[2].stays


def test_an_error_is_in_no_average_unless_it_is_alone() -> None:
    assert average_of({"a": ("accuracy", 0.5), "b": ("mae", 7.0), "c": ("pearson", 0.7)}) == pytest.approx(0.6)
    assert average_of({"b": ("mae", 7.0)}) == 7.0
    assert average_of({"a": ("accuracy", None), "b": ("mae", 7.0)}) is None
    assert average_of({"a": ("accuracy", 0.5), "b": ("mae", None)}) == 0.5


def test_the_average_of_a_comparison_leaves_errors_out() -> None:
    from tests.factories import predicted

    def of(seed: int, shift: float) -> RunRecord:
        rows = {task: predicted(task, shift, 60) for task in ("sst", "paraphrase", "sts")}
        made = comparable_record(overrides=("tasks.sts.metric=mae",), seed=seed, predictions=rows)
        scores = tuple(replace(s, metric="mae" if s.task == "sts" else "accuracy") for s in made.scores)
        return replace(made, scores=scores)

    result = compare([[of(0, 0.0), of(1, 0.01)], [of(0, 0.2), of(1, 0.21)]])
    by_name = {row.name: row for row in result.against[0].metrics}
    of_accuracies = [by_name[task].difference for task in ("sst", "paraphrase")]
    assert by_name["dev_avg"].difference == pytest.approx(np.mean(of_accuracies))
    assert by_name["dev_avg"].examples == 120
    assert by_name["sts"].metric == "mae"


def test_epochs_and_gaps_of_an_error_are_read_the_other_way_round() -> None:
    def trained(train: list[float], dev: list[float]) -> RunRecord:
        made = run_of(2.0, 0, 10)
        scores = [
            Score(n, "sts", split, "mae", value, None, 0.1, 300)
            for split, values in (("train", train), ("dev", dev))
            for n, value in enumerate(values, start=1)
        ]
        epochs = tuple(Epoch(n, value, None, None, "t") for n, value in enumerate(dev, start=1))
        run = replace(made.run, dev_avg=min(dev))
        return replace(made, run=run, scores=tuple(scores), epochs=epochs)

    of = trained([8.0, 4.0, 2.0], [9.0, 6.1, 6.0])
    found = dynamics(group_of("x", [of]))
    assert found.to_nearly is not None and found.to_nearly.mean == 2.0
    assert found.gap_first is not None and found.gap_first.mean == pytest.approx(1.0)
    assert found.grew is not None and found.grew.mean == pytest.approx(3.0) and found.grows
    small = dynamics(group_of("x", [trained([8.0, 6.0], [8.1, 6.15])]))  # by 0.05, less than 2 % of 6
    assert small.grew is not None and small.grew.mean > 0.02 and not small.grows
    assert [reached.epoch for target in (6.5, 6.0) if (reached := reach(of, target)) is not None] == [2, 3]
    assert reach(of, 5.0, "sts") is None
    assert curve(of, AVERAGE, "dev", positions(of, "epoch"))[1] == [9.0, 6.1, 6.0]


def test_best_first_lists_the_smallest_error_first() -> None:
    runs = [run_of(spread, 0, n, name=name, id=name).run for n, (spread, name) in enumerate(((5.0, "a"), (2.0, "b")))]
    assert [run_sign(run) for run in runs] == [-1, -1] and headlines(runs[0]) == {"sts": "mae"}
    order = next(order for order in ORDERS if order.label == "best first")
    assert [
        line.run.name
        for line in listed(
            [RunLine(run, run.state, None, Figures(None, None, None, None, None)) for run in runs], parsed(""), order
        )
    ] == ["b", "a"]


def test_tasks_of_errors_alone_are_refused_with_what_to_do() -> None:
    workload = ["tasks.sst.metric=brier", "tasks.paraphrase.metric=ece", "tasks.sts.metric=rmse"]
    with pytest.raises(UsageError, match=r"every task is judged by an error \(brier, ece, rmse\).*metric = 'accuracy'"):
        resolve("lora-r12", overrides=workload)
    assert resolve("lora-r12", overrides=workload[:2]).spec.tasks[0].headline == "brier"
