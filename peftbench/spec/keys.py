"""Look up dotted keys in the spec's schema, with suggestions for unknown ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from peftbench.errors import did_you_mean
from peftbench.methods.options import MethodOptions
from peftbench.renames import current_key
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.text import clean

_LABELS = ("preset", "workload")


@dataclass(frozen=True, slots=True)
class KeyNode:
    """What a dotted key refers to: a value, a table (`models`: its possible schemas) or, with `free`, anything.

    `optional`: None is allowed. `takes_none`: the string "none" is one of its literal values.
    """

    models: tuple[type[BaseModel], ...] = ()
    optional: bool = False
    free: bool = False
    takes_none: bool = False


class UnknownKey(Exception):
    """A dotted key that is not in the spec's schema."""

    def __init__(self, key: str, allowed: Collection[str]) -> None:
        super().__init__(f"unknown key '{clean(key)}'{did_you_mean(key.rpartition('.')[2], allowed)}")
        self.allowed = tuple(allowed)


def schema_node(key: str, options: type[MethodOptions] | None = None, tasks: Collection[str] | None = None) -> KeyNode:
    """Return the schema node that a dotted key refers to.

    Args:
        key: such as "train.lr" or "head.tasks.sst.dropout"; former names are accepted.
        options: the method's options; None accepts any key below `method`.
        tasks: the workload's task names; None accepts any name.

    Raises:
        UnknownKey: the key is not in the schema.
    """
    key = current_key(key)
    reached = KeyNode((RunSpec,))
    parts = key.split(".")
    for depth, part in enumerate(parts, start=1):
        if reached.free:
            return reached
        above = ".".join(parts[: depth - 1])
        if above in ("tasks", "head.tasks"):
            reached = _of_task(parts, depth, tasks, TaskSpec if above == "tasks" else None)
            continue
        if key != "method" and part == "method" and depth == 1:
            reached = KeyNode((options,)) if options is not None else KeyNode(free=True)
            continue
        fields = _fields(reached)
        allowed = [name for name in fields if depth > 1 or name not in _LABELS]
        if part not in allowed:
            raise UnknownKey(".".join(parts[:depth]), allowed)
        reached = _node(fields[part])
    return reached


def table_keys(node: KeyNode) -> list[str]:
    """Return the keys of a table; an empty list for a value."""
    return list(_fields(node))


def _of_task(parts: list[str], depth: int, tasks: Collection[str] | None, model: type[BaseModel] | None) -> KeyNode:
    name = parts[depth - 1]
    if tasks is not None and name not in tasks:
        raise UnknownKey(".".join(parts[:depth]), tasks)
    if model is not None:
        return KeyNode((model,))
    return _node(_fields(_node(RunSpec.model_fields["head"].annotation))["tasks"], of_values=True)


def _fields(node: KeyNode) -> dict[str, Any]:
    """Return the annotations of a table's keys, over all of its possible schemas."""
    return {name: field.annotation for model in node.models for name, field in model.model_fields.items()}


def _node(annotation: Any, of_values: bool = False) -> KeyNode:
    parts = list(_parts(annotation))
    if of_values:
        parts = [part for each in parts if get_origin(each) is dict for part in _parts(get_args(each)[1])]
    models = tuple(part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))
    holds_any = any(get_origin(part) is dict and get_args(part)[1] is Any for part in parts)
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return KeyNode(models, NoneType in parts, holds_any, "none" in words)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, with `Annotated` stripped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def flat_keys(tables: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of nested tables, empty tables included."""
    for key, value in tables.items():
        if isinstance(value, Mapping) and value:
            yield from flat_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
