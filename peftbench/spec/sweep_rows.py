"""The rows of a sweep: each preset with each combination of the grid, what they are called, and which are left out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from peftbench.spec.files import is_path
from peftbench.spec.sweep_file import SweepFile, same
from peftbench.text import clean


@dataclass(frozen=True, slots=True)
class Row:
    """A preset and one combination of the grid.

    `label` is for people: the preset, and the values of the grid that vary. `waived` are the keys of the grid that the
    file leaves a single value of for this preset, by a condition: one that its method does not have is not set then.
    """

    preset: str  # as written
    values: dict[str, Any]
    label: str
    waived: frozenset[str] = frozenset()


def rows(sweep: SweepFile, seeds: Sequence[int]) -> list[Row]:
    """Return the rows in the file's order: preset by preset, the grid's last key varying fastest."""
    found = [
        _named(sweep, preset, dict(zip(sweep.grid, values, strict=True)))
        for preset in sweep.presets
        for values in itertools.product(*sweep.grid.values())
    ]
    left = [row for row in found if any(skip_of(sweep, row, seed) is None for seed in seeds)]
    waived = {preset: _waived(sweep, [row for row in left if row.preset == preset]) for preset in sweep.presets}
    return [replace(row, waived=waived[row.preset]) for row in found]


def without(sweep: SweepFile, row: Row, keys: Iterable[str]) -> Row:
    """Return a row that does not set some keys of the grid."""
    return _named(sweep, row.preset, {key: value for key, value in row.values.items() if key not in keys})


def skip_of(sweep: SweepFile, row: Row, seed: int) -> int | None:
    """Return which [[skip]] leaves a run out, counted from 1, or None."""
    facts = {**row.values, "preset": row.preset, "seed": seed}
    for place, skip in enumerate(sweep.skips, start=1):
        if all(any(same(facts[key], value) for value in values) for key, values in skip.items()):
            return place
    return None


def _waived(sweep: SweepFile, left: Sequence[Row]) -> frozenset[str]:
    """Return the keys of the method that the conditions leave one value of in the rows of one preset."""
    return frozenset(
        key
        for key, values in sweep.grid.items()
        if key.startswith("method.") and len(values) > 1 and all(same(r.values[key], left[0].values[key]) for r in left)
    )


def _named(sweep: SweepFile, preset: str, values: dict[str, Any]) -> Row:
    names = _short_keys(sweep.grid)
    varying = [f"{names[key]}={_text(value)}" for key, value in values.items() if key in names]
    return Row(preset, values, clean(" ".join([_short_preset(preset, sweep.presets), *varying]), 120))


def _short_preset(preset: str, presets: Sequence[str]) -> str:
    """Return a preset's name, or its path where another one has that name."""
    stems = Counter(map(_stem, dict.fromkeys(presets)))
    return _stem(preset) if stems[_stem(preset)] == 1 else preset


def _stem(preset: str) -> str:
    return PurePath(preset).stem if is_path(preset) else preset


def _short_keys(grid: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the keys that vary, each as its last part where that tells it from the others."""
    varying = [key for key, values in grid.items() if len(values) > 1]
    leaves = Counter(_leaf(key) for key in varying)
    return {key: _leaf(key) if leaves[_leaf(key)] == 1 else key for key in varying}


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _text(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
