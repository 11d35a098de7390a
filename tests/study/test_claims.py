"""Each claim of the study can reach each of the three verdicts, for the right reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from peftbench.analysis.groups import group_of, records_of
from peftbench.analysis.scores import DEV_AVG
from peftbench.analysis.stats.bootstrap import score_sample_of
from peftbench.analysis.stats.estimate import relative, slope, to_middle
from peftbench.study import claims, published
from peftbench.study.claims import CHECKS, ClaimResult, findings
from peftbench.study.evidence import Figure, Region, cost_evidence, score_evidence
from peftbench.study.groups import StudyGroups, study_groups
from tests.study.made_up_study import PRESETS, row, run, study

RISING = {"dora-r1": {"accuracy": 0.60}, "dora-r4": {"accuracy": 0.65}, "lora-r12": {"accuracy": 0.68}}
HEADS_WORSE = {preset: {"accuracy": 0.4} for preset in ("last-layer", "last-layer-dropout")}
LEAN = {
    **{preset: {"memory_mib": 400.0, "step_s": 0.09} for preset in ("lora-r12", "dora-r12")},
    "last-layer-dropout": {"memory_mib": 300.0, "step_s": 0.02},
}
WATTS = {preset: {"power_w": 270.0 if preset == "full" else 240.0} for preset in PRESETS}
CPU_WATTS = {preset: {"cpu_w": 65.0 if preset == "full" else 60.0} for preset in PRESETS}
WIDENING = {preset: {"gap": 0.05 + 0.02 * n} for n, preset in enumerate(PRESETS) if preset.startswith("dora")}


def held(name: str, groups: StudyGroups) -> ClaimResult:
    check = getattr(claims, name)
    found: ClaimResult = check(groups, score_sample_of(DEV_AVG, records_of(groups.all)))
    return found


def unsure(preset: str, *accuracies: float) -> StudyGroups:
    """Return the study with one group that has variance over seeds."""
    spread = group_of(preset, [run(preset, seed, accuracy) for seed, accuracy in enumerate(accuracies)])
    return study_groups([spread if one == preset else row(one) for one in PRESETS])


@pytest.mark.parametrize(
    ("name", "groups", "standing"),
    [
        ("adapters_match", {}, "reproduced"),
        ("adapters_match", {"full": {"accuracy": 0.75}}, "contradicted"),
        ("adapters_match", {"full": {"accuracy": 0.65}}, "reproduced"),
        ("adapters_match", ("full", 0.6, 0.7, 0.8), "undecided"),
        ("dora_is_best", {**HEADS_WORSE, "dora-r12": {"accuracy": 0.75}}, "reproduced"),
        ("dora_is_best", {"dora-r4": {"accuracy": 0.75}}, "contradicted"),
        ("dora_is_best", {}, "undecided"),
        ("plateau", (RISING), "reproduced"),
        ("plateau", {**RISING, "dora-r128": {"accuracy": 0.6}}, "contradicted"),
        ("plateau", {**RISING, "dora-r1": {"accuracy": 0.69}}, "contradicted"),
        ("plateau", {}, "undecided"),
        ("plateau", ("dora-r24", 0.6, 0.7, 0.8), "undecided"),
        ("rank_is_cheap", {"dora-r128": {"memory_mib": 1000.0}}, "reproduced"),
        ("rank_is_cheap", {"dora-r128": {"memory_mib": 1200.0}}, "contradicted"),
        ("rank_is_cheap", {"dora-r24": {"step_s": 0.15}}, "contradicted"),
        ("rank_is_cheap", {"dora-r128": {"step_s": 0.119}}, "undecided"),
        ("memory_not_compute", (LEAN), "reproduced"),
        ("memory_not_compute", {}, "contradicted"),
        ("memory_not_compute", {**LEAN, "last-layer-dropout": {"memory_mib": 150.0}}, "contradicted"),
        ("memory_not_compute", {**LEAN, "lora-r12": {"memory_mib": 400, "step_s": 0.03}}, "contradicted"),
        ("memory_not_compute", {**LEAN, "lora-r12": {"memory_mib": 400, "step_s": 0.0665}}, "undecided"),
        ("less_power", (WATTS), "reproduced"),
        ("less_power", (CPU_WATTS), "reproduced"),
        ("less_power", {**WATTS, "dora-r128": {"power_w": 280.0}}, "contradicted"),
        ("less_power", {**WATTS, "dora-r128": {"power_w": 269.95}}, "undecided"),
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
    groups = study_groups([*(row(one) for one in PRESETS), group_of("dora-r12-augmented", augmented)])
    found = held("augmentation_hurts", groups)
    assert found.standing == standing
    assert {(one.of, one.against) for one in found.evidence} == {("dora-r12-augmented", "dora-r12")}
    assert [one.what for one in found.evidence] == ["sst", "paraphrase"]


def test_power_that_not_every_run_knows_decides_nothing_and_says_why() -> None:
    for groups in ({}, {**WATTS, "full": {}}, {**CPU_WATTS, "full": {"power_w": 270.0}}):
        found = held("less_power", study(groups))
        assert (found.standing, found.lacks) == ("undecided", ())
        assert all("no power was measured" in (one.lacks or "") for one in found.evidence)
        assert len(found.evidence) == 6


def test_the_studys_own_memory_lies_below_the_middle_of_its_two_baselines() -> None:
    figures = {row.preset: float(row.vram_mib) for row in published.rows()}
    low, high = figures["last-layer-dropout"], figures["full"]
    for preset in ("lora-r12", "dora-r12", "dora-r128"):
        near = [figures[preset] + off for off in (-1.0, 0.0, 1.0)]
        found = to_middle(near, [low - 1, low, low + 1], [high - 1, high, high + 1])
        assert found is not None and found.high < 0
        assert found.value == pytest.approx(figures[preset] / (low * high) ** 0.5 - 1, abs=1e-5)


def test_a_middle_needs_two_values_on_each_side() -> None:
    assert to_middle([1.0, 2.0], [1.0], [3.0, 4.0]) is None
    assert to_middle([1.0, 2.0], [0.0, 1.0], [3.0, 4.0]) is None
    alike = to_middle([2.0, 2.0], [1.0, 1.0], [4.0, 4.0])
    assert alike is not None and alike.value == alike.low == alike.high == pytest.approx(0.0)


OTHER_WAY = ("paraphrase", "sst")


def two_orders(**of: object) -> StudyGroups:
    """Return two DoRA groups with different task orders; the second with further changes."""
    second = [run("dora-r12", seed, tasks=OTHER_WAY, **of) for seed in range(2)]  # type: ignore[arg-type]
    return study_groups([row("dora-r12", 2)], [group_of("the other way", second)])


@pytest.mark.parametrize(
    ("of", "standing", "lacks"),
    [
        ({}, "reproduced", None),
        ({"accuracy": 0.701}, "contradicted", None),
        ({"gap": 0.1 + 1e-12}, "contradicted", None),
        ({"conditions": {"threads": 9}}, "by construction", "threads"),
        ({"conditions": {"device_type": "cuda"}}, "by construction", "GPU"),
        ({"conditions": {"data_sha256": {"sst/train": "0"}}}, "by construction", "data"),
    ],
)
def test_the_order_of_tasks_is_judged_to_the_bit_by_groups_that_differ_in_nothing_else(
    of: dict[str, object], standing: str, lacks: str | None
) -> None:
    found = held("order_is_nothing", two_orders(**of))
    assert found.standing == standing
    (evidence,) = found.evidence
    assert (evidence.of, evidence.against) == ("the other way (paraphrase, sst)", "dora-r12 (sst, paraphrase)")
    assert (evidence.estimate is None) == (lacks is not None)
    assert lacks is None or lacks in (evidence.lacks or "")


def test_without_such_groups_the_order_is_said_to_hold_by_construction_and_not_by_runs() -> None:
    for groups in (study(), study_groups([])):
        found = held("order_is_nothing", groups)
        assert (found.standing, found.evidence) == ("by construction", ())
        assert found.lacks == ("two groups that differ only in the order of their tasks",)


def test_groups_that_share_weights_or_differ_in_more_are_no_pair_of_orders() -> None:
    full = group_of("full, the other way", [run("full", seed, tasks=OTHER_WAY) for seed in range(2)])
    assert study_groups([row("full", 2), full]).reordered == ()
    other = group_of("rank 4", [run("dora-r4", seed, tasks=OTHER_WAY) for seed in range(2)])
    assert study_groups([row("dora-r12", 2), other]).reordered == ()


@pytest.mark.parametrize("check", [check for check in CHECKS if check is not claims.order_is_nothing])
def test_without_groups_every_claim_is_undecided_and_says_what_it_lacks(check: object) -> None:
    found = check(study_groups([]), None)  # type: ignore[operator]
    assert (found.standing, found.evidence) == ("undecided", ())
    assert found.lacks


def test_a_missing_row_keeps_a_claim_from_being_reproduced() -> None:
    whole = study(RISING)
    fewer = StudyGroups({key: one for key, one in whole.rows.items() if key != "dora-r24"}, (), ())
    found = held("plateau", fewer)
    assert (found.standing, found.lacks) == ("undecided", ("dora-r24",))
    assert [one.speaks for one in found.evidence] == ["for"] * 3


def test_one_seed_each_decides_nothing_about_scores_and_costs() -> None:
    by_key = {found.claim.key: found for found in findings(study(LEAN, seeds=1))}
    alone = ("adapters-match", "dora-best", "plateau", "rank-cost", "memory-not-compute")  # power: not measured
    for key in alone:
        assert by_key[key].standing == "undecided"
        assert {one.lacks for one in by_key[key].evidence} == {"one seed each"}


def test_one_seed_on_one_side_decides_nothing_either() -> None:
    lone, three = row("lora-r12", 1), row("dora-r12", 3)
    figure = Figure("weights", lambda of: 1.0)
    for of, against in ((lone, three), (three, lone)):
        made = score_sample_of("dev_avg", records_of([lone, three]))
        lacks = f"one seed of {lone.label}"
        assert score_evidence(made, of, against, Region(low=0.0)).lacks == lacks
        assert cost_evidence(figure, of, against, Region(low=0.0)).lacks == lacks


def test_a_rule_names_its_margin() -> None:
    rules = {found.claim.key: found.claim.rule for found in findings(study())}
    assert [found.claim.number for found in findings(study())] == list(range(1, 10))
    assert len(rules) == 9
    assert "0.02" in rules["adapters-match"] and "0.02" in rules["plateau"]
    assert "20%" in rules["rank-cost"] and "third" in rules["memory-not-compute"]


def test_of_several_groups_of_a_preset_the_one_with_the_most_runs_counts_and_the_others_are_named() -> None:
    two, three = row("dora-r12", 2), row("dora-r12", 3)
    found = study_groups([two, three])
    assert found.rows["dora-r12"] is three
    assert found.others == (two,)


def test_only_rows_made_as_the_study_made_them_repeat_its_augmented_row() -> None:
    augmented = row("dora-r12", augmented=True)
    assert study_groups([row("dora-r12"), augmented]).row("dora-r12-augmented") is augmented
    assert study_groups([row("dora-r4"), row("dora-r4", augmented=True)]).row("dora-r12-augmented") is None
    fewer = [
        replace(one, run=replace(one.run, spec_json=one.run.spec_json.replace('"n_aug": 9', '"n_aug": 4')))
        for one in augmented.records
    ]
    found = study_groups([row("dora-r12"), group_of("four", fewer)])
    assert found.row("dora-r12-augmented") is None
    assert [one.label for _, one in found.augmented] == ["four"]


def test_augmented_groups_are_no_row_and_need_the_same_spec_without() -> None:
    augmented = row("dora-r12", augmented=True)
    lone = study_groups([augmented, row("dora-r4")])
    assert lone.augmented == ()
    assert list(lone.rows) == ["dora-r4"]


def test_a_relative_difference_is_welchs_of_logs() -> None:
    a, b = [10.0, 11.0, 10.5], [12.0, 13.5, 12.2]
    found = relative(a, b)
    logs = np.log(a), np.log(b)
    of_a, of_b = (np.var(each, ddof=1) / 3 for each in logs)
    df = min((of_a + of_b) ** 2 / ((of_a**2 + of_b**2) / 4) - 2, 4)  # Welch 1947, three runs per side
    half = stats.t.ppf(0.975, df) * np.sqrt(of_a + of_b)
    off = np.mean(logs[1]) - np.mean(logs[0])
    assert (found.low, found.high) == pytest.approx((np.expm1(off - half), np.expm1(off + half)))
    assert relative([10.0], [11.0]) is None
    assert relative([10.0], [11.0, 12.0, 13.0]) is None  # the variance of the first is unknown
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
