"""The order of groups, the stretches that are not told apart, and the front, on scores made to be clear."""

from __future__ import annotations

import pytest

from peftbench.analysis.groups import Group, group_of
from peftbench.analysis.standings import Standing, Standings, standings
from peftbench.analysis.stats.estimate import Estimate
from peftbench.analysis.stats.interval import VarianceComponents
from peftbench.plot import ASCII, BRAILLE
from peftbench.report import standings as report
from tests.factories import comparable_record as record
from tests.factories import scored_group

CLEAR = {"a": 0.95, "b": 0.7, "c": 0.4}


def groups(**accuracies: float) -> list[Group]:
    return [scored_group(label, accuracy, weights=100, seeds=4) for label, accuracy in accuracies.items()]


def test_the_best_is_first_and_clear_differences_have_no_bracket() -> None:
    of = standings(groups(c=0.4, a=0.95, b=0.7), "sst")
    assert [row.group.label for row in of.rows] == ["a", "b", "c"]
    assert (of.ties, of.ranks()) == ((), (1, 2, 3))
    assert report.verdict(of) == "first: a"


def test_neighbours_that_are_not_told_apart_are_joined() -> None:
    of = standings(groups(a=0.9, twin=0.9, b=0.5, other=0.5, c=0.2), "sst")
    assert of.ties == ((0, 1), (2, 3))
    assert of.ranks() == (1, 1, 3, 3, 5)
    assert report.verdict(of).startswith("not told apart: ")
    assert report.bracket_rows(of, BRAILLE) == ["╭", "╰", " ╭", " ╰", ""]
    assert report.bracket_rows(of, ASCII) == ["/", "\\", " /", " \\", ""]


def test_a_chain_of_small_steps_has_overlapping_brackets() -> None:
    of = standings(groups(a=0.80, b=0.785, c=0.77, d=0.755), "sst")
    apart = {(one, other) for one in range(4) for other in range(one + 1, 4)} - {
        (one, other) for low, high in of.ties for one in range(low, high + 1) for other in range(one + 1, high + 1)
    }
    assert (0, 3) in apart and len(of.ties) > 1
    assert all(first < second for first, second in zip(of.ties, of.ties[1:], strict=False))


def test_a_group_of_one_run_has_an_interval_over_examples_only_and_is_named() -> None:
    of = standings([scored_group("one", 0.9, 100), *groups(b=0.5)], "sst")
    assert "one run: one: how far seeds spread is unknown" in " ".join(report.notes(of))


def test_what_has_no_place_is_left_out_with_the_reason() -> None:
    unfinished = group_of("new", [record(best_epoch=None, epochs_done=0)])
    of = standings([*groups(a=0.9), unfinished], "sst")
    assert of.left_out == (("new", "no finished epoch"),)
    nothing = standings([unfinished], "sst")
    assert (nothing.rows, nothing.left_out) == ((), (("new", "no finished epoch"),))


def test_no_group_at_all() -> None:
    of = standings([], "sst")
    assert (of.rows, of.ties, of.workload) == ((), (), "")


def row(value: float, half: float) -> Standing:
    noise = VarianceComponents(half**2, 3.0, 0.0)
    return Standing(scored_group("g", 0.5, 1), Estimate(value, value - half, value + half, noise), {}, False)


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [(0.5, 0.5, "├────●────┤"), (0.25, 0.25, "├─●──┤·····"), (1.0, 0.0, "··········●"), (0.8, 0.2, "······├─●─┤")],
)
def test_a_bar_shows_interval_and_mean_on_the_common_scale(value: float, half: float, expected: str) -> None:
    assert report.bar(row(value, half), 0.0, 1.0, 11, BRAILLE) == expected


def test_groups_that_all_score_the_same_without_noise_have_a_scale() -> None:
    assert report.scale([row(0.5, 0.0), row(0.5, 0.0)]) == (0.0, 1.0)


def test_the_page_has_every_row_and_json_the_ties() -> None:
    of = standings(groups(a=0.9, twin=0.9, c=0.2), "sst")
    (sheet,) = report.page(of).sheets
    assert [cells[1].text.rstrip() for cells in sheet.rows] == ["1 ╭", "1 ╰", "3"]
    found = report.as_json(of)
    assert found["ties"] == [[0, 1]] and [each["rank"] for each in found["rows"]] == [1, 1, 3]
    assert isinstance(of, Standings)
