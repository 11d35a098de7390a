"""Groups: runs of one spec on the same data that differ in seed, or in the fold that they test, only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peftbench.analysis.settings import labels
from peftbench.store.rows import Run, RunRecord


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of a figure over the runs of a group; `sd` is None for one run."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that are compared as one, ordered by seed and fold, with a label. A single run is a group of one."""

    label: str
    records: tuple[RunRecord, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The runs' ids, by seed."""
        return tuple(record.run.id for record in self.records)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The runs' seeds, in the order of the runs."""
        return tuple(record.run.seed for record in self.records)

    @property
    def first(self) -> Run:
        """The first run, for what all have in common."""
        return self.records[0].run


def group_of(label: str, records: Iterable[RunRecord]) -> Group:
    """Return a group, its runs ordered by seed and fold."""
    return Group(label, tuple(sorted(records, key=lambda record: _seed_and_fold(record.run))))


def grouped(records: Sequence[RunRecord]) -> list[Group]:
    """Group records by spec and data, in order of first occurrence; a single run is labelled by its name."""
    by_id = {record.run.id: record for record in records}
    groups = list(of_one_spec([record.run for record in records]).values())
    names = labels([runs[0] for runs in groups])
    return [
        group_of(runs[0].name if len(runs) == 1 else name, [by_id[run.id] for run in runs])
        for name, runs in zip(names, groups, strict=True)
    ]


def records_of(groups: Iterable[Group]) -> list[RunRecord]:
    """Return the records of all groups, in their order."""
    return [record for group in groups for record in group.records]


def same_seeds(a: Group, b: Group) -> bool:
    """Tell whether runs are paired by seed: the same seeds on both sides, each once.

    Otherwise all runs count, unpaired: with few seeds, leaving some out costs more power than pairing gains.
    """
    return a.seeds == b.seeds and len(set(a.seeds)) == len(a.seeds)


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean and standard deviation; None where a value is missing, or there are none."""
    known = list(values)
    present = [value for value in known if value is not None]
    if not present or len(present) < len(known):
        return None
    mean = math.fsum(present) / len(present)
    if len(present) == 1:
        return Spread(mean, None, 1)
    return Spread(
        mean, math.sqrt(math.fsum((value - mean) ** 2 for value in present) / (len(present) - 1)), len(present)
    )


def spread_of(group: Group, values: Sequence[float | None]) -> Spread | None:
    """Return mean and standard deviation of a figure over a group's runs; of folds, over folds of the mean over seeds.

    Args:
        group: the runs.
        values: one for each run, in their order.
    """
    by_fold: dict[int, list[float | None]] = {}
    for at, (record, value) in enumerate(zip(group.records, values, strict=True)):
        by_fold.setdefault(at if record.run.fold is None else record.run.fold, []).append(value)
    means = [spread(of) for of in by_fold.values()]
    return spread(None if of is None else of.mean for of in means)


def newest_by_seed(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Return the newest run of each seed and fold, in order, and the older repeats, which would count one twice."""
    kept: dict[tuple[int, int], Run] = {}
    older: list[Run] = []
    for run in sorted(runs, key=lambda run: run.created_at):
        key = _seed_and_fold(run)
        if key in kept:
            older.append(kept[key])
        kept[key] = run
    return [kept[key] for key in sorted(kept)], older


def _seed_and_fold(run: Run) -> tuple[int, int]:
    return run.seed, -1 if run.fold is None else run.fold


def of_one_spec(runs: Sequence[Run]) -> dict[tuple[str, str | None], list[Run]]:
    """Group runs by group hash and data hash, in order of first occurrence."""
    by_spec: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        by_spec.setdefault((run.group_hash, run.data_hash), []).append(run)
    return by_spec
