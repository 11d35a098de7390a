"""Sweep files: which presets, seeds and values make up a sweep. Read as TOML and checked; nothing is resolved here.

description = "..."
workload = "quickstart"                 # optional; `--workload` wins
presets = ["last-layer", "lora-r12"]    # the rows; names, or paths of files beside this one
seeds = 3                               # 0, 1, 2; or a list: [0, 4, 7]; `--seeds` wins
[set]                                   # for all runs
"train.epochs" = 3
[grid]                                  # every combination of these
"method.rank" = [4, 8, 12]
"train.lr" = [1e-4, 5e-4]
[[skip]]                                # combinations left out: those to which every line applies
preset = "last-layer"
"method.rank" = [4, 8]                  # one value, or several of which any applies
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftbench.errors import UsageError, did_you_mean
from peftbench.spec.files import is_path, read_toml
from peftbench.text import clean

MOST_SEEDS = 1000
_KEYS = ("description", "workload", "presets", "seeds", "set", "grid", "skip")
_ELSEWHERE = {"seed": "seeds", "preset": "presets", "workload": "workload"}  # spec keys that have a place of their own


@dataclass(frozen=True, slots=True)
class SweepFile:
    """A sweep as its file states it. Keys of `settings` and `grid` are dotted, as `--set` takes them."""

    name: str
    path: Path
    description: str
    workload: str | None
    presets: tuple[str, ...]  # as written
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    grid: dict[str, tuple[Any, ...]]
    skips: tuple[dict[str, tuple[Any, ...]], ...]  # of each key, the values that it applies to

    def located(self, recipe: str) -> str:
        """Return a preset or workload as `resolve` takes it: a relative path in the file starts at the file."""
        if not is_path(recipe) or recipe.startswith("~"):
            return recipe
        return str(self.path.parent / recipe)


def read_sweep(name: str) -> SweepFile:
    """Read a shipped sweep by name, or any file by its path.

    Raises:
        UsageError: no such name or file, no valid TOML, or anything in it that no sweep has.
    """
    path, content = read_toml("sweep", name)
    said = f"sweep file {path}"
    for key in content:
        if key not in _KEYS:
            raise UsageError(
                f"{said}: unknown key '{clean(key)}'{did_you_mean(key, _KEYS)}",
                f"allowed at the top of a sweep: {', '.join(_KEYS)}; keys of a spec belong into [set] or [grid]",
            )
    description, workload = content.get("description", ""), content.get("workload")
    for key, text in (("description", description), ("workload", workload or "")):
        if not isinstance(text, str):
            raise UsageError(f"{said}: '{key}' must be a text, not {clean(repr(text), 80)}")
    presets = _presets(said, content.get("presets"))
    settings = _settings(said, content.get("set", {}))
    grid = _grid(said, content.get("grid", {}))
    for key in grid:
        if (other := overlapping(key, settings)) is not None:
            raise UsageError(f"{said}: '{clean(key)}' is in [grid] and '{clean(other)}' in [set]: keep one of them")
    seeds = checked_seeds(said, content.get("seeds", 1))
    skips = _skips(said, content.get("skip", []), presets, grid)
    return SweepFile(path.stem, path, clean(description), workload, presets, seeds, settings, grid, skips)


def checked_seeds(said: str, value: Any) -> tuple[int, ...]:
    """Return the seeds that a number (0 to N - 1) or a list of seeds means.

    Raises:
        UsageError: neither, a seed twice, or more than 1,000.
    """
    if type(value) is int and 1 <= value <= MOST_SEEDS:
        return tuple(range(value))
    listed = isinstance(value, list | tuple) and 1 <= len(value) <= MOST_SEEDS
    if not listed or not all(type(seed) is int and 0 <= seed < 2**63 for seed in value):
        raise UsageError(
            f"{said}: seeds {clean(repr(value), 80)}: expected a number from 1 to {MOST_SEEDS:,} or a list of seeds",
            "3 means the seeds 0, 1 and 2; [0, 4, 7] those three",
        )
    if len(set(value)) < len(value):
        twice = next(seed for place, seed in enumerate(value) if seed in value[:place])
        raise UsageError(f"{said}: seed {twice} is there twice")
    return tuple(value)


def overlapping(key: str, keys: Mapping[str, object]) -> str | None:
    """Return the first of `keys` that sets the same value as `key`, or a part of it; else None."""
    for other in keys:
        if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}."):
            return other
    return None


def same(one: object, other: object) -> bool:
    """Tell whether two values of TOML are the same: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _presets(said: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        shown = "is missing: it" if value is None else f"= {clean(repr(value), 80)}"
        raise UsageError(
            f"{said}: 'presets' {shown} must be a list of names or files", 'such as: presets = ["full", "lora-r12"]'
        )
    return tuple(value)


def _settings(said: str, table: object) -> dict[str, Any]:
    settings = _flat(f"{said}: [set]", table)
    for key, value in settings.items():
        _check_value(f"{said}: [set] '{clean(key)}'", value)
    return settings


def _grid(said: str, table: object) -> dict[str, tuple[Any, ...]]:
    grid = _flat(f"{said}: [grid]", table)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            shown = clean(repr(values), 80)
            raise UsageError(f"{said}: [grid] '{clean(key)}' = {shown}: must be a list of values, such as [4, 8, 12]")
        for value in values:
            _check_value(f"{said}: [grid] '{clean(key)}'", value)
    return {key: tuple(values) for key, values in grid.items()}


def _skips(
    said: str, tables: object, presets: Sequence[str], grid: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, tuple[Any, ...]], ...]:
    if not isinstance(tables, list):
        raise UsageError(f"{said}: 'skip' must be one or more [[skip]] tables, in double brackets")
    known: dict[str, Sequence[Any]] = {"preset": presets, **grid}
    return tuple(_skip(f"{said}: [[skip]] {place}", table, known) for place, table in enumerate(tables, start=1))


def _skip(said: str, table: object, known: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    wanted = dict(_leaves(said, table))
    if not wanted:
        raise UsageError(f"{said} is empty and would leave out everything")
    return {key: _skipped_values(said, key, value, known) for key, value in wanted.items()}


def _skipped_values(said: str, key: str, value: Any, known: Mapping[str, Sequence[Any]]) -> tuple[Any, ...]:
    """Return the values that a line of [[skip]] applies to: each must be one that the sweep has."""
    if key == "seed":
        return checked_seeds(f"{said}: 'seed'", value if isinstance(value, list) else [value])
    if key not in known:
        raise UsageError(
            f"{said}: '{clean(key)}' is no key of [grid]{did_you_mean(key, (*known, 'seed'))}",
            f"a condition may name: {', '.join(map(clean, (*known, 'seed')))}",
        )
    alone = any(same(value, one) for one in known[key])  # a list may itself be a value, such as targets
    values = (value,) if alone or not isinstance(value, list) else tuple(value)
    for wanted in values:
        if not any(same(wanted, one) for one in known[key]):
            near = did_you_mean(wanted, known[key]) if key == "preset" and isinstance(wanted, str) else ""
            raise UsageError(
                f"{said}: '{clean(key)}' = {clean(repr(wanted), 80)}: the sweep has no such value{near}",
                f"values of {clean(key)}: {', '.join(clean(one) for one in known[key])}",
            )
    return values


def _flat(said: str, table: object) -> dict[str, Any]:
    """Return a table's values by dotted key, those keys being ones that a sweep may set."""
    found: dict[str, Any] = {}
    for key, value in _leaves(said, table):
        if key in _ELSEWHERE:
            raise UsageError(f"{said} '{key}' cannot be set there: use '{_ELSEWHERE[key]}' at the top of the file")
        if (other := overlapping(key, found)) is not None:
            raise UsageError(f"{said} sets '{clean(key)}' twice (see '{clean(other)}')")
        found[key] = value
    return found


def _leaves(said: str, table: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a table as (dotted key, value), the key written in one or as nested tables."""
    if not isinstance(table, dict):
        raise UsageError(f"{said} must be a table of keys and values, not {clean(repr(table), 80)}")
    for key, value in table.items():
        if not all(key.split(".")):
            raise UsageError(f"{said} '{clean(prefix + key)}' is no key of a spec, such as train.lr")
        if isinstance(value, dict):
            yield from _leaves(said, value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_value(said: str, value: object) -> None:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, bool | int | float | str) for item in items):
        raise UsageError(f"{said}: {clean(repr(value), 80)} is no number, text, true, false or list of them")
