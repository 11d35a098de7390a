"""From preset, workload and overrides to a RunSpec, with the origin of every value.

The layers, each stronger than the one before: built-in defaults < what a known task brings < preset <
workload < the workload's adjustments for the preset's method (but for keys the preset pins) < `--data`
< a sweep's values < `--set` < `--seed`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from peftbench.errors import UsageError, did_you_mean
from peftbench.methods.registry import method_info
from peftbench.spec.files import RecipeFile, read_recipe
from peftbench.spec.model import RunSpec, flatten
from peftbench.tasks import KNOWN_TASKS, FilesSource, HubSource, QuickstartSource, TaskSpec
from peftbench.text import clean

DEFAULT_WORKLOAD = "quickstart"
_SOURCES: dict[object, type[BaseModel]] = {
    "files": FilesSource,
    "hub": HubSource,
    "quickstart": QuickstartSource,
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A validated spec and where each of its values came from, by dotted key."""

    spec: RunSpec
    origins: dict[str, str]


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by dotted key that a file sets above preset and workload, such as a sweep's; `origin` names who."""

    origin: str
    values: Mapping[str, Any]
    path: Path | None = None


class _Layers:
    """Nested tables laid over one another, with the last origin of every leaf."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def put(self, dotted: str, value: object, origin: str) -> None:
        *parents, leaf = dotted.split(".")
        table = self.tree
        for depth, parent in enumerate(parents):
            if table.get(parent) is None:  # absent, or a table that a stored spec has not
                table[parent] = {}
            table = table[parent]
            if not isinstance(table, dict):
                place = ".".join(parents[: depth + 1])
                raise UsageError(f"{origin}: '{place}' is a value, not a table, so '{dotted}' cannot be set")
        if isinstance(table.get(leaf), dict) and value == {}:
            return  # a table's header, with nothing under it
        if isinstance(table.get(leaf), dict) and table[leaf]:
            raise UsageError(f"{origin}: '{dotted}' is a table; set one of its keys: {', '.join(table[leaf])}")
        table[leaf] = value
        self.origins[dotted] = origin

    def put_all(self, tables: Mapping[str, Any], origin: str) -> None:
        for dotted, value in flatten(tables):
            self.put(dotted, value, origin)


def resolve(
    preset: str,
    workload: str = DEFAULT_WORKLOAD,
    *,
    data: Sequence[str] = (),
    settings: Sequence[Settings] = (),
    overrides: Sequence[str] = (),
    seed: int | None = None,
) -> Resolved:
    """Lay the layers over one another and validate the result.

    Args:
        preset: a shipped preset's name or a file's path.
        workload: likewise.
        data: folders for the workload's files: `"DIR"` for every task, `"TASK=DIR"` for one.
        settings: values of a file beside them, the later ones stronger.
        overrides: `"key=value"`, the value as TOML, or as plain text where it is no TOML.
        seed: the run's seed.

    Raises:
        UsageError: naming the file or option, the key, the value and what is allowed.
    """
    recipe, setting = read_recipe("preset", preset), read_recipe("workload", workload)
    layers = _Layers()
    for name in setting.tables.get("tasks", {}):
        layers.tree.setdefault("tasks", {})[name] = {}  # a place for each, so that they keep the workload's order
        layers.put_all({"tasks": {name: KNOWN_TASKS.get(name, {})}}, f"task {name}")
    layers.put_all(recipe.tables, f"preset {recipe.name}")
    layers.put_all(setting.tables, f"workload {setting.name}")
    _adjust(layers, recipe, setting)
    for item in sorted(data, key=lambda item: _task_of(item, layers) is not None):  # a task's own folder wins
        _put_data(layers, item, setting)
    files = {f"preset {recipe.name}": recipe.path, f"workload {setting.name}": setting.path}
    for given in settings:
        _put_settings(layers, given, files)
    _put_overrides(layers, overrides, seed)
    _drop_known_classes(layers)
    layers.tree |= {"preset": recipe.name, "workload": setting.name}
    spec = _validate(layers, files)
    return Resolved(spec, _origins(spec, layers))


def changed(spec_json: str, origins: Mapping[str, str], overrides: Sequence[str], seed: int | None = None) -> Resolved:
    """Return a stored spec with some of its values changed.

    Args:
        spec_json: as `RunSpec.canonical_json` gave it, of this version or an earlier one.
        origins: where its values came from.
        overrides: `"key=value"`, as `resolve` takes them.
        seed: another seed.

    Raises:
        UsageError: naming the override, the key, the value and what is allowed.
    """
    layers = _Layers()
    layers.put_all(json.loads(spec_json), "")
    layers.origins = dict(origins)
    _put_overrides(layers, overrides, seed)
    spec = _validate(layers, {})
    return Resolved(spec, _origins(spec, layers))


def _put_overrides(layers: _Layers, overrides: Sequence[str], seed: int | None) -> None:
    for item in overrides:
        key, value = _parse_override(item)
        _check_task(f"--set {clean(item)}", key, layers)
        layers.put(key, value, "--set")
    if seed is not None:
        layers.put("seed", seed, "--seed")


def _origins(spec: RunSpec, layers: _Layers) -> dict[str, str]:
    return {
        key: layers.origins.get(key, "default")
        for key, _ in flatten(spec.model_dump(mode="json"))
        if key not in ("preset", "workload")
    }


def _put_settings(layers: _Layers, given: Settings, files: dict[str, Path]) -> None:
    if given.path is not None:
        files[given.origin.split(",")[0]] = given.path
    for key, value in given.values.items():
        _check_task(f"{_said_where(given.origin, files)}: '{clean(key)}'", key, layers)
        layers.put(key, value, given.origin)


def _drop_known_classes(layers: _Layers) -> None:
    """Take back a known task's number of classes where the user made it a task of another kind."""
    for name, table in layers.tree.get("tasks", {}).items():
        place = f"tasks.{name}.classes"
        if layers.origins.get(place) == f"task {name}" and table.get("kind") != "classes":
            del table["classes"], layers.origins[place]


def _adjust(layers: _Layers, recipe: RecipeFile, setting: RecipeFile) -> None:
    method = layers.tree.get("method", {}).get("name")
    for dotted, value in flatten((setting.adjust or {}).get(method, {})):
        if dotted not in recipe.pin:
            layers.put(dotted, value, f"workload {setting.name}, adjust.{method}")


def _task_of(item: str, layers: _Layers) -> str | None:
    name, separator, _ = item.partition("=")
    return name if separator and name in layers.tree.get("tasks", {}) else None


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).expanduser().is_dir()
    except (OSError, RuntimeError):  # too long a name, no such user's home
        return False


def _reads_files(table: Any) -> bool:
    source = table.get("source") if isinstance(table, dict) else None
    return isinstance(source, dict) and source.get("type") == "files"


def _put_data(layers: _Layers, item: str, setting: RecipeFile) -> None:
    tasks: dict[str, Any] = layers.tree.get("tasks", {})
    name, separator, folder = item.partition("=")
    if not separator or name not in tasks:
        if separator and not _is_folder(item):
            raise UsageError(
                f"--data {clean(item)}: no task '{clean(name)}'{did_you_mean(name, tasks)}",
                f"tasks of workload {setting.name}: {', '.join(tasks)}",
            )
        name, folder = "", item
    if not _is_folder(folder):
        raise UsageError(f"--data {clean(item)}: '{clean(folder)}' is not a folder")
    root = Path(folder).expanduser()
    readers = [task for task, table in tasks.items() if _reads_files(table)]
    chosen = [name] if name else readers
    if not chosen or not set(chosen) <= set(readers):
        raise UsageError(
            f"--data {clean(item)}: workload {setting.name} reads no files for {name or 'any task'}",
            "choose a workload that does, such as: --workload paper",
        )
    for task in chosen:
        layers.put(f"tasks.{task}.source.root", str(root.resolve()), "--data")


def _check_task(said: str, key: str, layers: _Layers) -> None:
    """See that a key below `tasks` is of a task that the workload has: a new one needs a workload file.

    `said` is where it was set, and what, for the error.
    """
    tasks = layers.tree.get("tasks", {})
    top, _, rest = key.partition(".")
    name, _, below = rest.partition(".")
    if top == "tasks" and rest and name not in tasks:
        raise UsageError(
            f"{said}: no task '{clean(name)}' in 'tasks.{clean(name)}'{did_you_mean(name, tasks)}",
            f"tasks of the workload: {', '.join(tasks)}; a task of your own needs a workload file",
        )
    if top == "tasks" and below == "name":
        raise UsageError(f"{said}: '{clean(key)}' cannot be set: the table's name is the task's")


def _parse_override(item: str) -> tuple[str, object]:
    key, separator, text = item.partition("=")
    key = key.strip()
    if not separator or not key or not all(key.split(".")):
        raise UsageError(f"--set {clean(item)}: expected KEY=VALUE, such as --set train.epochs=2")
    if key.split(".")[0] in ("preset", "workload"):
        raise UsageError(f"--set {clean(item)}: use --{key.split('.')[0]}")
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML, or beyond what Python reads
        value = text.strip()
    if isinstance(value, dict):
        raise UsageError(f"--set {clean(item)}: a table cannot be set whole; set its keys one by one")
    return key, value


def _validate(layers: _Layers, files: Mapping[str, Path]) -> RunSpec:
    method = layers.tree.get("method")
    if not isinstance(method, dict) or not isinstance(method.get("name"), str):
        raise UsageError('the preset names no method: it needs [method] with name = "..."')
    options = method_info(method["name"]).options
    problems: list[str] = []
    tree = {"encoder": {}, "train": {}} | layers.tree  # so that what they lack is told by its own name
    try:
        tree["method"] = options.model_validate(method)
    except ValidationError as error:
        problems += _problems(error, ("method",), layers, files, options)
        del tree["method"]
    try:
        spec = RunSpec.model_validate(tree)
    except ValidationError as error:
        problems += [
            problem
            for problem in _problems(error, (), layers, files, RunSpec)
            if not (problem.startswith("'method'") and "method" not in tree)
        ]
    if problems:
        raise UsageError("\n".join(problems))
    return spec


def _problems(
    error: ValidationError,
    prefix: tuple[str, ...],
    layers: _Layers,
    files: Mapping[str, Path],
    model: type[BaseModel],
) -> list[str]:
    """Say each validation error as: where it was set, key, value, what is allowed."""
    task_names = list(layers.tree.get("tasks", {}))
    found = []
    for item in error.errors(include_url=False):
        place = _readable_place(item["loc"], task_names)
        dotted = ".".join((*prefix, *place))
        if dotted == "tasks" and item["type"] == "too_short" and task_names:
            continue  # no task is left because each has a mistake, told apart
        origin = _origin(dotted, layers.origins)
        where = f" ({_said_where(origin, files)})" if origin else ""
        if item["type"] == "extra_forbidden":
            allowed = _fields_at(model, place[:-1])
            found.append(
                f"unknown key '{clean(dotted)}'{where}{did_you_mean(place[-1], allowed)}; allowed: {', '.join(allowed)}"
            )
        elif item["type"] == "missing" and not place[-1].isdigit():
            found.append(f"'{dotted}' is needed and no preset, workload or --set gives it")
        else:
            message = str(item["msg"]).removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            value = item["input"]
            shown = "" if isinstance(value, dict | list | tuple) else f" = {clean(repr(value), 80)}"
            found.append(f"'{dotted}'{shown}{where}: {message}")
    return found


def _origin(dotted: str, origins: Mapping[str, str]) -> str:
    """Return who set a key, one below it, or the list that it is an item of."""
    below = (said for key, said in origins.items() if f"{key}.".startswith(f"{dotted}."))
    above = (said for key, said in origins.items() if dotted.startswith(f"{key}."))
    return next(chain(below, above), "")


def _readable_place(location: Iterable[int | str], task_names: Sequence[str]) -> list[str]:
    """Turn ('tasks', 0, 'source', 'files', 'train') into the key a user writes: tasks.sst.source.train."""
    place: list[str] = []
    for step in location:
        if isinstance(step, int):
            place.append(task_names[step] if place == ["tasks"] and step < len(task_names) else str(step))
        elif not (place and place[-1] == "source" and step in _SOURCES):
            place.append(step)
    return place


def _fields_at(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Return the keys allowed in the table at `place` below `model`."""
    for depth, step in enumerate(place):
        if depth == 0 and step == "tasks":
            model = TaskSpec
        elif step == "source":
            fields = {name for source in _SOURCES.values() for name in source.model_fields}
            return sorted(fields)
        elif step in model.model_fields:
            annotation = model.model_fields[step].annotation
            for one in get_args(annotation) or (annotation,):  # a table, or a table that may be absent
                if isinstance(one, type) and issubclass(one, BaseModel):
                    model = one
    return [name for name in model.model_fields if name not in ("preset", "workload")]


def _said_where(origin: str, files: Mapping[str, Path]) -> str:
    base = origin.split(",")[0]
    return f"{origin}, {files[base]}" if base in files else origin
