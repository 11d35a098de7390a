"""Differences over folds: Nadeau and Bengio's corrected variance, what is paired with what, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.folds import Case, measure
from peftbench.analysis.comparison import Comparison, compare
from peftbench.analysis.groups import Group, group_of, newest_by_seed, spread_of
from peftbench.analysis.pareto import pareto
from peftbench.analysis.settings import labels
from peftbench.analysis.stats.difference import difference
from peftbench.analysis.stats.folds import FoldSample, corrected_variance, fold_difference
from peftbench.report.comparison import page
from peftbench.report.formats.json import comparison
from peftbench.report.verdicts import verdict
from peftbench.store.rows import Prediction, RunRecord, Score
from tests.factories import comparable_record


def sample(first: list[float], second: list[float], share: float = 1 / 3, metric: str = "accuracy") -> FoldSample:
    """Return one run a fold on each side, `a-0`, ..., `b-0`, ..."""
    k, values = len(first), (*first, *second)
    names = tuple(f"{side}-{fold}" for side in "ab" for fold in range(k))
    folds = tuple(range(k)) * 2
    return FoldSample("t", metric, k, names, values, folds, folds, (40,) * 2 * k, (share,) * 2 * k)


def sides(of: FoldSample) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return of.runs[: len(of.runs) // 2], of.runs[len(of.runs) // 2 :]


class TestFormula:
    def test_by_hand(self) -> None:
        """d = 1, 2, 3, 4, 5 hundredths: mean 3, S^2 = 10 / 4; (1/5 + 1/3) 2.5 = 4/3; t(4, 97.5 %) = 2.776445."""
        assert corrected_variance([0.01, 0.02, 0.03, 0.04, 0.05], 1 / 3) == pytest.approx(4 / 3 * 1e-4)
        made = sample([0.5] * 5, [0.51, 0.52, 0.53, 0.54, 0.55])
        row = difference(made, *sides(made), paired=False)
        assert row is not None and row.folds is not None
        half = 2.7764451052 * math.sqrt(4 / 3) * 0.01
        assert (row.difference, row.low, row.high) == pytest.approx((0.03, 0.03 - half, 0.03 + half))
        assert row.p == pytest.approx(2 * stats.t.sf(3 / math.sqrt(4 / 3), 4), rel=1e-6)
        assert (row.values, row.verdict, row.examples) == (pytest.approx((0.5, 0.53)), "no detectable difference", 200)
        assert (row.noise.of_seeds, row.noise.seeds_df) == (pytest.approx(4 / 3 * 1e-4), 4)
        assert not row.of_these_runs

    @given(st.lists(st.floats(-1, 1), min_size=3, max_size=12), st.floats(0.05, 1.0))
    def test_it_is_the_plain_variance_of_a_mean_and_more(self, apart: list[float], share: float) -> None:
        plain = float(np.var(apart, ddof=1)) / len(apart)
        assert corrected_variance(apart, 0.0) == pytest.approx(plain, abs=1e-12)
        assert corrected_variance(apart, share) == pytest.approx(plain * (1 + share * len(apart)), abs=1e-12)

    @pytest.mark.parametrize("folds", [5, 10])
    def test_at_the_correlation_that_it_assumes_false_alarms_are_five_percent(self, folds: int) -> None:
        """Folds' differences of equal correlation n_test / (n_test + n_train): t is then exact. 20,000 trials."""
        share, trials, rng = 1 / (folds - 2), 20_000, np.random.default_rng(folds)
        rho, edge = share / (1 + share), stats.t.ppf(0.975, folds - 1)
        apart = math.sqrt(rho) * rng.normal(size=(trials, 1)) + math.sqrt(1 - rho) * rng.normal(size=(trials, folds))
        false = {
            used: np.mean([abs(d.mean()) > edge * math.sqrt(corrected_variance(d, used)) for d in apart])
            for used in (share, 0.0)
        }
        assert false[share] == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / trials))
        assert false[0.0] > 0.12


@pytest.mark.soak
@pytest.mark.parametrize(
    "case",
    [Case("feature", "accuracy", 200, 10), Case("neighbour", "accuracy", 200, 5), Case("ridge", "pearson", 200, 5)],
)
def test_false_alarms_of_trained_learners(case: Case) -> None:
    """Of 1,000 trials: a rate of 5 % is over 7 % once in 500 times."""
    found = measure(case, 1000)
    assert found.corrected <= 0.07
    assert found.uncorrected >= found.corrected + 0.03


class TestPairs:
    def test_seeds_are_averaged_within_their_fold(self) -> None:
        made = FoldSample(
            "t", "accuracy", 3, tuple("abcdefg"), (0.1, 0.3, 0.4, 0.6, 0.3, 0.5, 0.6), (0, 0, 1, 2, 0, 1, 2),
            (0, 0, 1, 2, 0, 1, 2), (10,) * 7, (1.0,) * 7,
        )  # fmt: skip
        assert made.by_fold("abcd") == pytest.approx({0: 0.2, 1: 0.4, 2: 0.6})
        assert made.mean("abcd") == pytest.approx(0.4)
        found = fold_difference(made, "abcd", "efg")
        assert not isinstance(found, str) and found.difference == pytest.approx(0.2 / 3)

    def test_folds_that_one_side_lacks_are_left_out(self) -> None:
        made = sample([0.1, 0.5, 0.5, 0.5, 0.9], [0.2, 0.6, 0.7, 0.6, 0.1])
        first, second = sides(made)
        found = fold_difference(made, first[1:], second[:-1])
        assert not isinstance(found, str)
        assert (found.folds.common, found.folds.lacking) == ((1, 2, 3), (0, 4))
        assert found.values == pytest.approx((0.5, 1.9 / 3)) and found.noise.seeds_df == 2
        assert found.noise.of_seeds == pytest.approx((1 / 3 + 1 / 3) * np.var([0.1, 0.2, 0.1], ddof=1))

    def test_fewer_than_three_in_common_are_no_verdict(self) -> None:
        made = sample([0.1, 0.5, 0.5, 0.5], [0.2, 0.6, 0.7, 0.6])
        first, second = sides(made)
        found = fold_difference(made, first[:3], second[1:])
        assert found == "2 of 4 folds in common: the variance between folds is known from 3 on"
        assert difference(made, first[:3], second[1:], paired=False) is None

    def test_other_examples_in_a_fold_are_no_verdict(self) -> None:
        made = sample([0.1, 0.5, 0.5], [0.2, 0.6, 0.7])
        other = replace(made, ids=(*made.ids[:-1], 99))
        assert fold_difference(other, *sides(other)) == "the folds are not of the same examples"

    def test_the_same_difference_in_every_fold_is_no_verdict_and_none_at_all_is_no_difference(self) -> None:
        alike = sample([0.1, 0.5, 0.5], [0.2, 0.6, 0.6])
        assert "leaves no variance to judge it by" in str(fold_difference(alike, *sides(alike)))
        none = sample([0.1, 0.5, 0.5], [0.1, 0.5, 0.5])
        row = difference(none, *sides(none), paired=False)
        assert row is not None and (row.low, row.high, row.p, row.verdict) == (0, 0, 1, "no detectable difference")


VALUES = {"sst": 0.6, "sts": 0.7}


def run(
    name: str,
    fold: int,
    gain: float = 0.0,
    *,
    seed: int = 0,
    folds: int = 5,
    tasks: tuple[str, ...] = ("sst",),
) -> RunRecord:
    """Return a run of a fold whose scores differ from fold to fold, and between presets by about `gain`."""
    made = comparable_record(
        "full" if name == "full" else "lora-r12",
        (f"split.folds={folds}", f"split.fold={fold}"),
        seed=seed,
        test_predictions={
            task: tuple(Prediction(task, 2, f"{fold}-{n}", 1.0, 1.0, split="test") for n in range(20)) for task in tasks
        },
        id=f"{name}-{fold}-{seed}",
        name=f"{name}-{fold}-{seed}",
        conditions={"fold_examples": {task: {"train": 60, "dev": 20, "test": 20} for task in tasks}},
    )
    spec = {**made.run.spec, "tasks": [task for task in made.run.spec["tasks"] if task["name"] in tasks]}
    noise = np.random.default_rng([fold, seed, *name.encode()]).normal(0, 0.01) + 0.05 * math.cos(fold)
    scores = tuple(
        Score(2, task, split, "pearson" if task == "sts" else "accuracy", VALUES[task] + noise + gain, None, 0.1, 20)
        for task in tasks
        for split in ("dev", "test")
    )
    return replace(made, run=replace(made.run, spec_json=json.dumps(spec)), scores=scores)


def group(name: str, gain: float = 0.0, among: range = range(5), tasks: tuple[str, ...] = ("sst",)) -> Group:
    return group_of(name, [run(name, fold, gain, tasks=tasks) for fold in among])


def text(result: Comparison, full: bool = False) -> str:
    made = page(result, full)
    parts = [made.title, *(line.text for line in made.warnings), *(line.text for line in made.verdicts), *made.notes]
    return "\n".join([*parts, *(note for sheet in made.sheets for note in sheet.notes)])


class TestComparison:
    def test_a_clear_gain_is_found_and_the_text_names_how(self) -> None:
        result = compare([group("lora"), group("full", 0.1)])
        (row,) = result.against[0].metrics
        assert (result.split, row.verdict, row.runs, row.paired) == ("test", "better", (5, 5), True)
        assert row.folds is not None and row.folds.share == pytest.approx(1 / 3)
        method = "test, 5-fold cross-validation, corrected for overlapping training sets (Nadeau and Bengio 2003)"
        assert method in text(result)
        full = text(result, full=True)
        assert "Student's t over the folds' differences" in full and "standard deviation over its folds" in full
        assert "bootstrap" not in full
        assert result.best["sst"] == {1} and not result.confounding
        as_json = comparison(result)["against_baseline"][0]["metrics"][0]
        assert as_json["folds"]["common"] == (0, 1, 2, 3, 4) and as_json["outlook"]["unsettled"] == "folds"

    def test_like_groups_are_not_told_apart_and_it_says_what_could_have_been(self) -> None:
        result = compare([group("lora"), group("full", 0.001)])
        (row,) = result.against[0].metrics
        assert row.verdict == "no detectable difference" and row.outlook is not None
        assert row.outlook.detectable is not None and row.outlook.detectable > abs(row.difference)
        assert (row.outlook.seeds_needed, row.outlook.unsettled) == (None, "folds")
        assert "(5 folds could have shown " in verdict(result, result.against[0])
        assert result.best["sst"] == {0, 1}

    def test_the_mean_of_tasks_is_compared_in_the_same_way(self) -> None:
        tasks = ("sst", "sts")
        result = compare([group("lora", tasks=tasks), group("full", 0.1, tasks=tasks)])
        rows = {row.name: row for row in result.against[0].metrics}
        assert set(rows) == {"sst", "sts", "test_avg"}
        parts = [rows[task] for task in tasks]
        assert rows["test_avg"].difference == pytest.approx(sum(row.difference for row in parts) / 2)
        assert rows["test_avg"].noise.of_seeds == pytest.approx(parts[0].noise.of_seeds)  # the same noise in both
        assert rows["test_avg"].examples == 200
        spreads = result.scores[0]
        assert spreads["test_avg"] is not None and spreads["test_avg"].n == 5

    def test_a_lacking_fold_is_left_out_and_named(self) -> None:
        result = compare([group("lora"), group("full", 0.1, range(1, 5))])
        assert "full: 4 of 5 folds are compared; not run on both sides: fold 1 (split.fold=0)." in text(result)
        assert not result.confounding

    def test_two_folds_are_no_verdict(self) -> None:
        result = compare([group("lora"), group("full", 0.1, range(2))])
        assert result.against[0].metrics == ()
        assert "2 of 5 folds in common" in dict(result.against[0].left_out)["sst"]
        assert "2 of 5 folds in common" in text(result)

    @pytest.mark.parametrize("first", [True, False])
    def test_other_numbers_of_folds_and_none_are_not_comparable(self, first: bool) -> None:
        four = group_of("four", [run("full", fold, folds=4) for fold in range(4)])
        plain = group_of("plain", [comparable_record("full", id="plain", name="plain")])
        for other in (four, plain):
            pair = [group("lora"), other] if first else [other, group("lora")]
            result = compare(pair)
            assert {each.key for each in result.confounding} >= {"split.folds"}
            assert result.against[0].metrics == ()
            reason = dict(result.against[0].left_out)["sst"]
            assert "5 folds" in reason and ("4 folds" in reason or "no cross-validation" in reason)

    def test_an_undefined_metric_of_a_run_is_no_verdict(self) -> None:
        broken = run("full", 2, 0.1)
        broken = replace(broken, scores=tuple(replace(s, value=None, reason="no Pearson r") for s in broken.scores))
        runs = [run("full", fold, 0.1) for fold in (0, 1, 3, 4)]
        result = compare([group("lora"), group_of("full", [*runs, broken])])
        assert dict(result.against[0].left_out) == {"sst": "no Pearson r"}


class TestGroups:
    def test_a_seed_counts_once_in_each_fold(self) -> None:
        runs = [run("lora", fold, seed=seed).run for seed in (0, 1) for fold in range(3)]
        again = replace(run("lora", 1, seed=1).run, id="again", created_at="2027-01-01T00:00:00.000Z")
        kept, older = newest_by_seed([*runs, again])
        assert [(each.seed, each.fold) for each in kept] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
        assert kept[4].id == "again" and [each.id for each in older] == ["lora-1-1"]

    def test_their_mean_is_over_folds_whatever_the_number_of_seeds(self) -> None:
        records = [run("lora", 0), run("lora", 0, seed=1), run("lora", 1)]
        of = spread_of(group_of("lora", records), [0.1, 0.9, 0.3])
        assert of is not None and (of.mean, of.n) == (pytest.approx(((0.1 + 0.3) / 2 + 0.9) / 2), 2)

    def test_labels_do_not_name_the_fold(self) -> None:
        one = replace(run("lora", 0).run, group_hash="a" * 64)
        other = replace(run("lora", 1, folds=4).run, group_hash="b" * 64)
        assert labels([one, other]) == ["lora-r12 folds=5", "lora-r12 folds=4"]

    def test_a_front_leaves_them_out_by_name(self) -> None:
        made = pareto([group("lora"), group("full")], "weights", "sst")
        assert not made.points and "cross-validation" in dict(made.left_out)["lora"]
