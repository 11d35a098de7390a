"""The verdict as a table: a row for each comparison with the baseline, a column for each metric and each cost."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench import formatting
from peftbench.analysis.comparison import Against, Comparison
from peftbench.analysis.cost_comparison import CostDifference
from peftbench.analysis.stats.difference import MetricDifference
from peftbench.report.headlines import metric_name
from peftbench.report.page import Cell, Sheet, name
from peftbench.report.verdicts import amount, cost_word, edge, headline_costs, is_undetectable, size
from peftbench.text import clean

UNDETECTED = "n.d."
MARKS = {"better": "better", "worse": "worse", "no detectable difference": UNDETECTED}


def verdict_sheet(result: Comparison) -> Sheet:
    """Return the table: each difference to the baseline with its 95 % interval and mark, each cost with its ratio."""
    costs = [headline_costs(against.costs) for against in result.against]
    labels = list(dict.fromkeys(label for row in costs for label in row))
    rows = [
        (
            name(clean(against.group.label)),
            *(_metric(against, metric) for metric in result.metrics),
            *(_cost(row.get(label)) for label in labels),
        )
        for against, row in zip(result.against, costs, strict=True)
    ]
    heads = (f"against\n{clean(result.groups[0].label)}", *map(metric_name, result.metrics), *labels)
    return Sheet("verdict", "verdict", heads, tuple(rows), tuple(_legend(result)))


def _metric(against: Against, metric: str) -> Cell:
    row = next((row for row in against.metrics if row.name == metric), None)
    if row is None:
        return Cell(formatting.NOTHING)
    interval = f"[{edge(row, row.low)}, {edge(row, row.high)}]"
    return Cell(f"{amount(row, row.difference)} {MARKS[row.verdict]}\n{interval}", row.difference)


def _cost(cost: CostDifference | None) -> Cell:
    if cost is None:
        return Cell(formatting.NOTHING)
    return Cell(f"{formatting.share(cost.ratio)}\n{cost_word(cost)}", cost.ratio)


def _legend(result: Comparison) -> list[str]:
    rows = [row for against in result.against for row in against.metrics]
    notes = ["difference to the baseline with its 95 % interval"]
    undetected = [row for row in rows if MARKS[row.verdict] == UNDETECTED]
    if undetected:
        notes.append(f"{UNDETECTED}: no detectable difference{_could_have_shown(undetected)}")
    reasons = dict.fromkeys(
        f"{metric_name(metric)} of {clean(against.group.label)} not compared: {reason}"
        for against in result.against
        for metric, reason in against.left_out
    )
    return ["; ".join(notes), *reasons]


def _could_have_shown(rows: Sequence[MetricDifference]) -> str:
    """Return the difference of each metric that these runs could have shown, the largest over the rows; or "none"."""
    largest: dict[str, tuple[float, str]] = {}
    for row in rows:
        detectable = row.outlook.detectable if row.outlook is not None else None
        if detectable is not None and detectable > largest.get(row.name, (0.0, ""))[0]:
            largest[row.name] = (detectable, "none" if is_undetectable(row, detectable) else size(row, detectable))
    if not largest:
        return ""
    listed = ", ".join(f"{metric_name(metric)} {text}" for metric, (_, text) in largest.items())
    return f" (these runs could have shown {listed})"
