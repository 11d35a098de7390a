"""Groups: runs of one spec on the same data that differ in seed only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peftbench.analysis.settings import labels
from peftbench.store.rows import Run, RunRecord


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the runs of a group. `sd` is of the sample (n - 1); None of one run."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that stand together in a comparison, by seed, and what they are called there. One run is a group of one."""

    label: str
    records: tuple[RunRecord, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The runs' ids, by seed."""
        return tuple(record.run.id for record in self.records)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The runs' seeds, in their order."""
        return tuple(record.run.seed for record in self.records)

    @property
    def first(self) -> Run:
        """A run of it, for what all have in common."""
        return self.records[0].run


def group(label: str, records: Iterable[RunRecord]) -> Group:
    """Return a group in the order of its seeds."""
    return Group(label, tuple(sorted(records, key=lambda record: record.run.seed)))


def grouped(records: Sequence[RunRecord]) -> list[Group]:
    """Return records of one spec and data together, in the order in which each first comes; a run alone by its name."""
    by_id = {record.run.id: record for record in records}
    found = list(of_one_spec([record.run for record in records]).values())
    names = labels([runs[0] for runs in found])
    return [
        group(runs[0].name if len(runs) == 1 else name, [by_id[run.id] for run in runs])
        for name, runs in zip(names, found, strict=True)
    ]


def records_of(groups: Iterable[Group]) -> list[RunRecord]:
    """Return the records of all groups, in their order."""
    return [record for one in groups for record in one.records]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean and standard deviation; None where one of the values does not exist, or there is none."""
    known = list(values)
    found = [value for value in known if value is not None]
    if not found or len(found) < len(known):
        return None
    mean = math.fsum(found) / len(found)
    if len(found) == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in found) / (len(found) - 1)), len(found))


def newest_by_seed(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Return the newest run of each seed, by seed, and the older ones: repeats, which would count a seed twice."""
    kept: dict[int, Run] = {}
    older: list[Run] = []
    for run in sorted(runs, key=lambda run: run.created_at):
        if run.seed in kept:
            older.append(kept[run.seed])
        kept[run.seed] = run
    return [kept[seed] for seed in sorted(kept)], older


def of_one_spec(runs: Sequence[Run]) -> dict[tuple[str, str | None], list[Run]]:
    """Return runs by group hash and hash of the data, in the order in which they first come."""
    found: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        found.setdefault((run.group_hash, run.data_hash), []).append(run)
    return found
