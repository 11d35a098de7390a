"""Groups that share the first rank: consistent with printed verdicts, corrected for the number of other pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from peftbench.analysis.comparison import compare
from peftbench.analysis.groups import Spread, group_of
from peftbench.analysis.marks import best_scores, cheapest
from peftbench.analysis.stats.bootstrap import score_sample_of
from peftbench.analysis.stats.difference import corrected, difference
from peftbench.store.rows import Prediction, RunRecord
from tests.factories import comparable_record as record


def runs(name: str, wrong: range, seeds: int = 3) -> list[RunRecord]:
    """Return runs that are wrong on some of 200 examples of one task, and each seed on one more example."""
    found = []
    for seed in range(seeds):
        missed = {*wrong, 190 + seed}
        rows = tuple(Prediction("sst", 2, str(n), 1.0, float(n not in missed)) for n in range(200))
        base = record(seed=seed, predictions={"sst": rows}, id=f"{name}-{seed}", name=f"{name}-{seed}")
        found.append(replace(base, scores=tuple(score for score in base.scores if score.task == "sst")))
    return found


def test_a_pair_with_the_baseline_has_the_printed_verdict() -> None:
    groups = [group_of("a", runs("a", range(30))), group_of("b", runs("b", range(8)))]
    sample = score_sample_of("sst", [one for each in groups for one in each.records])
    row = difference(sample, groups[0].ids, groups[1].ids, paired=True)
    assert row.verdict == "better"
    assert best_scores({"sst": sample}, groups, [(row,)]) == {"sst": {1}}
    undecided = replace(row, p_holm=0.2)
    assert best_scores({"sst": sample}, groups, [(undecided,)]) == {"sst": {0, 1}}


def test_pairs_of_other_groups_are_corrected_for_their_number() -> None:
    """A difference significant for one pair alone is not among many: each of eight is slightly behind the ninth."""
    groups = [group_of("base", runs("base", range(60)))]
    groups += [group_of("best", runs("best", range(0)))]
    groups += [group_of(f"g{n}", runs(f"g{n}", range(10 * n, 10 * n + 10))) for n in range(8)]
    result = compare(groups)
    sample = score_sample_of("sst", [one for each in groups for one in each.records])
    rows = [difference(sample, groups[1].ids, one.ids, paired=True) for one in groups[2:]]
    assert {row.verdict for row in rows} == {"worse"}
    assert {row.verdict for row in corrected(rows)} == {"no detectable difference"}
    assert result.best["sst"] == {1, *range(2, 10)}
    assert compare(groups[:3]).best["sst"] == {1}


def test_of_many_similar_costs_none_is_called_higher() -> None:
    rng = np.random.default_rng(1)
    spreads = [Spread(float(10 + 0.3 * rng.normal()), 0.3, 3) for _ in range(12)]
    clear = [*spreads, Spread(30.0, 0.3, 3)]
    assert cheapest(clear) == set(range(12))
    assert cheapest([Spread(1.0, None, 1), Spread(2.0, 0.1, 3)]) == frozenset()
    assert cheapest([Spread(1.0, 0.01, 3), None, Spread(2.0, 0.01, 3)]) == {0}
