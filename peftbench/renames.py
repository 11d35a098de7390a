"""Names that earlier versions used in specs and stored rows, and their current names.

Presets, workloads, sweeps, `--set` and stored specs may use either. The hash of a spec is computed with the former
names, so that a renamed key changes no hash. Databases are renamed by migrations; bundles and checkpoints as they are
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPEC_KEYS = {"train.prefix_cache": "train.cache_frozen_features"}  # former dotted key -> current one
COLUMNS = {"runs": {"session": "attempt"}, "phases": {"session": "attempt"}}  # by table: former name -> current one
VALUES = {  # by table and column
    ("phases", "phase"): {"prefix": "frozen_features"},
    ("samples", "phase"): {"prefix": "frozen_features"},
    ("events", "kind"): {"prefix": "frozen_features"},
}
_FORMER = {current: former for former, current in SPEC_KEYS.items()}


def current_key(key: str) -> str:
    """Return the current name of a dotted key of a spec; a current or unknown key unchanged."""
    return SPEC_KEYS.get(key, key)


def current_spec(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a spec's tables with current names; where a table has both names, the former one is left in place."""
    return _renamed(tree, SPEC_KEYS)


def former_spec(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a spec's tables with the names under which they are hashed."""
    return _renamed(tree, _FORMER)


def current_row(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a stored row with current names of its columns and of values that are names."""
    columns = COLUMNS.get(table, {})
    return {
        name: VALUES.get((table, name), {}).get(value, value) if isinstance(value, str) else value
        for name, value in ((columns.get(column, column), value) for column, value in row.items())
    }


def _renamed(tree: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    for name, other in names.items():
        (part, leaf), (_, new_leaf) = name.split("."), other.split(".")
        table = tree.get(part)
        if isinstance(table, Mapping) and leaf in table and new_leaf not in table:
            renamed = {new_leaf if key == leaf else key: value for key, value in table.items()}
            tree = {**tree, part: renamed}
    return tree
