"""Groups that share the first rank of a column: the best mean, and all that no verdict separates from it.

Marks must agree with the printed verdicts: a pair that includes the baseline has the verdict printed for it. The other
pairs are corrected (Holm) for their number: over all metrics, or for a cost over its column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peftbench.analysis.cost_comparison import p_of_means
from peftbench.analysis.groups import Group, Spread, same_seeds
from peftbench.analysis.stats.bootstrap import ScoreSample
from peftbench.analysis.stats.difference import MetricDifference, corrected, difference, mean_value
from peftbench.analysis.stats.folds import FoldSample
from peftbench.analysis.stats.interval import ALPHA
from peftbench.analysis.stats.pvalues import holm
from peftbench.metrics import sign_of

TOLD_APART = ("better", "worse")


def best_scores(
    samples: Mapping[str, ScoreSample | FoldSample],
    groups: Sequence[Group],
    printed: Sequence[Sequence[MetricDifference]],
) -> dict[str, frozenset[int]]:
    """Return the indices of the groups in each metric's first rank; a metric of fewer than two groups is omitted.

    Args:
        samples: by metric, with the runs of all groups that have it.
        groups: the first is the baseline.
        printed: each other group's differences from the baseline, with p-values corrected as printed.
    """
    marked: dict[str, set[int]] = {}
    others: list[tuple[str, int, MetricDifference]] = []
    for name, sample in samples.items():
        means = {at: value for at, group in enumerate(groups) if (value := mean_value(sample, group.ids)) is not None}
        if len(means) < 2:
            continue
        best = max(means, key=lambda at: sign_of(sample.metric) * means[at])
        marked[name] = {best}
        for at in means:
            if at == best:
                continue
            if 0 in (at, best):
                row = next((row for row in printed[max(at, best) - 1] if row.name == name), None)
                if row is None or row.verdict not in TOLD_APART:
                    marked[name].add(at)
            else:
                pair = groups[best], groups[at]
                row = difference(sample, pair[0].ids, pair[1].ids, same_seeds(*pair))
                if row is None:  # too few folds in common
                    marked[name].add(at)
                else:
                    others.append((name, at, row))
    for (name, at, _), row in zip(others, corrected([row for _, _, row in others]), strict=True):
        if row.verdict not in TOLD_APART:
            marked[name].add(at)
    return {name: frozenset(indices) for name, indices in marked.items()}


def cheapest(figures: Sequence[Spread | None]) -> frozenset[int]:
    """Return the indices of the groups in a cost's first rank; empty where a group has only one run."""
    known = {at: figure for at, figure in enumerate(figures) if figure is not None}
    if len(known) < 2 or any(figure.sd is None for figure in known.values()):
        return frozenset()
    best = min(known, key=lambda at: known[at].mean)
    p_values = {at: p_of_means(known[best], figure) or 0.0 for at, figure in known.items() if at != best}
    others = [at for at in p_values if 0 not in (at, best)]
    p_values |= dict(zip(others, holm([p_values[at] for at in others]), strict=True))
    return frozenset({best, *(at for at, p in p_values.items() if p > ALPHA)})
