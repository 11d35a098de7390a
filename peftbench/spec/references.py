"""Check that the names in a preset, workload or sweep file exist, when the file is read.

Otherwise a mistyped name would be ignored silently, such as a pinned key or an adjustment without effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from peftbench.errors import UsageError, did_you_mean
from peftbench.methods.options import MethodOptions
from peftbench.methods.registry import method_info
from peftbench.spec.keys import UnknownKey, flat_keys, schema_node, table_keys
from peftbench.text import clean


def check_preset(path: Path, tables: Mapping[str, Any], pin: Collection[str]) -> None:
    """Check that a preset's method exists and that the keys it pins are in the spec's schema.

    Raises:
        UsageError: naming the file, the key and what is allowed.
    """
    method = tables.get("method", {}).get("name")
    options = check_method(f"preset file {path}: method.name", method) if isinstance(method, str) else None
    for key in pin:
        _check_key(f"preset file {path}: 'pin'", key, options, None)


def check_workload(path: Path, tables: Mapping[str, Any], adjust: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the methods, keys and tasks that a workload names outside its `tasks` tables.

    Raises:
        UsageError: naming the file, the key and what is allowed.
    """
    tasks = list(tables["tasks"]) if isinstance(tables.get("tasks"), Mapping) else None
    for method, adjusted in adjust.items():
        check_method(f"workload file {path}: adjust.{clean(method)}", method)
        for key in flat_keys(adjusted):
            _check_key(f"workload file {path}: adjust.{method}", key, None, tasks, allow_table=True)
    of_heads = tables.get("head", {}).get("tasks", {})
    if tasks is None or not isinstance(of_heads, Mapping):
        return
    for name in of_heads:
        if name not in tasks:
            raise UsageError(
                f"workload file {path}: 'head.tasks.{clean(name)}': no task '{clean(name)}'{did_you_mean(name, tasks)}",
                f"tasks of the workload: {', '.join(map(clean, tasks))}",
            )


def check_method(origin: str, name: str) -> type[MethodOptions]:
    """Return the options class of a registered method.

    Raises:
        UsageError: the method is not registered; `origin` says where it was named.
    """
    try:
        return method_info(name).options
    except UsageError as error:
        raise UsageError(f"{origin}: {error.message}", error.hint) from error


def check_recipe(origin: str, find: Callable[[], object]) -> None:
    """Check that a preset or workload named by a sweep exists.

    Raises:
        UsageError: it does not; `origin` is the sweep file.
    """
    try:
        find()
    except UsageError as error:
        raise UsageError(f"{origin}: {error.message}", error.hint) from error


def check_key(origin: str, key: str) -> None:
    """Check that a sweep's key is in the spec's schema; method and task keys are checked with each preset.

    Raises:
        UsageError: the key is unknown, or a table.
    """
    _check_key(origin, key, None, None)


def _check_key(
    origin: str,
    key: str,
    options: type[MethodOptions] | None,
    tasks: Collection[str] | None,
    allow_table: bool = False,
) -> None:
    try:
        node = schema_node(key, options, tasks)
    except UnknownKey as error:
        raise UsageError(f"{origin}: {error}", f"allowed: {', '.join(map(clean, error.allowed))}") from error
    below = table_keys(node)
    if below and not allow_table:
        raise UsageError(f"{origin}: '{clean(key)}' is a table", f"name one of its keys: {', '.join(below)}")
