"""Expand a sweep file into runs, resolving every combination before any is queued, in a balanced order.

The order is seed by seed (and fold by fold of a cross-validation), and each starts one row later than the one before: a
machine that warms up or slows down over the hours then affects all rows alike, not only the last ones.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from peftbench.errors import UsageError
from peftbench.spec.folds import of_each_fold
from peftbench.spec.resolve import DEFAULT_WORKLOAD, Resolved, Settings, resolve
from peftbench.spec.sweep_file import SweepFile, checked_seeds, overlapping, read_sweep
from peftbench.spec.sweep_rows import SweepRow, rows, skip_of, without
from peftbench.text import clean

__all__ = ["LeftOut", "PlannedRun", "Repeated", "SweepFile", "SweepPlan", "parse_seeds", "plan", "read_sweep"]

MOST_RUNS = 10_000
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a sweep. `label` is its row: the preset and the varying grid values."""

    resolved: Resolved
    label: str
    seed: int
    values: dict[str, Any]  # of the grid, by dotted key


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run excluded by a condition: the `skip`-th [[skip]] of the file, counted from 1."""

    label: str
    seed: int
    skip: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A duplicate of another run of the sweep: the same spec, hence the same hash."""

    label: str
    seed: int
    same_as: str


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep's runs in execution order, its excluded runs and its duplicates."""

    sweep: SweepFile
    workload: str
    seeds: tuple[int, ...]
    runs: tuple[PlannedRun, ...]
    left_out: tuple[LeftOut, ...]
    repeated: tuple[Repeated, ...]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse the value of `--seeds`: "3" means 0, 1 and 2; "0,4,7" those three.

    Raises:
        UsageError: neither form.
    """
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 20 else -1 for word in words]
    if -1 in numbers:
        raise UsageError(
            f"--seeds {clean(text, 80)}: expected a number of seeds or a comma-separated list of seeds",
            "3 means the seeds 0, 1 and 2; 0,4,7 those three",
        )
    return checked_seeds("--seeds", numbers[0] if len(words) == 1 else numbers)


def plan(
    sweep: SweepFile,
    *,
    workload: str | None = None,
    data: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> SweepPlan:
    """Resolve every combination of a sweep and order the runs.

    Args:
        sweep: the result of `read_sweep`.
        workload: replaces the sweep's own; `quickstart` where neither is given.
        data: see `resolve`.
        overrides: see `resolve`; applied to all runs, over [set]. Keys of the grid are rejected.
        seeds: replaces the sweep's own.

    Raises:
        UsageError: invalid combinations, all listed; no run left; or too many combinations.
    """
    chosen = sweep.seeds if seeds is None else checked_seeds("seeds", list(seeds))
    _check_overrides(sweep, overrides)
    count = len(sweep.presets) * math.prod(map(len, sweep.grid.values())) * len(chosen)
    if count > MOST_RUNS:
        raise UsageError(f"sweep file {sweep.path}: {count:,} combinations; a sweep may have at most {MOST_RUNS:,}")
    every = rows(sweep, chosen)
    skips = {seed: [skip_of(sweep, row, seed) for row in every] for seed in chosen}
    left_out = [
        LeftOut(row.label, seed, skip)
        for seed in chosen
        for row, skip in zip(every, skips[seed], strict=True)
        if skip is not None
    ]
    if len(left_out) == count:
        raise UsageError(f"sweep file {sweep.path}: the [[skip]] conditions exclude every run")
    resolver = _Resolver(sweep, workload, data, overrides, f"sweep {sweep.name}" if seeds is None else "--seeds")
    of_seeds = [
        [run for row, skip in zip(every, skips[seed], strict=True) if skip is None and (run := resolver.run(row, seed))]
        for seed in chosen
    ]
    if resolver.mistakes:
        raise _mistakes_error(
            sweep, resolver.mistakes, {row.label for row in every} - _fully_excluded(left_out, len(chosen))
        )
    blocks = [block for of_seed in of_seeds for block in _fold_by_fold(of_seed)]
    if (count := sum(map(len, blocks))) > MOST_RUNS:
        raise UsageError(f"sweep file {sweep.path}: {count:,} runs with all folds; a sweep may have {MOST_RUNS:,}")
    kept, repeated = _without_repeats(blocks)
    name = next(itertools.chain(*kept)).resolved.spec.workload
    return SweepPlan(sweep, name, chosen, tuple(interleaved(kept)), tuple(left_out), tuple(repeated))


def interleaved(blocks: Sequence[Sequence[_Item]]) -> Iterator[_Item]:
    """Yield the items of the blocks in turn, with block i rotated to start at its i-th item."""
    for index, block in enumerate(blocks):
        start = index % len(block) if block else 0
        yield from itertools.chain(block[start:], block[:start])


def _fold_by_fold(rows: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Return the runs of one seed's rows in blocks: all rows with their first fold, then with the second; else one."""
    folds = [[replace(run, resolved=resolved) for resolved in of_each_fold(run.resolved)] for run in rows]
    return [[of[fold] for of in folds if fold < len(of)] for fold in range(max(map(len, folds), default=1))]


def _check_overrides(sweep: SweepFile, overrides: Sequence[str]) -> None:
    for item in overrides:
        key = item.partition("=")[0].strip()
        if key == "seed":
            raise UsageError(f"--set {clean(item)}: use --seeds")
        if (varied := overlapping(key, sweep.grid)) is not None:
            raise UsageError(
                f"--set {clean(item)}: the grid of sweep {clean(sweep.name)} varies '{clean(varied)}'",
                "change the grid in a copy of the file, or set another key",
            )


@dataclass(frozen=True, slots=True)
class _Mistake:
    """An error from `resolve` and the rows that caused it, by label."""

    error: UsageError
    rows: dict[str, SweepRow] = field(default_factory=dict)


class _Resolver:
    """Resolves rows into runs, and collects the errors of rows that cannot be resolved."""

    def __init__(
        self, sweep: SweepFile, workload: str | None, data: Sequence[str], overrides: Sequence[str], seed_origin: str
    ) -> None:
        self.sweep = sweep
        self.workload = workload or (sweep.located(sweep.workload) if sweep.workload else DEFAULT_WORKLOAD)
        self.data, self.overrides, self.seed_origin = data, overrides, seed_origin
        self.mistakes: dict[str, _Mistake] = {}  # by message

    def run(self, row: SweepRow, seed: int) -> PlannedRun | None:
        """Return the run of a row and seed; None if it is invalid, with the error in `mistakes`."""
        try:
            return self._resolved(row, seed)
        except UsageError as error:
            absent = {key for key in row.waived if _is_unknown(key, error.message)}
            if absent:  # retried once: the keys in `absent` are no longer waived
                return self.run(without(self.sweep, row, absent), seed)
            self.mistakes.setdefault(error.message, _Mistake(error)).rows[row.label] = row
            return None

    def _resolved(self, row: SweepRow, seed: int) -> PlannedRun:
        name, path = f"sweep {self.sweep.name}", self.sweep.path
        settings = (
            Settings(name, self.sweep.settings, path),
            Settings(f"{name}, grid", row.values, path),
            Settings(self.seed_origin, {"seed": seed}),
        )
        preset = self.sweep.located(row.preset)
        made = resolve(preset, self.workload, data=self.data, settings=settings, overrides=self.overrides)
        return PlannedRun(made, row.label, seed, row.values)


def _is_unknown(key: str, message: str) -> bool:
    return f"unknown key '{key}'" in message


def _fully_excluded(left_out: Sequence[LeftOut], seeds: int) -> set[str]:
    return {label for label, count in Counter(run.label for run in left_out).items() if count == seeds}


def _mistakes_error(sweep: SweepFile, mistakes: Mapping[str, _Mistake], every: set[str]) -> UsageError:
    """Combine all errors into one, each with the rows that caused it."""
    first = next(iter(mistakes.values()))
    if len(mistakes) == 1 and len(first.rows) == len(every):
        return first.error  # concerns the whole sweep, not particular combinations
    lines = [f"sweep file {sweep.path}: some combinations are invalid"]
    for message, mistake in mistakes.items():
        shown = "; ".join(list(mistake.rows)[:6]) + ("; …" if len(mistake.rows) > 6 else "")
        lines += [message, f"in {len(mistake.rows)} of {len(every)} rows: {shown}"]
    for key, values in sweep.grid.items():
        for message, mistake in mistakes.items():
            if _is_unknown(key, message):
                return UsageError("\n".join(lines), _skip_hint(key, values, mistake.rows.values()))
    return UsageError("\n".join(lines), first.error.hint)


def _skip_hint(key: str, values: Sequence[Any], wrong: Iterable[SweepRow]) -> str:
    presets = ", ".join(f'"{clean(preset)}"' for preset in dict.fromkeys(row.preset for row in wrong))
    others = ", ".join(clean(json.dumps(value), 40) for value in values[1:])
    once = f'; with "{clean(key)}" = [{others}] as well, they run once, without that key' if others else ""
    return f"exclude them: [[skip]] with preset = [{presets}]{once}"


def _without_repeats(blocks: Sequence[Sequence[PlannedRun]]) -> tuple[list[list[PlannedRun]], list[Repeated]]:
    """Keep the first of the runs with the same spec hash."""
    first: dict[str, PlannedRun] = {}
    repeated: list[Repeated] = []
    kept: list[list[PlannedRun]] = []
    for block in blocks:
        kept.append([])
        for run in block:
            before = first.setdefault(run.resolved.spec.hash(), run)
            if before is run:
                kept[-1].append(run)
            else:
                repeated.append(Repeated(run.label, run.seed, before.label))
    return kept, repeated
