"""Which groups of runs are not dominated: none other costs no more and scores no less, one of the two strictly.

How sure that is: the share of resamples in which it stays so. In each, all groups are scored on the same resampled dev
examples, and each mean moves by what its seeds spread: Student's t, scaled by the standard error over its runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench.analysis.groups import Group, Spread, records_of, spread
from peftbench.analysis.resources import Cost, cost
from peftbench.analysis.samples import DEV_AVG, Sample, resampled, sample_of
from peftbench.store.rows import RunRecord

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 4_000
_SEED = 71_993
# What a column is, its unit, and why it may be missing.
AXES: Mapping[str, tuple[str, str, Callable[[RunRecord, Cost], float | None]]] = {
    "vram": ("VRAM", "MiB", lambda _, of: of.vram_mib),
    "rss": ("peak RSS", "MiB", lambda _, of: of.peak_rss_mib),
    "energy": ("energy of the run", "Wh", lambda _, of: of.run_wh),
    "time": ("time of the run", "s", lambda _, of: of.run_s),
    "weights": ("trained weights", "", lambda record, _: record.run.weights_trainable),
}


@dataclass(frozen=True, slots=True)
class Point:
    """A group at its cost and score. `stays`: the share of resamples in which nothing dominates it."""

    group: Group
    x: Spread
    y: Spread
    dominated_by: tuple[str, ...]
    stays: float


@dataclass(frozen=True, slots=True)
class Front:
    """All groups that have both figures, the cheapest first; and the others, with what they lack."""

    x: str
    y: str
    points: tuple[Point, ...]
    left_out: tuple[tuple[str, str], ...]
    resamples: int

    @property
    def without_seeds(self) -> tuple[str, ...]:
        """The groups of one run: their spread between seeds is not in the shares."""
        return tuple(point.group.label for point in self.points if len(point.group.records) == 1)


def memory_axis(groups: Sequence[Group]) -> str:
    """Return the axis of the memory that was measured: a card's, or the process's."""
    return "vram" if any(cost(record).vram_mib is not None for record in records_of(groups)) else "rss"


def pareto(groups: Sequence[Group], x: str, y: str = DEV_AVG) -> Front:
    """Return the front of groups with their predictions. `x` is one of AXES, `y` a task or Dev Avg."""
    left_out: list[tuple[str, str]] = []
    costs = {}
    for one in groups:
        found = spread(AXES[x][2](record, cost(record)) for record in one.records)
        if found is None:
            left_out.append((one.label, f"{AXES[x][0]}: not measured"))
        else:
            costs[one.label] = found
    placed = [one for one in groups if one.label in costs]
    made = sample_of(y, records_of(placed))
    scored = [(one, made.places(one.ids)) for one in placed] if made else []
    left_out += [(one.label, _why(made, one)) for one, places in scored if places is None]
    left_out += [(one.label, "no such metric") for one in placed if made is None]
    inside = [(one, places) for one, places in scored if places is not None]
    if made is None or not inside:
        return Front(x, y, (), tuple(left_out), 0)
    points, resamples = _points(made, inside, costs)
    return Front(x, y, tuple(sorted(points, key=lambda point: point.x.mean)), tuple(left_out), resamples)


def _why(made: Sample | None, one: Group) -> str:
    reasons = dict.fromkeys(why for run in one.ids if made and (why := made.left_out.get(run)))
    return ", ".join(reasons) or "no such metric"


def _points(
    made: Sample, inside: Sequence[tuple[Group, list[int]]], costs: Mapping[str, Spread]
) -> tuple[list[Point], int]:
    import numpy as np

    xs = [costs[one.label] for one, _ in inside]
    ys = [spread(float(value) for value in made.values[places]) for _, places in inside]
    known = [each for each in ys if each is not None]
    drawn = resampled(made, RESAMPLES)
    rng = np.random.default_rng(_SEED)
    scores = np.stack([drawn[:, places].mean(axis=1) for _, places in inside], axis=1)
    scores = scores + np.stack([_by_seeds(each, len(drawn), rng) for each in known], axis=1)
    spent = np.stack([each.mean + _by_seeds(each, len(drawn), rng) for each in xs], axis=1)
    stays = 1 - _dominated(spent, scores).any(axis=2).mean(axis=0)
    now = _dominated(np.asarray([[each.mean for each in xs]]), np.asarray([[each.mean for each in known]]))[0]
    labels = [one.label for one, _ in inside]
    return [
        Point(
            one,
            xs[place],
            known[place],
            tuple(label for label, over in zip(labels, now[place], strict=True) if over),
            float(stays[place]),
        )
        for place, (one, _) in enumerate(inside)
    ], len(drawn)


def _by_seeds(of: Spread, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return how a mean over few seeds may be off; nothing of one run."""
    import numpy as np

    if of.sd is None:
        return np.zeros(count)
    return np.asarray(rng.standard_t(of.n - 1, count) * of.sd / math.sqrt(of.n))


def _dominated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return [resample, group, other]: whether the other costs no more and scores no less, and one strictly so."""
    import numpy as np

    own_x, own_y, other_x, other_y = x[:, :, None], y[:, :, None], x[:, None, :], y[:, None, :]
    no_worse = (other_x <= own_x) & (other_y >= own_y)
    strictly = (other_x < own_x) | (other_y > own_y)
    found: np.ndarray = np.logical_and(no_worse, strictly)
    return found
