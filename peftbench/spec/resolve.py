"""Merge preset, workload and overrides into a RunSpec, recording the origin of every value.

Precedence, lowest first: built-in defaults < a known task's defaults < preset < workload < the workload's
adjustments for the preset's method (except keys that the preset pins) < `--data` < a sweep's values < `--set`
< `--seed`.
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
from peftbench.renames import current_key
from peftbench.spec.architecture import pool_decoders
from peftbench.spec.files import RecipeFile, read_recipe
from peftbench.spec.folders import is_folder, make_absolute
from peftbench.spec.keys import UnknownKey, schema_node
from peftbench.spec.model import RunSpec, flatten
from peftbench.spec.rates import take_published_rate
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
    """A validated spec and the origin of each of its values, by dotted key."""

    spec: RunSpec
    origins: dict[str, str]


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by dotted key that override preset and workload, such as a sweep's; `origin` names their source."""

    origin: str
    values: Mapping[str, Any]
    path: Path | None = None


class _Layers:
    """Nested tables merged layer by layer, with the latest origin of every leaf."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def put(self, dotted: str, value: object, origin: str) -> None:
        dotted = current_key(dotted)
        *parents, leaf = dotted.split(".")
        table = self.tree
        for depth, parent in enumerate(parents):
            if table.get(parent) is None:  # absent, or null in a stored spec
                table[parent] = {}
            table = table[parent]
            if not isinstance(table, dict):
                key = ".".join(parents[: depth + 1])
                raise UsageError(f"{origin}: '{key}' is a value, not a table, so '{dotted}' cannot be set")
        if isinstance(table.get(leaf), dict) and value == {}:
            return  # an empty table sets nothing
        if isinstance(table.get(leaf), dict) and table[leaf]:
            raise UsageError(f"{origin}: '{dotted}' is a table; set one of its keys: {', '.join(table[leaf])}")
        table[leaf] = value
        self.origins[dotted] = origin

    def unset(self, dotted: str, origin: str) -> None:
        """Set an optional key to None, dropping a table with all of its keys."""
        for key in [key for key in self.origins if key.startswith(f"{dotted}.")]:
            del self.origins[key]
        *parents, leaf = dotted.split(".")
        table = self.tree
        for parent in parents:
            table = table.get(parent) or {}
        if isinstance(table.get(leaf), dict):
            del table[leaf]
        self.put(dotted, None, origin)

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
    """Merge the layers and validate the result.

    Args:
        preset: the name of a shipped preset, or the path of a file.
        workload: likewise.
        data: folders of the workload's files: `"DIR"` for every task, `"TASK=DIR"` for one.
        settings: values from another file, such as a sweep; later ones take precedence.
        overrides: `"key=value"`, the value as TOML, or a plain string if it is not valid TOML; unquoted `none`
            sets an optional key to None.
        seed: the run's seed.

    Raises:
        UsageError: naming the file or option, the key, the value and what is allowed.
    """
    recipe, setting = read_recipe("preset", preset), read_recipe("workload", workload)
    layers = _Layers()
    for name in setting.tables.get("tasks", {}):
        layers.tree.setdefault("tasks", {})[name] = {}  # inserted first, so that the tasks keep the workload's order
        layers.put_all({"tasks": {name: KNOWN_TASKS.get(name, {})}}, f"task {name}")
    layers.put_all(recipe.tables, f"preset {recipe.name}")
    layers.put_all(setting.tables, f"workload {setting.name}")
    _adjust(layers, recipe, setting)
    for item in sorted(data, key=lambda item: _task_of(item, layers) is not None):  # "TASK=DIR" last: it wins
        _put_data_folder(layers, item, setting)
    files = {f"preset {recipe.name}": recipe.path, f"workload {setting.name}": setting.path}
    for given in settings:
        _put_settings(layers, given, files)
    _put_overrides(layers, overrides, seed)
    make_absolute(layers.tree, layers.origins)
    pool_decoders(layers.tree, layers.origins)
    take_published_rate(layers.tree, layers.origins)
    _drop_known_classes(layers)
    layers.tree |= {"preset": recipe.name, "workload": setting.name}
    spec = _validate(layers, files)
    return Resolved(spec, _origins(spec, layers))


def changed(spec_json: str, origins: Mapping[str, str], overrides: Sequence[str], seed: int | None = None) -> Resolved:
    """Return a stored spec with some of its values changed.

    Args:
        spec_json: the output of `RunSpec.canonical_json`, of this version or an earlier one.
        origins: the origins of its values.
        overrides: `"key=value"`, as `resolve` takes them.
        seed: another seed.

    Raises:
        UsageError: naming the override, the key, the value and what is allowed.
    """
    layers = _Layers()
    layers.put_all(json.loads(spec_json), "")
    layers.origins = dict(origins)
    _put_overrides(layers, overrides, seed)
    make_absolute(layers.tree, layers.origins)
    pool_decoders(layers.tree, layers.origins)
    take_published_rate(layers.tree, layers.origins)
    spec = _validate(layers, {})
    return Resolved(spec, _origins(spec, layers))


def _put_overrides(layers: _Layers, overrides: Sequence[str], seed: int | None) -> None:
    for item in overrides:
        key, value = _parse_override(item)
        _check_task(f"--set {clean(item)}", key, layers)
        if _is_bare_none(item) and _is_optional(key, layers):
            layers.unset(key, "--set")
        else:
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
        _check_task(f"{_origin_with_path(given.origin, files)}: '{clean(key)}'", key, layers)
        layers.put(key, value, given.origin)


def _drop_known_classes(layers: _Layers) -> None:
    """Drop a known task's default number of classes where the user changed the task's kind."""
    for name, table in layers.tree.get("tasks", {}).items():
        key = f"tasks.{name}.classes"
        if layers.origins.get(key) == f"task {name}" and table.get("kind") != "classes":
            del table["classes"], layers.origins[key]


def _adjust(layers: _Layers, recipe: RecipeFile, setting: RecipeFile) -> None:
    method = layers.tree.get("method", {}).get("name")
    for dotted, value in flatten((setting.adjust or {}).get(method, {})):
        if current_key(dotted) not in map(current_key, recipe.pin):
            layers.put(dotted, value, f"workload {setting.name}, adjust.{method}")


def _task_of(item: str, layers: _Layers) -> str | None:
    name, separator, _ = item.partition("=")
    return name if separator and name in layers.tree.get("tasks", {}) else None


def _reads_files(table: Any) -> bool:
    source = table.get("source") if isinstance(table, dict) else None
    return isinstance(source, dict) and source.get("type") == "files"


def _put_data_folder(layers: _Layers, item: str, setting: RecipeFile) -> None:
    tasks: dict[str, Any] = layers.tree.get("tasks", {})
    name, separator, folder = item.partition("=")
    if not separator or name not in tasks:
        if separator and not is_folder(item):
            raise UsageError(
                f"--data {clean(item)}: no task '{clean(name)}'{did_you_mean(name, tasks)}",
                f"tasks of workload {setting.name}: {', '.join(tasks)}",
            )
        name, folder = "", item
    if not is_folder(folder):
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


def _check_task(origin: str, key: str, layers: _Layers) -> None:
    """Check that a key below `tasks` names a task of the workload: a new task needs a workload file.

    `origin` says where the key was set, for the error message.
    """
    tasks = layers.tree.get("tasks", {})
    top, _, rest = key.partition(".")
    name, _, below = rest.partition(".")
    if top == "tasks" and rest and name not in tasks:
        raise UsageError(
            f"{origin}: no task '{clean(name)}' in 'tasks.{clean(name)}'{did_you_mean(name, tasks)}",
            f"tasks of the workload: {', '.join(tasks)}; a task of your own needs a workload file",
        )
    if top == "tasks" and below == "name":
        raise UsageError(f"{origin}: '{clean(key)}' cannot be set: the name of a task is the name of its table")


def _parse_override(item: str) -> tuple[str, object]:
    key, separator, text = item.partition("=")
    key = key.strip()
    if not separator or not key or not all(key.split(".")):
        raise UsageError(f"--set {clean(item)}: expected KEY=VALUE, such as --set train.epochs=2")
    if key.split(".")[0] in ("preset", "workload"):
        raise UsageError(f"--set {clean(item)}: use --{key.split('.')[0]}")
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML, or nested too deeply for the parser
        value = text.strip()
    if isinstance(value, dict):
        raise UsageError(f"--set {clean(item)}: cannot set a whole table; set its keys one by one")
    return key, value


def _is_bare_none(item: str) -> bool:
    """Return whether the value is the unquoted word `none`; quoted, it is a string."""
    return item.partition("=")[2].strip() == "none"


def _is_optional(key: str, layers: _Layers) -> bool:
    """Return whether a key may be None, given the method chosen so far."""
    name = (layers.tree.get("method") or {}).get("name")
    try:
        node = schema_node(key, method_info(name).options if isinstance(name, str) else None)
    except (UnknownKey, UsageError):
        return False  # reported when the spec is validated
    return node.optional and not node.takes_none


def _validate(layers: _Layers, files: Mapping[str, Path]) -> RunSpec:
    method = layers.tree.get("method")
    if not isinstance(method, dict) or not isinstance(method.get("name"), str):
        raise UsageError('the preset names no method: add a [method] table with name = "..."')
    options = method_info(method["name"]).options
    problems: list[str] = []
    tree = {"encoder": {}, "train": {}} | layers.tree  # so that missing keys are reported by their full name
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
    """Format each validation error as key, value, origin and what is allowed."""
    task_names = list(layers.tree.get("tasks", {}))
    problems = []
    for item in error.errors(include_url=False):
        path = _readable_path(item["loc"], task_names)
        dotted = ".".join((*prefix, *path))
        if not dotted:
            problems.append(_whole_spec_problem(str(item["msg"]).removeprefix("Value error, "), layers.origins, files))
            continue
        if dotted == "tasks" and item["type"] == "too_short" and task_names:
            continue  # every task failed validation, each with an error of its own
        origin = _origin(dotted, layers.origins)
        where = f" ({_origin_with_path(origin, files)})" if origin else ""
        if item["type"] == "extra_forbidden":
            allowed = _fields_at(model, path[:-1])
            problems.append(
                f"unknown key '{clean(dotted)}'{where}{did_you_mean(path[-1], allowed)}; allowed: {', '.join(allowed)}"
            )
        elif item["type"] == "missing" and not path[-1].isdigit():
            problems.append(f"'{dotted}' is required, and no preset, workload or --set provides it")
        else:
            message = str(item["msg"]).removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            value = item["input"]
            shown = "" if isinstance(value, dict | list | tuple) else f" = {clean(repr(value), 80)}"
            problems.append(f"'{dotted}'{shown}{where}: {message}")
    return problems


def _whole_spec_problem(message: str, origins: Mapping[str, str], files: Mapping[str, Path]) -> str:
    """Format an error about a combination of keys, with the origin of the key that the message begins with."""
    key = message[1:].partition("`")[0] if message.startswith("`") else ""
    origin = _origin(key, origins) if key else ""
    return f"{message} ({_origin_with_path(origin, files)})" if origin else message


def _origin(dotted: str, origins: Mapping[str, str]) -> str:
    """Return the origin of a key, of a key below it, or of the list that contains it."""
    below = (origin for key, origin in origins.items() if f"{key}.".startswith(f"{dotted}."))
    above = (origin for key, origin in origins.items() if dotted.startswith(f"{key}."))
    return next(chain(below, above), "")


def _readable_path(location: Iterable[int | str], task_names: Sequence[str]) -> list[str]:
    """Turn ('tasks', 0, 'source', 'files', 'train') into the key that users write: tasks.sst.source.train."""
    path: list[str] = []
    for step in location:
        if isinstance(step, int):
            path.append(task_names[step] if path == ["tasks"] and step < len(task_names) else str(step))
        elif not (path and path[-1] == "source" and step in _SOURCES):
            path.append(step)
    return path


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the keys allowed in the table at `path` in `model`."""
    for depth, step in enumerate(path):
        if depth == 0 and step == "tasks":
            model = TaskSpec
        elif step == "source":
            fields = {name for source in _SOURCES.values() for name in source.model_fields}
            return sorted(fields)
        elif step in model.model_fields:
            annotation = model.model_fields[step].annotation
            for member in get_args(annotation) or (annotation,):  # a table, or an optional table
                if isinstance(member, type) and issubclass(member, BaseModel):
                    model = member
    return [name for name in model.model_fields if name not in ("preset", "workload")]


def _origin_with_path(origin: str, files: Mapping[str, Path]) -> str:
    base = origin.split(",")[0]
    return f"{origin}, {files[base]}" if base in files else origin
