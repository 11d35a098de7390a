"""A comparison in sentences: differences with their verdicts, what could have been detected, and costs."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench import formatting
from peftbench.analysis.comparison import Against, Comparison
from peftbench.analysis.cost_comparison import CostDifference
from peftbench.analysis.stats.difference import MetricDifference, range_of
from peftbench.analysis.stats.interval import ALPHA
from peftbench.report.headlines import metric_name
from peftbench.text import clean

SAME = 0.02  # relative difference of a cost below which it is called the same
MUCH = 0.25  # relative increase of a cost above which it is called much more
UNREPEATED = 0.1  # relative error of a time, energy or RSS that was measured once, on an undisturbed machine
_MEMORY = (("vram_mib", "memory"), ("peak_rss_mib", "memory (RSS)"))
_SPENT = (("run_wh", "energy"), ("j_per_1k_examples", "energy"), ("run_s", "time"), ("train_s", "training time"))
_HEADLINES = (_MEMORY, _SPENT)


def verdict(result: Comparison, against: Against) -> str:
    """Return a sentence on whether a group is better than the baseline, and at which cost."""
    parts = [metric_words(row) for row in against.metrics]
    parts += [f"{metric_name(name)} not compared: {reason}" for name, reason in against.left_out]
    parts.append(cost_words(against.costs))
    return f"{clean(against.group.label)} against {clean(result.groups[0].label)}: {'; '.join(parts)}"


def metric_words(row: MetricDifference) -> str:
    """Describe a difference: its interval and verdict and, without a detectable difference, what would be needed."""
    text = f"{metric_name(row.name)} {amount(row, row.difference)} [{edge(row, row.low)}, {edge(row, row.high)}]"
    if row.verdict != "no detectable difference":
        return f"{text} {row.verdict}{f' ({_single(row)}: others may differ)' if row.of_these_runs else ''}"
    return f"{text} no detectable difference ({could_have(row)})"


def could_have(row: MetricDifference) -> str:
    """Describe the smallest difference that these runs could have detected, and the seeds needed for a verdict."""
    if row.outlook is None:
        return f"p = {formatting.p_value(row.p_holm)}"
    shown = _shown(row, row.outlook.detectable)
    if row.of_these_runs:
        return f"{_doubt(row)}{_single(row)}: {examples(row)} {shown}"
    if row.folds is not None:
        return f"{_doubt(row)}{len(row.folds.common)} folds {shown}"
    a, b = row.runs
    could = f"{_doubt(row)}{a if a == b else f'{a} and {b}'} seeds {shown}"
    if row.outlook.unsettled == "too few examples":
        return f"{could}; no number of seeds would settle it on these {examples(row)}"
    if row.outlook.seeds_needed is None:
        return could
    return f"{could}; about {row.outlook.seeds_needed} would settle it"


def _shown(row: MetricDifference, detectable: float | None) -> str:
    if detectable is None:  # rule of three: a share below 3/n may occur in none of n examples (95 %)
        hidden = (
            f"; up to {size(row, min(3 / (row.clusters or row.examples), 1.0))} may be hidden"
            if row.metric == "accuracy"
            else ""
        )
        return f"tell the sides apart nowhere{hidden}"
    if is_undetectable(row, detectable):
        return "could have shown no difference at all"
    return f"could have shown {size(row, detectable)}"


def is_undetectable(row: MetricDifference, detectable: float) -> bool:
    """Return whether a difference exceeds the range of the metric."""
    return detectable > range_of(row.metric)


def examples(row: MetricDifference) -> str:
    """Return the number of examples of a metric, and of the clusters that they form, as text."""
    return f"{row.examples} examples{f' in {row.clusters} clusters' if row.clusters else ''}"


def _single(row: MetricDifference) -> str:
    """Describe the sides of a comparison in which at least one is a single run."""
    return "one seed each" if row.one_each else f"one seed against {max(row.runs)}"


def _doubt(row: MetricDifference) -> str:
    """Return the p-value that prevents a verdict although the interval excludes zero; empty if it includes zero."""
    if row.low <= 0 <= row.high:
        return ""
    alone = f"p = {formatting.p_value(row.p)}"
    return f"{alone}; " if row.p > ALPHA else f"{alone}, but {formatting.p_value(row.p_holm)} for so many metrics; "


def headline_costs(costs: Sequence[CostDifference]) -> dict[str, CostDifference]:
    """Return memory and energy (time, if energy was not measured) by label; figures not measured are absent."""
    by_figure = {cost.figure: cost for cost in costs}
    chosen = [next(((label, by_figure[key]) for key, label in among if key in by_figure), None) for among in _HEADLINES]
    return dict(each for each in chosen if each is not None)


def cost_words(costs: Sequence[CostDifference]) -> str:
    """Describe memory and energy (or time) relative to the baseline, with a summary of both."""
    known = headline_costs(costs)
    if not known:
        return "cost was not measured"
    text = ", ".join(f"{label} {formatting.share(cost.ratio)}{_noise(cost)}" for label, cost in known.items())
    return f"{text}: {_sum_up([_sort(cost) for cost in known.values()])}"


def cost_word(cost: CostDifference) -> str:
    """Return a short label for a cost relative to the baseline's."""
    if abs(cost.ratio) < SAME:
        return "the same"
    if cost.within_noise:
        return "within noise"
    return "one run" if _too_little(cost) else _sort(cost)


def amount(row: MetricDifference, value: float) -> str:
    """Format a difference with its sign and unit: accuracy in percentage points, other metrics unscaled."""
    return f"{formatting.points(value)} pt" if row.metric == "accuracy" else formatting.signed(value)


def edge(row: MetricDifference, value: float) -> str:
    """Format the end of an interval: as `amount`, without the unit."""
    return formatting.points(value) if row.metric == "accuracy" else formatting.signed(value)


def size(row: MetricDifference, value: float) -> str:
    """Format the size of a difference: as `amount`, without the sign."""
    return f"{100 * value:.1f} pt" if row.metric == "accuracy" else formatting.score(value)


def _noise(cost: CostDifference) -> str:
    if abs(cost.ratio) < SAME:
        return ""
    if cost.within_noise:
        return " (within noise)"
    if _too_little(cost):
        return " (one run, disturbed)" if cost.disturbed else " (one run)"
    return ""


def _too_little(cost: CostDifference) -> bool:
    """Tell whether a figure that was measured once shows no difference: disturbed, or less than `UNREPEATED`.

    VRAM is exempt: it repeats exactly.
    """
    return cost.p is None and cost.figure != "vram_mib" and (cost.disturbed or abs(cost.ratio) < UNREPEATED)


def _sort(cost: CostDifference) -> str:
    if cost.within_noise or _too_little(cost) or abs(cost.ratio) < SAME:
        return "same"
    if cost.ratio < 0:
        return "less"
    return "much more" if cost.ratio > MUCH else "more"


def _sum_up(sorts: Sequence[str]) -> str:
    kinds = set(sorts) - {"same"}
    if not kinds:
        return "costs about the same"
    if "less" in kinds and kinds != {"less"}:
        return "costs less of one, more of the other"
    if kinds == {"less"}:
        return "costs less"
    return "costs much more" if "much more" in kinds else "costs a little more"
