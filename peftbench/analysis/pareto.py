"""Pareto front: the groups of runs that no other group dominates (costs no more, scores no less, one of them strictly).

Its certainty is the share of resamples in which a group is not dominated. In each, all groups are scored on the same
resampled dev examples, and each mean is shifted by the remaining seed noise: Student's t, scaled by the standard error
over its runs less the variance of their answers to the examples, which the resampled examples already contain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench.analysis.cost import Cost, cost
from peftbench.analysis.groups import Group, Spread, records_of, spread
from peftbench.analysis.scores import AVERAGES, DEV_AVG, scored_split
from peftbench.analysis.stats.bootstrap import ScoreSample, resampled, score_sample_of
from peftbench.analysis.stats.variance_components import between
from peftbench.metrics import sign_of
from peftbench.store.rows import RunRecord, ScoredSplit

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 4_000
_SEED = 71_993
# Name, unit and figure of each cost axis; the figure is None where it was not measured.
AXES: Mapping[str, tuple[str, str, Callable[[RunRecord, Cost], float | None]]] = {
    "vram": ("VRAM", "MiB", lambda _, of: of.vram_mib),
    "rss": ("peak RSS", "MiB", lambda _, of: of.peak_rss_mib),
    "energy": ("energy of the run", "Wh", lambda _, of: of.run_wh),
    "time": ("time of the run", "s", lambda _, of: of.run_s),
    "weights": ("trained weights", "", lambda record, _: record.run.weights_trainable),
}


@dataclass(frozen=True, slots=True)
class Point:
    """A group's cost and score. `stays`: the share of resamples in which no group dominates it."""

    group: Group
    x: Spread
    y: Spread
    dominated_by: tuple[str, ...]
    stays: float


@dataclass(frozen=True, slots=True)
class Front:
    """All groups with both figures, the cheapest first; and the others, with the reason."""

    x: str
    y: str
    points: tuple[Point, ...]
    left_out: tuple[tuple[str, str], ...]
    resamples: int
    split: ScoredSplit = "dev"

    @property
    def without_seeds(self) -> tuple[str, ...]:
        """The groups of one run: their shares do not include noise between seeds."""
        return tuple(point.group.label for point in self.points if len(point.group.records) == 1)


def memory_axis(groups: Sequence[Group]) -> str:
    """Return the axis of the memory that was measured: the GPU's, else the process's."""
    return "vram" if any(cost(record).vram_mib is not None for record in records_of(groups)) else "rss"


def pareto(groups: Sequence[Group], x: str, y: str = DEV_AVG) -> Front:
    """Return the front of groups that have predictions. `x` is one of AXES, `y` a task or the average of the split on
    which the groups are compared (`scored_split`).
    """
    left_out: list[tuple[str, str]] = []
    costs = {}
    for group in groups:
        if group.first.folds is not None:
            left_out.append((group.label, "a cross-validation: its runs have no examples in common to resample"))
            continue
        measured = spread(AXES[x][2](record, cost(record)) for record in group.records)
        if measured is None:
            left_out.append((group.label, f"{AXES[x][0]}: not measured"))
        else:
            costs[group.label] = measured
    placed = [group for group in groups if group.label in costs]
    split = scored_split(records_of(placed))
    y = AVERAGES[split] if y in AVERAGES.values() else y
    made = score_sample_of(y, records_of(placed), split)
    scored = [(group, made.indices_of(group.ids)) for group in placed] if made else []
    left_out += [(group.label, _reason(made, group)) for group, indices in scored if indices is None]
    left_out += [(group.label, "no such metric") for group in placed if made is None]
    inside = [(group, indices) for group, indices in scored if indices is not None]
    if made is None or not inside:
        return Front(x, y, (), tuple(left_out), 0, split)
    points, resamples = _points(made, inside, costs)
    return Front(x, y, tuple(sorted(points, key=lambda point: point.x.mean)), tuple(left_out), resamples, split)


def _reason(made: ScoreSample | None, group: Group) -> str:
    reasons = dict.fromkeys(reason for run in group.ids if made and (reason := made.left_out.get(run)))
    return ", ".join(reasons) or "no such metric"


def _points(
    made: ScoreSample, inside: Sequence[tuple[Group, list[int]]], costs: Mapping[str, Spread]
) -> tuple[list[Point], int]:
    import numpy as np

    xs = [costs[group.label] for group, _ in inside]
    ys = [spread(float(value) for value in made.values[indices]) for _, indices in inside]
    known = [each for each in ys if each is not None]
    rng = np.random.default_rng(_SEED)
    scores = moved_scores(made, [indices for _, indices in inside], rng)
    spent = np.stack([each.mean + _by_seeds(each, len(scores), rng) for each in xs], axis=1)
    sign = sign_of(made.metric)  # an error is better where it is lower
    stays = 1 - _dominated(spent, sign * scores).any(axis=2).mean(axis=0)
    now = _dominated(np.asarray([[each.mean for each in xs]]), sign * np.asarray([[each.mean for each in known]]))[0]
    labels = [group.label for group, _ in inside]
    return [
        Point(
            group,
            xs[index],
            known[index],
            tuple(label for label, over in zip(labels, now[index], strict=True) if over),
            float(stays[index]),
        )
        for index, (group, _) in enumerate(inside)
    ], len(scores)


def moved_scores(made: ScoreSample, groups: Sequence[Sequence[int]], rng: np.random.Generator) -> np.ndarray:
    """Return each group's mean under other examples and seeds, [resamples, groups].

    Args:
        made: the runs' values.
        groups: the indices of each group's runs in it.
        rng: for the noise between seeds.
    """
    import numpy as np

    drawn = resampled(made, RESAMPLES)
    moved = []
    for indices in groups:
        of = spread(float(value) for value in made.values[indices])
        assert of is not None
        covariance = made.covariance[np.ix_(indices, indices)]
        own = float(covariance.mean()) - between(covariance) if of.n > 1 else 0.0
        moved.append(drawn[:, indices].mean(axis=1) + _by_seeds(of, len(drawn), rng, own))
    return np.stack(moved, axis=1)


def _by_seeds(of: Spread, count: int, rng: np.random.Generator, known: float = 0.0) -> np.ndarray:
    """Return the error of a mean over few seeds, less a variance already included; zeros for a single run."""
    import numpy as np

    if of.sd is None:
        return np.zeros(count)
    return np.asarray(rng.standard_t(of.n - 1, count) * math.sqrt(max(of.sd**2 / of.n - known, 0.0)))


def _dominated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return [resample, group, other]: whether the other group dominates the group."""
    import numpy as np

    own_x, own_y, other_x, other_y = x[:, :, None], y[:, :, None], x[:, None, :], y[:, None, :]
    no_worse = (other_x <= own_x) & (other_y >= own_y)
    strictly = (other_x < own_x) | (other_y > own_y)
    dominated: np.ndarray = np.logical_and(no_worse, strictly)
    return dominated
