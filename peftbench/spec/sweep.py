"""From a sweep file to its runs: every combination resolved before one is queued, in an order that is fair.

The order is seed by seed, and each seed starts one row further on: a machine that warms up or slows down over the
hours does so under all rows alike, not under the last ones.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from peftbench.errors import UsageError
from peftbench.spec.resolve import DEFAULT_WORKLOAD, Resolved, Settings, resolve
from peftbench.spec.sweep_file import SweepFile, checked_seeds, overlapping, read_sweep
from peftbench.spec.sweep_rows import Row, rows, skip_of, without
from peftbench.text import clean

__all__ = ["LeftOut", "PlannedRun", "Repeated", "SweepFile", "SweepPlan", "parse_seeds", "plan", "read_sweep"]

MOST_RUNS = 10_000
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a sweep. `label` is its row: the preset and the values of the grid that vary."""

    resolved: Resolved
    label: str
    seed: int
    values: dict[str, Any]  # of the grid, by dotted key


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that a condition leaves out: the `skip`-th [[skip]] of the file, counted from 1."""

    label: str
    seed: int
    skip: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A run that would be another one over again: the same spec, hence the same hash."""

    label: str
    seed: int
    same_as: str


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """All of a sweep's runs in their order, what it leaves out and what would be there twice."""

    sweep: SweepFile
    workload: str
    seeds: tuple[int, ...]
    runs: tuple[PlannedRun, ...]
    left_out: tuple[LeftOut, ...]
    repeated: tuple[Repeated, ...]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a `--seeds`: "3" means 0, 1 and 2; "0,4,7" those three.

    Raises:
        UsageError: it is neither.
    """
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 20 else -1 for word in words]
    if -1 in numbers:
        raise UsageError(
            f"--seeds {clean(text, 80)}: expected a number of seeds, or seeds with commas between them",
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
    """Resolve every combination of a sweep and put them in order.

    Args:
        sweep: what `read_sweep` returned.
        workload: instead of the sweep's own; where neither says one, `quickstart`.
        data: as `resolve` takes it.
        overrides: as `resolve` takes them, for all runs; stronger than [set], and not of a key of the grid.
        seeds: instead of the sweep's own.

    Raises:
        UsageError: combinations that make no run, all of them told; nothing is left to run; too many combinations.
    """
    chosen = sweep.seeds if seeds is None else checked_seeds("seeds", list(seeds))
    _check_overrides(sweep, overrides)
    count = len(sweep.presets) * math.prod(map(len, sweep.grid.values())) * len(chosen)
    if count > MOST_RUNS:
        raise UsageError(f"sweep file {sweep.path}: {count:,} combinations; at most {MOST_RUNS:,} make a sweep")
    every = rows(sweep, chosen)
    skips = {seed: [skip_of(sweep, row, seed) for row in every] for seed in chosen}
    left_out = [
        LeftOut(row.label, seed, skip)
        for seed in chosen
        for row, skip in zip(every, skips[seed], strict=True)
        if skip is not None
    ]
    if len(left_out) == count:
        raise UsageError(f"sweep file {sweep.path}: the conditions leave out every run")
    resolver = _Resolver(sweep, workload, data, overrides, f"sweep {sweep.name}" if seeds is None else "--seeds")
    blocks = [
        [run for row, skip in zip(every, skips[seed], strict=True) if skip is None and (run := resolver.run(row, seed))]
        for seed in chosen
    ]
    if resolver.mistakes:
        raise _told(sweep, resolver.mistakes, {row.label for row in every} - _never_run(left_out, len(chosen)))
    kept, repeated = _without_repeats(blocks)
    name = next(itertools.chain(*kept)).resolved.spec.workload
    return SweepPlan(sweep, name, chosen, tuple(interleaved(kept)), tuple(left_out), tuple(repeated))


def interleaved(blocks: Sequence[Sequence[_Item]]) -> Iterator[_Item]:
    """Yield block after block, the one at place i from its i-th item on and round to the one before it."""
    for place, block in enumerate(blocks):
        start = place % len(block) if block else 0
        yield from itertools.chain(block[start:], block[:start])


def _check_overrides(sweep: SweepFile, overrides: Sequence[str]) -> None:
    for item in overrides:
        key = item.partition("=")[0].strip()
        if key == "seed":
            raise UsageError(f"--set {clean(item)}: use --seeds")
        if (varied := overlapping(key, sweep.grid)) is not None:
            raise UsageError(
                f"--set {clean(item)}: the grid of sweep {clean(sweep.name)} varies '{clean(varied)}'",
                "change the grid in a copy of the file, or set something else",
            )


@dataclass(frozen=True, slots=True)
class _Mistake:
    """What `resolve` said of some rows, by label."""

    error: UsageError
    rows: dict[str, Row] = field(default_factory=dict)


class _Resolver:
    """Makes runs of rows, and keeps what was wrong with those of which it could not."""

    def __init__(
        self, sweep: SweepFile, workload: str | None, data: Sequence[str], overrides: Sequence[str], seed_origin: str
    ) -> None:
        self.sweep = sweep
        self.workload = workload or (sweep.located(sweep.workload) if sweep.workload else DEFAULT_WORKLOAD)
        self.data, self.overrides, self.seed_origin = data, overrides, seed_origin
        self.mistakes: dict[str, _Mistake] = {}  # by message

    def run(self, row: Row, seed: int) -> PlannedRun | None:
        """Return the run of a row and seed; None where it makes none, which `mistakes` then tells."""
        try:
            return self._resolved(row, seed)
        except UsageError as error:
            absent = {key for key in row.waived if _is_unknown(key, error.message)}
            if absent:  # a second and last try: `absent` are waived no more
                return self.run(without(self.sweep, row, absent), seed)
            self.mistakes.setdefault(error.message, _Mistake(error)).rows[row.label] = row
            return None

    def _resolved(self, row: Row, seed: int) -> PlannedRun:
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


def _never_run(left_out: Sequence[LeftOut], seeds: int) -> set[str]:
    return {label for label, count in Counter(one.label for one in left_out).items() if count == seeds}


def _told(sweep: SweepFile, mistakes: Mapping[str, _Mistake], every: set[str]) -> UsageError:
    """Return one error for all mistakes, each with the rows that make it."""
    first = next(iter(mistakes.values()))
    if len(mistakes) == 1 and len(first.rows) == len(every):
        return first.error  # of the whole sweep, not of some combinations
    lines = [f"sweep file {sweep.path}: not every combination makes a run"]
    for message, mistake in mistakes.items():
        shown = "; ".join(list(mistake.rows)[:6]) + ("; …" if len(mistake.rows) > 6 else "")
        lines += [message, f"in {len(mistake.rows)} of {len(every)} rows: {shown}"]
    for key, values in sweep.grid.items():
        for message, mistake in mistakes.items():
            if _is_unknown(key, message):
                return UsageError("\n".join(lines), _skip_hint(key, values, mistake.rows.values()))
    return UsageError("\n".join(lines), first.error.hint)


def _skip_hint(key: str, values: Sequence[Any], wrong: Iterable[Row]) -> str:
    presets = ", ".join(f'"{clean(preset)}"' for preset in dict.fromkeys(row.preset for row in wrong))
    others = ", ".join(clean(json.dumps(value), 40) for value in values[1:])
    once = f'; with "{clean(key)}" = [{others}] too they run once, without that key' if others else ""
    return f"leave them out: [[skip]] with preset = [{presets}]{once}"


def _without_repeats(blocks: Sequence[Sequence[PlannedRun]]) -> tuple[list[list[PlannedRun]], list[Repeated]]:
    """Keep the first of those runs that have the same spec hash."""
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
