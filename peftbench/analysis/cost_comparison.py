"""Cost of groups of runs compared: means over runs, ratios to the baseline, and whether a ratio is within noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peftbench.analysis.cost import Cost, cost
from peftbench.analysis.flags import flags
from peftbench.analysis.groups import Group, Spread, spread
from peftbench.analysis.stats.interval import ALPHA, p_value
from peftbench.analysis.stats.variance_components import of_means

# Figures of which less is better. Energy is the GPU's; rates by task are averaged over the tasks.
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
MEMORY = ("vram_mib", "peak_rss_mib")
DISTURBANCES = ("throttled", "shared_gpu", "busy_machine")  # flags of runs


@dataclass(frozen=True, slots=True)
class GroupCost:
    """A group's cost: each figure over its runs, None where one of them lacks it; steps per second by task.

    `disturbed`: a run shared its machine or card with other work, or was throttled, which its time and energy show.
    """

    costs: tuple[Cost, ...]
    figures: Mapping[str, Spread | None]
    its: Mapping[str, Spread | None]
    weights_trainable: int | None
    disturbed: bool = False


@dataclass(frozen=True, slots=True)
class CostDifference:
    """Difference in a cost figure: `ratio` is other / baseline - 1; `p` (t test over runs) needs two runs per side.

    `disturbed`: a time, energy or power of which a side was disturbed.
    """

    figure: str
    baseline: float
    other: float
    ratio: float
    p: float | None
    disturbed: bool = False

    @property
    def within_noise(self) -> bool:
        """Whether the spread of the runs explains the difference (p > ALPHA)."""
        return self.p is not None and self.p > ALPHA


def group_cost(group: Group) -> GroupCost:
    """Summarise what a group's runs cost."""
    costs = tuple(cost(record) for record in group.records)
    return GroupCost(
        costs,
        {name: spread(figure(run_cost) for run_cost in costs) for name, figure in FIGURES.items()},
        {task: spread(run_cost.its.get(task) for run_cost in costs) for task in group.records[0].tasks},
        group.first.weights_trainable,
        any(flag.name in DISTURBANCES for record in group.records for flag in flags(record)),
    )


def cost_difference(figure: str, baseline: GroupCost, other: GroupCost) -> CostDifference | None:
    """Compare a figure; None where a side lacks it, or it was measured in two ways or under two conditions."""
    a, b = baseline.figures[figure], other.figures[figure]
    if a is None or b is None or a.mean <= 0 or not _read_alike(figure, baseline, other):
        return None
    disturbed = figure not in MEMORY and (baseline.disturbed or other.disturbed)
    return CostDifference(figure, a.mean, b.mean, b.mean / a.mean - 1, p_of_means(a, b), disturbed)


def p_of_means(a: Spread, b: Spread) -> float | None:
    """Return the p-value of a difference of two means (`of_means`); None where a side has one value."""
    if a.sd is None or b.sd is None:
        return None
    return p_value(b.mean - a.mean, of_means(a.sd**2, a.n, b.sd**2, b.n))


def _read_alike(figure: str, baseline: GroupCost, other: GroupCost) -> bool:
    costs = (*baseline.costs, *other.costs)
    sources = {
        "vram_mib": ("vram_source",),
        "run_wh": ("energy_source", "cold_cache"),
        "run_s": ("cold_cache",),
        "j_per_1k_examples": ("energy_source",),
    }
    return all(len({getattr(run_cost, source) for run_cost in costs}) == 1 for source in sources.get(figure, ()))


def _mean(values: Mapping[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
