"""What groups of runs cost beside each other: means over runs, ratios to the baseline, and whether these are noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peftbench.analysis.groups import Group, Spread, spread
from peftbench.analysis.interval import ALPHA
from peftbench.analysis.noise import welch
from peftbench.analysis.resources import Cost, cost
from peftbench.analysis.student import two_sided_p

# Figures of which less is better. Energy is the card's; of the tasks' rates, the plain mean.
FIGURES: Mapping[str, Callable[[Cost], float | None]] = {
    "vram_mib": lambda of: of.vram_mib,
    "peak_rss_mib": lambda of: of.peak_rss_mib,
    "train_s": lambda of: of.train_s,
    "run_s": lambda of: of.run_s,
    "run_wh": lambda of: of.run_wh,
    "j_per_1k_examples": lambda of: _mean(of.j_per_1k_examples),
    "power_w": lambda of: _mean(of.power_w),
    "eval_s": lambda of: of.eval_s,
}


@dataclass(frozen=True, slots=True)
class Spending:
    """A group's cost: each figure over its runs, None where one of them does not know it; steps a second by task."""

    costs: tuple[Cost, ...]
    figures: Mapping[str, Spread | None]
    its: Mapping[str, Spread | None]
    weights_trainable: int | None


@dataclass(frozen=True, slots=True)
class CostDifference:
    """A figure of cost; `ratio` is other over baseline, less one. `p` (Welch's t test) needs two runs on both sides."""

    figure: str
    baseline: float
    other: float
    ratio: float
    p: float | None

    @property
    def within_noise(self) -> bool:
        """Whether the runs of both groups spread enough to make such a difference by chance."""
        return self.p is not None and self.p > ALPHA


def spending(group: Group) -> Spending:
    """Sum up what a group's runs cost."""
    costs = tuple(cost(record) for record in group.records)
    return Spending(
        costs,
        {name: spread(figure(one) for one in costs) for name, figure in FIGURES.items()},
        {task: spread(one.its.get(task) for one in costs) for task in group.records[0].tasks},
        group.first.weights_trainable,
    )


def cost_difference(figure: str, baseline: Spending, other: Spending) -> CostDifference | None:
    """Compare a figure; None where a side does not know it, or it was read in two ways."""
    a, b = baseline.figures[figure], other.figures[figure]
    if a is None or b is None or a.mean <= 0 or not _read_alike(figure, baseline, other):
        return None
    return CostDifference(figure, a.mean, b.mean, b.mean / a.mean - 1, p_of_means(a, b))


def p_of_means(a: Spread, b: Spread) -> float | None:
    """Return the p-value of Welch's t test; None where a side has one value."""
    if a.sd is None or b.sd is None:
        return None
    variance, df = welch(a.sd**2, a.n, b.sd**2, b.n)
    if not variance:
        return 1.0 if a.mean == b.mean else 0.0
    return two_sided_p((b.mean - a.mean) / math.sqrt(variance), df)


def _read_alike(figure: str, baseline: Spending, other: Spending) -> bool:
    costs = (*baseline.costs, *other.costs)
    sources = {"vram_mib": "vram_source", "run_wh": "energy_source", "j_per_1k_examples": "energy_source"}
    return figure not in sources or len({getattr(one, sources[figure]) for one in costs}) == 1


def _mean(values: Mapping[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
