"""Parsing of a row of `runs` into a `Run`, with validation: the row may have been edited or damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

from peftbench.renames import current_key
from peftbench.store.rows import MeterSettings, Run, RunSettings, State, Worker

_STATES = frozenset(get_args(State))
_OBJECTS = ("origins", "conditions", "adapter_weights")
_OBJECTS_OR_NULL = ("memory_predicted", "memory_measured")
_TIMES = ("created_at", "started_at", "finished_at", "state_at", "heartbeat_at", "stop_requested_at")


def parse_run(row: sqlite3.Row) -> Run:
    """Return the run of a row; a column `row_number` is ignored.

    Raises:
        ValueError: a value is invalid; the message names the column and the reason.
    """
    values = dict(zip(row.keys(), row, strict=True))
    values.pop("row_number", None)
    worker = {key: values.pop(key) for key in list(values) if key.startswith("worker_")}
    for column in (*_OBJECTS, *_OBJECTS_OR_NULL):
        values[column] = _object(values, column)
    values["origins"] = {current_key(key): origin for key, origin in values["origins"].items()}
    values["tags"] = _tags(values["tags"])
    values["settings"] = _settings(RunSettings, values, "settings")
    values["meter_settings"] = _settings(MeterSettings, values, "meter_settings")
    _check(values)
    try:
        return Run(**values, worker=_worker(worker))
    except TypeError as error:
        raise ValueError(f"its columns: {error}") from error


def _check(values: Mapping[str, Any]) -> None:
    if values["state"] not in _STATES:
        raise ValueError(f"state: {values['state']!r}")
    for column in _TIMES:
        moment = values[column]
        try:
            if moment is not None and datetime.fromisoformat(moment).tzinfo is None:
                raise ValueError("no time zone")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{column}: {moment!r} is not a timestamp") from error
    try:
        tasks = json.loads(values["spec_json"])["tasks"]
        named = isinstance(tasks, list) and all(isinstance(task["name"], str) for task in tasks)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"spec_json: {type(error).__name__}: {error}") from error
    if not named:
        raise ValueError("spec_json: the names of its tasks")


def _object(values: Mapping[str, Any], column: str) -> dict[str, Any] | None:
    if values[column] is None and column in _OBJECTS_OR_NULL:
        return None
    try:
        parsed = json.loads(values[column])
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{column}: {error}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{column}: not a JSON object")
    return parsed


def _tags(text: object) -> tuple[str, ...]:
    try:
        tags = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"tags: {error}") from error
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags: not a list of strings")
    return tuple(tags)


def _settings(kind: type[Any], values: Mapping[str, Any], column: str) -> Any:
    fields = _object(values, column)
    assert fields is not None
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{column}: {error}") from error


def _worker(columns: Mapping[str, Any]) -> Worker | None:
    if columns["worker_pid"] is None:
        return None
    parts = [columns[f"worker_{name}"] for name in ("pid", "started_at", "boot_id", "host")]
    if None in parts:
        raise ValueError("its worker: a column is missing")
    return Worker(*parts)
