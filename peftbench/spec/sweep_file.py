"""Parse and check sweep files: the presets, seeds and values of a sweep. Nothing is resolved here.

description = "..."
workload = "quickstart"                 # optional; `--workload` takes precedence
presets = ["last-layer", "lora-r12"]    # the rows: names, or paths relative to this file
seeds = 3                               # 0, 1, 2; or a list: [0, 4, 7]; `--seeds` takes precedence
[set]                                   # values for all runs
"train.epochs" = 3
[grid]                                  # every combination of these
"method.rank" = [4, 8, 12]
"train.lr" = [1e-4, 5e-4]
[[skip]]                                # combinations excluded: those that match every line
preset = "last-layer"
"method.rank" = [4, 8]                  # one value, or a list of alternatives
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peftbench.errors import UsageError, did_you_mean
from peftbench.renames import current_key
from peftbench.spec.files import FileKind, find, is_path, read_toml
from peftbench.spec.references import check_key, check_recipe
from peftbench.text import clean

MOST_SEEDS = 1000
_KEYS = ("description", "workload", "presets", "seeds", "set", "grid", "skip")
_ELSEWHERE = {"seed": "seeds", "preset": "presets", "workload": "workload"}  # spec keys set at the top level


@dataclass(frozen=True, slots=True)
class SweepFile:
    """The content of a sweep file. Keys of `settings` and `grid` are dotted, as for `--set`."""

    name: str
    path: Path
    description: str
    workload: str | None
    presets: tuple[str, ...]  # as written
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    grid: dict[str, tuple[Any, ...]]
    skips: tuple[dict[str, tuple[Any, ...]], ...]  # by key, the values that match

    def located(self, recipe: str) -> str:
        """Return a preset or workload for `resolve`, with a relative path resolved from the sweep file's folder."""
        if not is_path(recipe) or recipe.startswith("~"):
            return recipe
        return str(self.path.parent / recipe)


def read_sweep(name: str) -> SweepFile:
    """Read a shipped sweep by name, or any file by its path.

    Raises:
        UsageError: no such name or file, invalid TOML, or invalid content.
    """
    path, content = read_toml("sweep", name)
    origin = f"sweep file {path}"
    for key in content:
        if key not in _KEYS:
            raise UsageError(
                f"{origin}: unknown key '{clean(key)}'{did_you_mean(key, _KEYS)}",
                f"allowed at the top level of a sweep: {', '.join(_KEYS)}; keys of a spec belong in [set] or [grid]",
            )
    description, workload = content.get("description", ""), content.get("workload")
    for key, text in (("description", description), ("workload", workload or "")):
        if not isinstance(text, str):
            raise UsageError(f"{origin}: '{key}' must be a string, not {clean(repr(text), 80)}")
    presets = _presets(origin, content.get("presets"))
    settings = _settings(origin, content.get("set", {}))
    grid = _grid(origin, content.get("grid", {}))
    for key in grid:
        if (other := overlapping(key, settings)) is not None:
            raise UsageError(f"{origin}: '{clean(key)}' is in [grid] and '{clean(other)}' in [set]: keep one of them")
    seeds = checked_seeds(origin, content.get("seeds", 1))
    skips = _skips(origin, content.get("skip", []), presets, grid)
    sweep = SweepFile(path.stem, path, clean(description), workload, presets, seeds, settings, grid, skips)
    _check_names(origin, sweep)
    return sweep


def _check_names(origin: str, sweep: SweepFile) -> None:
    kinds: dict[FileKind, tuple[str, ...]] = {"preset": sweep.presets, "workload": (sweep.workload or "",)}
    for kind, names in kinds.items():
        for name in filter(None, names):
            check_recipe(origin, partial(find, kind, sweep.located(name)))
    for key in (*sweep.settings, *sweep.grid):
        check_key(origin, key)


def checked_seeds(origin: str, value: Any) -> tuple[int, ...]:
    """Return the seeds given as a number N (0 to N - 1) or as a list.

    Raises:
        UsageError: neither, a duplicate seed, or more than 1,000.
    """
    if type(value) is int and 1 <= value <= MOST_SEEDS:
        return tuple(range(value))
    listed = isinstance(value, list | tuple) and 1 <= len(value) <= MOST_SEEDS
    if not listed or not all(type(seed) is int and 0 <= seed < 2**63 for seed in value):
        raise UsageError(
            f"{origin}: seeds {clean(repr(value), 80)}: expected a number from 1 to {MOST_SEEDS:,} or a list of seeds",
            "3 means the seeds 0, 1 and 2; [0, 4, 7] those three",
        )
    if len(set(value)) < len(value):
        twice = next(seed for index, seed in enumerate(value) if seed in value[:index])
        raise UsageError(f"{origin}: seed {twice} is listed twice")
    return tuple(value)


def overlapping(key: str, keys: Mapping[str, object]) -> str | None:
    """Return the first of `keys` that equals `key` or is above or below it; None if there is none."""
    for other in keys:
        if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}."):
            return other
    return None


def same(value: object, other: object) -> bool:
    """Return whether two TOML values are equal: 1 and 1.0 are, 1 and true are not."""
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _presets(origin: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        shown = "is missing: it" if value is None else f"= {clean(repr(value), 80)}"
        raise UsageError(
            f"{origin}: 'presets' {shown} must be a list of names or files", 'such as: presets = ["full", "lora-r12"]'
        )
    return tuple(value)


def _settings(origin: str, table: object) -> dict[str, Any]:
    settings = _flat(f"{origin}: [set]", table)
    for key, value in settings.items():
        _check_value(f"{origin}: [set] '{clean(key)}'", value)
    return settings


def _grid(origin: str, table: object) -> dict[str, tuple[Any, ...]]:
    grid = _flat(f"{origin}: [grid]", table)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            shown = clean(repr(values), 80)
            raise UsageError(f"{origin}: [grid] '{clean(key)}' = {shown}: must be a list of values, such as [4, 8, 12]")
        for value in values:
            _check_value(f"{origin}: [grid] '{clean(key)}'", value)
    return {key: tuple(values) for key, values in grid.items()}


def _skips(
    origin: str, tables: object, presets: Sequence[str], grid: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, tuple[Any, ...]], ...]:
    if not isinstance(tables, list):
        raise UsageError(f"{origin}: 'skip' must be one or more [[skip]] tables, in double brackets")
    known: dict[str, Sequence[Any]] = {"preset": presets, **grid}
    return tuple(_skip(f"{origin}: [[skip]] {number}", table, known) for number, table in enumerate(tables, start=1))


def _skip(origin: str, table: object, known: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    wanted = dict(_leaves(origin, table))
    if not wanted:
        raise UsageError(f"{origin} is empty and would exclude every run")
    return {key: _skipped_values(origin, key, value, known) for key, value in wanted.items()}


def _skipped_values(origin: str, key: str, value: Any, known: Mapping[str, Sequence[Any]]) -> tuple[Any, ...]:
    """Return the values that a line of [[skip]] matches: each must occur in the sweep."""
    if key == "seed":
        return checked_seeds(f"{origin}: 'seed'", value if isinstance(value, list) else [value])
    if key not in known:
        raise UsageError(
            f"{origin}: '{clean(key)}' is not a key of [grid]{did_you_mean(key, (*known, 'seed'))}",
            f"a condition may name: {', '.join(map(clean, (*known, 'seed')))}",
        )
    alone = any(same(value, choice) for choice in known[key])  # a list can itself be one value, as for `targets`
    values = (value,) if alone or not isinstance(value, list) else tuple(value)
    for wanted in values:
        if not any(same(wanted, choice) for choice in known[key]):
            near = did_you_mean(wanted, known[key]) if key == "preset" and isinstance(wanted, str) else ""
            raise UsageError(
                f"{origin}: '{clean(key)}' = {clean(repr(wanted), 80)}: the sweep has no such value{near}",
                f"values of {clean(key)}: {', '.join(clean(choice) for choice in known[key])}",
            )
    return values


def _flat(origin: str, table: object) -> dict[str, Any]:
    """Return a table's values by dotted key, after checking that a sweep may set those keys."""
    values: dict[str, Any] = {}
    for key, value in _leaves(origin, table):
        if key in _ELSEWHERE:
            raise UsageError(f"{origin} '{key}' cannot be set there: use '{_ELSEWHERE[key]}' at the top of the file")
        if (other := overlapping(key, values)) is not None:
            raise UsageError(f"{origin} sets '{clean(key)}' twice (see '{clean(other)}')")
        values[key] = value
    return values


def _leaves(origin: str, table: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a table as (dotted key, value), from dotted keys and nested tables alike."""
    if not isinstance(table, dict):
        raise UsageError(f"{origin} must be a table of keys and values, not {clean(repr(table), 80)}")
    for key, value in table.items():
        if not all(key.split(".")):
            raise UsageError(f"{origin} '{clean(prefix + key)}' is not a key of a spec, such as train.lr")
        if isinstance(value, dict):
            yield from _leaves(origin, value, f"{prefix}{key}.")
        else:
            yield current_key(f"{prefix}{key}"), value


def _check_value(origin: str, value: object) -> None:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, bool | int | float | str) for item in items):
        raise UsageError(f"{origin}: {clean(repr(value), 80)} is not a number, string, boolean or list of them")
