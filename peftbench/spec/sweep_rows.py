"""The rows of a sweep: each preset with each grid combination, their labels, and which are excluded."""

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
class SweepRow:
    """A preset and one combination of the grid.

    `label` is for display: the preset and the varying grid values. `waived` are the grid keys for which [[skip]]
    conditions leave this preset a single value: such a key is not set if the preset's method does not have it.
    """

    preset: str  # as written
    values: dict[str, Any]
    label: str
    waived: frozenset[str] = frozenset()


def rows(sweep: SweepFile, seeds: Sequence[int]) -> list[SweepRow]:
    """Return the rows in file order: preset by preset, the grid's last key varying fastest."""
    all_rows = [
        _labelled(sweep, preset, dict(zip(sweep.grid, values, strict=True)))
        for preset in sweep.presets
        for values in itertools.product(*sweep.grid.values())
    ]
    left = [row for row in all_rows if any(skip_of(sweep, row, seed) is None for seed in seeds)]
    waived = {preset: _waived(sweep, [row for row in left if row.preset == preset]) for preset in sweep.presets}
    return [replace(row, waived=waived[row.preset]) for row in all_rows]


def without(sweep: SweepFile, row: SweepRow, keys: Iterable[str]) -> SweepRow:
    """Return a copy of a row without some grid keys."""
    return _labelled(sweep, row.preset, {key: value for key, value in row.values.items() if key not in keys})


def skip_of(sweep: SweepFile, row: SweepRow, seed: int) -> int | None:
    """Return the number of the [[skip]] that excludes a run, counted from 1, or None."""
    facts = {**row.values, "preset": row.preset, "seed": seed}
    for number, skip in enumerate(sweep.skips, start=1):
        if all(any(same(facts[key], value) for value in values) for key, values in skip.items()):
            return number
    return None


def _waived(sweep: SweepFile, left: Sequence[SweepRow]) -> frozenset[str]:
    """Return the method keys with a single value left in the rows of one preset, after the conditions."""
    return frozenset(
        key
        for key, values in sweep.grid.items()
        if key.startswith("method.") and len(values) > 1 and all(same(r.values[key], left[0].values[key]) for r in left)
    )


def _labelled(sweep: SweepFile, preset: str, values: dict[str, Any]) -> SweepRow:
    names = _short_keys(sweep.grid)
    varying = [f"{names[key]}={_text(value)}" for key, value in values.items() if key in names]
    return SweepRow(preset, values, clean(" ".join([_short_preset(preset, sweep.presets), *varying]), 120))


def _short_preset(preset: str, presets: Sequence[str]) -> str:
    """Return a preset's name, or its path if another preset has the same name."""
    stems = Counter(map(_stem, dict.fromkeys(presets)))
    return _stem(preset) if stems[_stem(preset)] == 1 else preset


def _stem(preset: str) -> str:
    return PurePath(preset).stem if is_path(preset) else preset


def _short_keys(grid: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the varying keys, each shortened to its last part where that is unique."""
    varying = [key for key, values in grid.items() if len(values) > 1]
    leaves = Counter(_leaf(key) for key in varying)
    return {key: _leaf(key) if leaves[_leaf(key)] == 1 else key for key in varying}


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _text(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
