"""Comparison of runs: confounding differences are named, and costs are computed from the phases only."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from peftbench.analysis.comparability import Mixed
from peftbench.analysis.comparison import Comparison, compare
from peftbench.analysis.cost import cost
from peftbench.analysis.settings import MEANT_BEFORE, MEANT_BEFORE_OF_TASKS
from peftbench.errors import UsageError
from peftbench.spec import resolve
from peftbench.store.rows import Phase, Run, RunRecord
from peftbench.tasks import FilesSource, TaskSpec
from tests.factories import CONDITIONS, predicted
from tests.factories import comparable_record as record
from tests.tiny import TASKS


def differing(result: Comparison) -> dict[str, bool]:
    return {difference.key: difference.confounding for difference in result.differences}


def test_two_equal_runs_do_not_differ() -> None:
    result = compare([record(), record()])
    assert result.differences == ()
    assert [row.name for row in result.against[0].metrics] == [*TASKS, "dev_avg"]
    assert {row.verdict for row in result.against[0].metrics} == {"no detectable difference"}


def test_a_spec_without_a_later_key_has_its_default() -> None:
    from peftbench.spec import TrainSpec
    from peftbench.spec.encoder import EncoderSpec
    from peftbench.spec.hashing import ADDED_KEYS, ADDED_METHOD_KEYS
    from peftbench.spec.model import EvalSpec, HeadSpec, SplitSpec
    from peftbench.spec.quantization import QuantizationSpec

    parts = {"encoder": EncoderSpec, "train": TrainSpec, "head": HeadSpec, "eval": EvalSpec}
    parts |= {"split": SplitSpec, "quantization": QuantizationSpec}
    younger = [(part, key) for part, keys in ADDED_KEYS.items() for key in keys]
    defaults = {f"{part}.{key}": parts[part].model_fields[key].default for part, key in younger}
    defaults["split.dev_is"] = SplitSpec().dev_is
    assert {key: value for key, value in defaults.items() if value not in (None, {})} == MEANT_BEFORE
    of_tasks = {key: TaskSpec.model_fields[key].default for key in MEANT_BEFORE_OF_TASKS}
    assert of_tasks == MEANT_BEFORE_OF_TASKS
    assert FilesSource.model_fields["quoting"].default == "auto"
    old = record()
    spec = json.loads(old.run.spec_json)
    for part, key in younger:
        del spec[part][key]
    del spec["split"]
    for key in ADDED_METHOD_KEYS:
        del spec["method"][key]
    for task in spec["tasks"]:
        for key in ("labels", "missing", "group"):
            del task[key]
        del task["source"]["test"]
    old = replace(old, run=replace(old.run, spec_json=json.dumps(spec)))
    assert compare([old, record()]).differences == ()


def test_files_of_before_quoting_was_a_setting_are_the_same_files() -> None:
    now = record()
    spec = json.loads(now.run.spec_json)
    source = {"type": "files", "train": "a.csv", "dev": "b.csv", "root": "/x"}
    for task in spec["tasks"]:
        task["source"] = dict(source)
    before = json.dumps(spec)
    for task in spec["tasks"]:
        task["source"]["quoting"] = "auto"
    assert compare([record(spec_json=before), record(spec_json=json.dumps(spec))]).differences == ()


def test_a_column_of_groups_is_no_difference_in_what_was_trained() -> None:
    grouped = record(overrides=("tasks.sst.group=document",))
    assert compare([record(), grouped]).differences == ()
    assert grouped.run.spec_hash == record().run.spec_hash


def test_how_rows_are_augmented_is_implied_where_one_side_has_no_augmentation() -> None:
    eda = ("augment.method=eda",)
    one_sided = compare([record(), record(overrides=(*eda, "augment.eda.n_aug=4"))])
    assert [each.key for each in one_sided.differences if each.standing != "implied"] == ["augment.method"]
    implied = {each.key: each.values for each in one_sided.differences if each.standing == "implied"}
    assert all(key.startswith("augment.") for key in implied)
    assert implied["augment.eda.n_aug"] == (None, 4)
    more = differing(compare([record(overrides=eda), record(overrides=(*eda, "augment.eda.n_aug=4"))]))
    assert more == {"augment.eda.n_aug": False}


def test_the_method_under_comparison_is_no_confounding_difference() -> None:
    found = differing(compare([record("lora-r12"), record("dora-r4", seed=3)]))
    assert found["method.name"] is False
    assert found["method.rank"] is False
    assert found["seed"] is False
    assert not any(found.values())
    assert "preset" not in found
    assert "workload" not in found


@pytest.mark.parametrize(
    "override",
    [
        *("train.batch_size=4", "train.epochs=9", "encoder.name=other", "encoder.max_length=64", "head.dropout=0.5"),
        *("tasks.sst.source.train=50", "tasks.sts.high=4", "eval.train_examples=9", "encoder.pair_encoding=separate"),
        *("train.accumulation_steps=2", "train.max_steps=5", "train.limit_examples=9", "train.patience=1"),
    ],
)
def test_what_in_the_spec_is_confounding_is_named_with_its_values(override: str) -> None:
    key, _, value = override.partition("=")
    result = compare([record(), record(overrides=(override,))])
    (confounding,) = [difference for difference in result.confounding if difference.key == key]
    assert str(confounding.values[1]) in (value, f"{value}.0")
    assert confounding.values[0] != confounding.values[1]


@pytest.mark.parametrize("override", ["train.lr=0.5", "train.weight_decay=0.1", "method.rank=3"])
def test_what_belongs_to_the_recipe_is_named_and_fair(override: str) -> None:
    key = override.partition("=")[0]
    assert differing(compare([record(), record(overrides=(override,))]))[key] is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("device", "another CPU"), ("device_type", "cuda"), ("path", "transformers"), ("threads", 8)),
        *(("malloc", {"MALLOC_ARENA_MAX": "1"}), ("torch", "2.6"), ("encoder_sha256", "def")),
    ],
)
def test_what_a_run_was_measured_under_is_named(key: str, value: object) -> None:
    result = compare([record(), record(conditions={key: value})])
    assert {difference.key: difference.values for difference in result.confounding} == {key: (CONDITIONS[key], value)}


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ({}, {"omp_wait_policy": "passive"}, ("active", "passive")),  # stored before it was recorded
        ({}, {"omp_wait_policy": "active"}, None),
        ({"omp_wait_policy": "passive"}, {"omp_wait_policy": "passive"}, None),
        ({"omp_wait_policy": "passive"}, {"omp_wait_policy": "GOMP_SPINCOUNT=100"}, ("passive", "GOMP_SPINCOUNT=100")),
        ({"threads": 1}, {"threads": 1, "omp_wait_policy": "passive"}, None),  # a single thread never waits
    ],
)
def test_how_threads_wait_is_named(one: dict[str, Any], other: dict[str, Any], named: tuple[str, str] | None) -> None:
    result = compare([record(conditions=one), record(conditions=other)])
    found = {difference.key: difference.values for difference in result.confounding}
    assert found == ({} if named is None else {"omp_wait_policy": named})


def test_another_python_version_is_irrelevant() -> None:
    assert compare([record(), record(conditions={"python": "3.11"})]).confounding == ()


def test_a_condition_that_only_one_run_has_is_named() -> None:
    only = record()
    bare = RunRecord(
        Run(**{field: getattr(only.run, field) for field in Run.__slots__} | {"conditions": {}}),
        scores=only.scores,
        predictions=only.predictions,
    )
    assert differing(compare([only, bare]))["device"] is True


def test_other_data_is_named_and_its_examples_are_not_paired() -> None:
    other = record(data_hash="e" * 64, predictions={task: predicted(task, count=5) for task in TASKS})
    result = compare([record(), other])
    assert differing(result) == {"data": True}
    assert result.against[0].metrics == ()
    assert dict(result.against[0].left_out)["sst"] == "not the same dev examples"


def test_the_folder_of_the_data_is_no_difference() -> None:
    tree = json.loads(resolve("lora-r12", "paper").spec.canonical_json())
    moved = json.loads(json.dumps(tree))
    for task in moved["tasks"]:
        task["source"]["root"] = "/elsewhere"
    result = compare([record(spec_json=json.dumps(tree)), record(spec_json=json.dumps(moved))])
    assert result.differences == ()


def test_a_revision_of_a_data_set_is_no_difference_where_its_rows_are_the_same() -> None:
    def run(revision: str, rows: str) -> RunRecord:
        spec = resolve("lora-r12", "glue-rte", overrides=[f"tasks.rte.source.revision={revision}"]).spec
        conditions = {"data_sha256": {"rte/train": rows}}
        return record(spec_json=spec.canonical_json(), conditions=conditions)

    assert differing(compare([run("none", "x"), run("f" * 40, "x")])) == {}
    assert differing(compare([run("main", "x"), run("main", "y")])) == {"data": True}


def test_another_order_of_the_tasks_is_named() -> None:
    """The tasks are trained in that order, so such specs have different hashes."""
    tree = json.loads(resolve("full").spec.canonical_json())
    turned = tree | {"tasks": tree["tasks"][::-1]}
    result = compare([record("full"), record("full", spec_json=json.dumps(turned))])
    assert any(difference.confounding and difference.key.startswith("tasks") for difference in result.differences)


def test_an_unfinished_run_is_named() -> None:
    result = compare([record(epochs_planned=4, epochs_done=4), record(epochs_planned=4, epochs_done=2)])
    found = {difference.key: difference.values for difference in result.confounding}
    assert found == {"epochs done": ("4 of 4", "2 of 4")}


def test_every_other_run_is_compared_with_the_first() -> None:
    result = compare([record(), record("full", shift=0.5), record("dora-r4", shift=-0.25)])
    assert len(result.records) == len(result.spendings) == 3
    assert len(result.against) == 2
    pearson = [next(row.difference for row in each.metrics if row.name == "sts") for each in result.against]
    assert pearson[0] != pearson[1]
    (name,) = [difference for difference in result.differences if difference.key == "method.name"]
    assert name.values == ("lora", "full", "dora")


def test_a_task_that_only_one_run_predicted_is_left_out() -> None:
    result = compare([record(), record(predictions={"sst": predicted("sst")})])
    assert [row.name for row in result.against[0].metrics] == ["sst"]
    assert {name for name, _ in result.against[0].left_out} == {"paraphrase", "sts", "dev_avg"}


def test_groups_of_one_preset_are_named_by_what_differs() -> None:
    sides = [[record(overrides=(f"method.rank={rank}",), seed=seed) for seed in (0, 1)] for rank in (3, 5)]
    assert [one.label for one in compare([*sides, record("full")]).groups] == [
        "lora-r12 alpha=3.0 rank=3",  # alpha follows rank
        "lora-r12 alpha=5.0 rank=5",
        "full-1",
    ]
    with pytest.raises(UsageError, match="has no run"):
        compare([record(), []])


def test_a_group_whose_own_runs_differ_is_always_confounding() -> None:
    mixed = [record(seed=0), record(seed=1, conditions={"device": "another CPU"})]
    (confounding,) = compare([mixed, [record(seed=0), record(seed=1)]]).confounding
    assert (confounding.key, confounding.values) == ("device", (Mixed(("a CPU", "another CPU")), "a CPU"))


def test_a_run_is_in_one_group_only() -> None:
    one, two = record(), record(seed=1)
    with pytest.raises(UsageError, match="is both in"):
        compare([[one, two], one])


def test_an_unknown_metric_is_an_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'sts'"):
        compare([record(), record()], ["stss"])


class TestCost:
    PHASES = (
        Phase("load", None, None, None, 3.0, peak_rss_mib=900.0),
        Phase("warmup", 1, "sst", None, 7.0, steps=5),
        Phase("train", 1, "sst", None, 2.0, 10, 80, 800, 200.0, 150.0, 400.0, 700.0),
        Phase("eval", 1, "sst", "dev", 1.0, examples=50),
        Phase("train", 1, "sts", None, 4.0, 10, 80, 1200, 400.0, 350.0, 500.0, 800.0),
        Phase("train", 2, "sst", None, 3.0, 10, 80, 800, 300.0, 250.0, 500.0, 700.0),
        Phase("eval", 2, "sst", "dev", 1.5, examples=50),
    )

    def test_the_figures_are_those_of_the_train_phases(self) -> None:
        spent = cost(record(phases=self.PHASES))
        assert (spent.train_s, spent.eval_s, spent.load_s, spent.run_s) == (9.0, 2.5, 3.0, 90.5)
        assert spent.its == {"sst": 4.0, "sts": 2.5}
        assert spent.examples_per_s == pytest.approx(240 / 9)
        assert spent.tokens_per_s == pytest.approx(2800 / 9)
        assert spent.step_ms_median == {"sst": 250.0, "sts": 400.0}
        assert spent.peak_rss_mib == 800.0

    def test_what_was_not_measured_is_none(self) -> None:
        spent = cost(record(finished_at=None))
        assert (spent.train_s, spent.eval_s, spent.load_s, spent.run_s) == (None,) * 4
        assert (spent.its, spent.step_ms_median) == ({}, {})
        assert (spent.examples_per_s, spent.tokens_per_s, spent.peak_rss_mib) == (None,) * 3

    def test_what_was_not_counted_is_none_and_not_zero(self) -> None:
        spent = cost(record(phases=(Phase("train", 1, "sst", None, 2.0),)))
        assert spent.train_s == 2.0
        assert spent.its.get("sst") is None
        assert (spent.examples_per_s, spent.tokens_per_s) == (None, None)

    def test_a_phase_too_short_for_the_clock_has_no_rate(self) -> None:
        spent = cost(record(phases=(Phase("train", 1, "sst", None, 0.0, 1, 1, 1),)))
        assert spent.its.get("sst") is None
        assert spent.examples_per_s is None


def test_new_rows_are_what_is_intended_and_no_other_data() -> None:
    own = {"sst/train": "a" * 64, "sst/dev": "b" * 64}

    def run(augment: dict[str, Any] | None, rows: str | None, data: str) -> RunRecord:
        found = record()
        tree = json.loads(found.run.spec_json) | ({"augment": augment} if augment else {})
        made = {"augment": {"rows_sha256": {"sst": rows}}} if rows else {}
        conditions = {**found.run.conditions, "data_sha256": own, **made}
        changed = replace(found.run, spec_json=json.dumps(tree), conditions=conditions, data_hash=data * 64)
        return replace(found, run=changed)

    plain, one, other = run(None, None, "1"), run({"method": "eda"}, "x", "2"), run({"method": "eda"}, "y", "3")
    found = {each.key: each.standing for each in compare([plain, one]).differences}
    assert found == {"augment.method": "intended", "new rows": "implied"}
    assert {each.key: each.standing for each in compare([one, other]).differences} == {"new rows": "confounding"}


def held_out_record(shift: float = 0.0, count: int = 8, **more: Any) -> RunRecord:
    """Return a record with predictions on a test split of its own examples."""
    rows = {task: tuple(replace(row, split="test") for row in predicted(task, shift, count)) for task in TASKS}
    return record(test_predictions=rows, **more)


def test_runs_that_all_have_test_scores_are_compared_on_test() -> None:
    result = compare([held_out_record(), held_out_record(0.5)])
    assert (result.split, result.metrics) == ("test", (*TASKS, "test_avg"))
    assert {row.examples for row in result.against[0].metrics if row.name != "test_avg"} == {8}
    spread = result.scores[0]["test_avg"]
    assert spread is not None and spread.mean == pytest.approx(0.4), "of the scores on test, not on dev"


def test_one_run_without_test_scores_puts_the_comparison_on_dev() -> None:
    result = compare([held_out_record(), record()])
    assert (result.split, result.metrics) == ("dev", (*TASKS, "dev_avg"))
    assert {row.examples for row in result.against[0].metrics if row.name != "dev_avg"} == {6}


def test_the_split_may_be_chosen() -> None:
    assert compare([held_out_record(), held_out_record()], split="dev").metrics == (*TASKS, "dev_avg")


def test_test_splits_of_other_examples_are_not_compared() -> None:
    (against,) = compare([held_out_record(), held_out_record(count=7)]).against
    assert against.metrics == ()
    assert dict(against.left_out)["sst"] == "not the same test examples"


def test_another_division_of_dev_confounds_a_comparison() -> None:
    result = compare([record(), record(overrides=("split.select=0.5",))])
    assert {"split.dev_is", "split.select"} <= {each.key for each in result.differences if each.confounding}
