"""A comparison in sentences: what is better, what could not be told and what would tell it, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench.analysis.comparison import Against, Comparison
from peftbench.analysis.difference import MetricDifference
from peftbench.analysis.interval import ALPHA
from peftbench.analysis.samples import DEV_AVG
from peftbench.analysis.spending import CostDifference
from peftbench.report import figures
from peftbench.text import clean

SAME = 0.02  # a cost that differs by less is called the same
MUCH = 0.25
UNREPEATED = 0.1  # what a time or energy that was measured once may be off by
_MEMORY = (("vram_mib", "memory"), ("peak_rss_mib", "memory (RSS)"))
_SPENT = (("run_wh", "energy"), ("j_per_1k_examples", "energy"), ("run_s", "time"), ("train_s", "training time"))


def verdict(result: Comparison, against: Against) -> str:
    """Return the sentence that answers: is it better than the baseline, and at which cost?"""
    parts = [metric_words(row) for row in against.metrics]
    parts += [f"{metric_name(name)} not compared: {why}" for name, why in against.left_out]
    parts.append(cost_words(against.costs))
    return f"{clean(against.group.label)} against {clean(result.groups[0].label)}: {'; '.join(parts)}"


def metric_words(row: MetricDifference) -> str:
    """Say a difference with its interval, the verdict, and where there is none what would be needed for one."""
    said = f"{metric_name(row.name)} {amount(row, row.difference)} [{edge(row, row.low)}, {edge(row, row.high)}]"
    if row.verdict != "no detectable difference":
        return f"{said} {row.verdict}{' (one seed each: others may differ)' if row.one_each else ''}"
    return f"{said} no detectable difference ({could_have(row)})"


def could_have(row: MetricDifference) -> str:
    """Say what these runs could have shown, and what would settle it."""
    if row.outlook is None:
        return f"p = {figures.p_value(row.p_holm)}"
    shown = size(row, row.outlook.detectable)
    if row.one_each:
        return f"{_doubt(row)}one seed each: {row.examples} examples could have shown {shown}"
    a, b = row.runs
    seeds = f"{a} seeds" if a == b else f"{a} and {b} seeds"
    could = f"{_doubt(row)}{seeds} could have shown {shown}"
    if row.outlook.unsettled == "too few examples":
        return f"{could}; no number of seeds would settle it on these {row.examples} examples"
    if row.outlook.seeds_needed is None:
        return could
    return f"{could}; about {row.outlook.seeds_needed} would settle it"


def _doubt(row: MetricDifference) -> str:
    """Say by which p-value a difference is not told whose interval leaves out zero."""
    if row.low <= 0 <= row.high:
        return ""
    alone = f"p = {figures.p_value(row.p)}"
    return f"{alone}; " if row.p > ALPHA else f"{alone}, but {figures.p_value(row.p_holm)} for so many metrics; "


def cost_words(costs: Sequence[CostDifference]) -> str:
    """Say memory and energy (or time, where energy was not measured) against the baseline, and sum both up."""
    by_figure = {cost.figure: cost for cost in costs}
    found = [
        next(((by_figure[key], label) for key, label in among if key in by_figure), None) for among in (_MEMORY, _SPENT)
    ]
    known = [each for each in found if each is not None]
    if not known:
        return "cost was not measured"
    said = ", ".join(f"{label} {figures.share(cost.ratio)}{_noise(cost)}" for cost, label in known)
    return f"{said}: {_sum_up([_sort(cost) for cost, _ in known])}"


def metric_name(name: str) -> str:
    """Return what a metric is called in a sentence: its task, or Dev Avg."""
    return "Dev Avg" if name == DEV_AVG else clean(name)


def amount(row: MetricDifference, value: float) -> str:
    """A difference: accuracy in points, others as they are."""
    return f"{figures.points(value)} pt" if row.metric == "accuracy" else figures.signed(value)


def edge(row: MetricDifference, value: float) -> str:
    """An interval's end, without its unit."""
    return figures.points(value) if row.metric == "accuracy" else figures.signed(value)


def size(row: MetricDifference, value: float) -> str:
    """A difference without its sign."""
    return f"{100 * value:.1f} pt" if row.metric == "accuracy" else f"{value:.3f}"


def _noise(cost: CostDifference) -> str:
    if abs(cost.ratio) < SAME:
        return ""
    return " (within noise)" if cost.within_noise else " (one run)" if _too_little(cost) else ""


def _too_little(cost: CostDifference) -> bool:
    """Tell whether a time or energy differs by no more than a single run may be off."""
    return cost.p is None and cost.figure not in dict(_MEMORY) and abs(cost.ratio) < UNREPEATED


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
