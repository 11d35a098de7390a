"""Every claim of the study can come out in each of the three ways, and for the right reason."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from peftbench.analysis import claims
from peftbench.analysis.claims import CHECKS, Finding, findings
from peftbench.analysis.estimate import relative, slope
from peftbench.analysis.evidence import Region
from peftbench.analysis.groups import group, records_of
from peftbench.analysis.samples import DEV_AVG, sample_of
from peftbench.analysis.study_groups import StudyGroups, study_groups
from tests.analysis.made_up_study import PRESETS, row, run, study

RISING = {"dora-r1": {"accuracy": 0.60}, "dora-r4": {"accuracy": 0.65}, "lora-r12": {"accuracy": 0.68}}
HEADS_WORSE = {"last-layer": {"accuracy": 0.4}}
LEAN = {preset: {"memory_mib": 400.0, "step_s": 0.09} for preset in ("lora-r12", "dora-r12")}
WIDENING = {preset: {"gap": 0.05 + 0.02 * n} for n, preset in enumerate(PRESETS) if preset.startswith("dora")}


def held(name: str, groups: StudyGroups) -> Finding:
    check = getattr(claims, name)
    found: Finding = check(groups, sample_of(DEV_AVG, records_of(groups.all)))
    return found


def unsure(preset: str, *accuracies: float) -> StudyGroups:
    """Return the study with one group whose seeds spread."""
    spread = group(preset, [run(preset, seed, accuracy) for seed, accuracy in enumerate(accuracies)])
    return study_groups([spread if one == preset else row(one) for one in PRESETS])


@pytest.mark.parametrize(
    ("name", "groups", "standing"),
    [
        ("adapters_match", {}, "reproduced"),
        ("adapters_match", {"full": {"accuracy": 0.75}}, "contradicted"),
        ("adapters_match", {"full": {"accuracy": 0.65}}, "contradicted"),
        ("adapters_match", ("full", 0.6, 0.7, 0.8), "undecided"),
        ("dora_is_best", {**HEADS_WORSE, "dora-r12": {"accuracy": 0.75}}, "reproduced"),
        ("dora_is_best", {"dora-r4": {"accuracy": 0.75}}, "contradicted"),
        ("dora_is_best", {}, "undecided"),
        ("plateau", (RISING), "reproduced"),
        ("plateau", {"dora-r128": {"accuracy": 0.6}}, "contradicted"),
        ("plateau", ("dora-r24", 0.6, 0.7, 0.8), "undecided"),
        ("rank_is_cheap", {"dora-r128": {"memory_mib": 1000.0}}, "reproduced"),
        ("rank_is_cheap", {"dora-r128": {"memory_mib": 1200.0}}, "contradicted"),
        ("rank_is_cheap", {"dora-r24": {"step_s": 0.15}}, "contradicted"),
        ("rank_is_cheap", {"dora-r128": {"step_s": 0.119}}, "undecided"),
        ("memory_not_compute", (LEAN), "reproduced"),
        ("memory_not_compute", {}, "contradicted"),
        ("memory_not_compute", {**LEAN, "lora-r12": {"memory_mib": 400, "step_s": 0.03}}, "contradicted"),
        ("memory_not_compute", {**LEAN, "lora-r12": {"memory_mib": 400, "step_s": 0.0665}}, "undecided"),
        ("gap_grows", (WIDENING), "reproduced"),
        ("gap_grows", {}, "contradicted"),
        ("gap_grows", {"dora-r1": {"gap": 0.0}, "dora-r4": {"gap": 0.4}, "dora-r24": {"gap": 0.5}}, "undecided"),
    ],
)
def test_a_claim_comes_out_as_its_rule_says(name: str, groups: Mapping | tuple, standing: str) -> None:
    found = held(name, study(groups) if isinstance(groups, Mapping) else unsure(*groups))
    assert (found.standing, found.lacks) == (standing, ())
    assert all(one.estimate is not None for one in found.evidence)


@pytest.mark.parametrize(
    ("accuracies", "standing"),
    [((0.66, 0.66, 0.66), "reproduced"), ((0.7, 0.7, 0.7), "contradicted"), ((0.6, 0.72, 0.76), "undecided")],
)
def test_augmentation_hurts_or_does_not_or_cannot_be_told(accuracies: tuple[float, ...], standing: str) -> None:
    augmented = [run("dora-r12", seed, value, augmented=True) for seed, value in enumerate(accuracies)]
    groups = study_groups([*(row(one) for one in PRESETS), group("dora-r12-augmented", augmented)])
    found = held("augmentation_hurts", groups)
    assert found.standing == standing
    assert [(one.of, one.against) for one in found.evidence] == [("dora-r12-augmented", "dora-r12")]


@pytest.mark.parametrize("check", CHECKS)
def test_without_groups_every_claim_is_undecided_and_says_what_it_lacks(check: object) -> None:
    found = check(study_groups([]), None)  # type: ignore[operator]
    assert (found.standing, found.evidence) == ("undecided", ())
    assert found.lacks


def test_a_missing_row_keeps_a_claim_from_being_reproduced() -> None:
    whole = study(RISING)
    fewer = StudyGroups({key: one for key, one in whole.rows.items() if key != "dora-r24"}, (), ())
    found = held("plateau", fewer)
    assert (found.standing, found.lacks) == ("undecided", ("dora-r24",))
    assert [one.speaks for one in found.evidence] == ["for"]


def test_one_seed_each_decides_nothing_about_scores_and_costs() -> None:
    by_key = {found.claim.key: found for found in findings(study(LEAN, seeds=1))}
    alone = ("adapters-match", "dora-best", "plateau", "rank-cost", "memory-not-compute")
    for key in alone:
        assert by_key[key].standing == "undecided"
        assert {one.lacks for one in by_key[key].evidence} == {"one seed each"}


def test_a_rule_names_its_margin() -> None:
    rules = {found.claim.key: found.claim.rule for found in findings(study())}
    assert len(rules) == 7
    assert "0.02" in rules["adapters-match"] and "0.02" in rules["plateau"]
    assert "20%" in rules["rank-cost"] and "third" in rules["memory-not-compute"]


def test_of_several_groups_of_a_preset_the_one_with_the_most_runs_counts_and_the_others_are_named() -> None:
    two, three = row("dora-r12", 2), row("dora-r12", 3)
    found = study_groups([two, three])
    assert found.rows["dora-r12"] is three
    assert found.others == (two,)


def test_augmented_groups_are_no_row_and_need_the_same_spec_without() -> None:
    augmented = row("dora-r12", augmented=True)
    lone = study_groups([augmented, row("dora-r4")])
    assert lone.augmented == ()
    assert list(lone.rows) == ["dora-r4"]


def test_a_relative_difference_is_welchs_interval_of_logs() -> None:
    a, b = [10.0, 11.0, 10.5], [12.0, 13.5, 12.2]
    found = relative(a, b)
    theirs = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((np.expm1(theirs.low), np.expm1(theirs.high)))
    assert relative([10.0], [11.0]) is None
    assert relative([0.0, 1.0], [1.0, 2.0]) is None
    edge = found.high
    assert found.p_beyond(edge) == pytest.approx(0.05, abs=1e-4)


def test_a_slope_is_that_of_scipys_regression() -> None:
    xs, ys = [0.0, 0.0, 2.0, 3.6, 7.0], [0.1, 0.12, 0.11, 0.2, 0.22]
    theirs, found = stats.linregress(xs, ys), slope(xs, ys, 7.0)
    half = stats.t.ppf(0.975, 3) * theirs.stderr
    assert (found.value, found.low) == pytest.approx((7 * theirs.slope, 7 * (theirs.slope - half)))
    assert found.p_beyond(0.0) == pytest.approx(theirs.pvalue, rel=1e-4)
    assert slope([1.0, 1.0, 1.0], ys[:3], 1.0) is None


def test_an_effect_is_refuted_at_its_own_edge_or_where_it_is_surely_negligible() -> None:
    assert Region(-0.02, 0.02).refuting_edge(0.01) is None
    assert Region(-0.02, 0.02).refuting_edge(0.03) == 0.02
    assert Region(low=0.0, against=0.02).refuting_edge(0.01) == 0.02
    assert Region(low=0.0, against=0.02).refuting_edge(0.03) is None
    assert Region(high=0.0, against=-0.02).refuting_edge(0.0) == -0.02
