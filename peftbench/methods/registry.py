"""Which methods there are. Light: an implementation is imported only when a run needs it.

A plug-in joins through the entry-point group `peftbench.methods`: each entry point is a `MethodInfo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from peftbench.errors import UsageError, did_you_mean
from peftbench.methods.options import (
    DoraOptions,
    FullOptions,
    LastLayerOptions,
    LoraOptions,
    MethodOptions,
)

if TYPE_CHECKING:
    from peftbench.methods.base import Method

ENTRY_POINT_GROUP = "peftbench.methods"


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method's name, its options and where it is implemented (`"module:Class"`, a `Method`).

    `independent_tasks` says that no trainable weight is shared by two tasks, so that the best epoch
    may be chosen for each task by itself.
    """

    name: str
    summary: str
    options: type[MethodOptions]
    implementation: str
    independent_tasks: bool

    def load(self) -> type[Method]:
        """Import and return the implementing class."""
        module, _, attribute = self.implementation.partition(":")
        found: type[Method] = getattr(import_module(module), attribute)
        return found


_BUILT_IN = (
    MethodInfo(
        "last-layer",
        "the encoder frozen, one linear head a task trained",
        LastLayerOptions,
        "peftbench.methods.plain:LastLayer",
        independent_tasks=True,
    ),
    MethodInfo(
        "full",
        "every weight of the encoder trained, shared by all tasks",
        FullOptions,
        "peftbench.methods.plain:Full",
        independent_tasks=False,
    ),
    MethodInfo(
        "lora",
        "low-rank adapters, one set a task (Hu et al. 2021)",
        LoraOptions,
        "peftbench.methods.lora:Lora",
        independent_tasks=True,
    ),
    MethodInfo(
        "dora",
        "weight-decomposed low-rank adapters, one set a task (Liu et al. 2024)",
        DoraOptions,
        "peftbench.methods.dora:Dora",
        independent_tasks=True,
    ),
)


@cache
def registered() -> dict[str, MethodInfo]:
    """Return every method by name: the built-in ones, then those of installed plug-ins.

    Raises:
        UsageError: a plug-in cannot be imported, is no `MethodInfo`, or takes a name already taken.
    """
    from importlib.metadata import entry_points

    methods = {info.name: info for info in _BUILT_IN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            info = point.load()
        except Exception as error:
            raise UsageError(
                f"the method plug-in '{point.name}' ({point.value}) cannot be imported: {error}",
                "mend or uninstall the package that declares it",
            ) from error
        if not isinstance(info, MethodInfo):
            raise UsageError(f"the method plug-in '{point.name}' ({point.value}) is not a MethodInfo")
        if info.name in methods:
            raise UsageError(f"the method plug-in '{point.value}' takes the name '{info.name}', already taken")
        methods[info.name] = info
    return methods


def method_info(name: str) -> MethodInfo:
    """Return the method of that name; the built-in ones without looking for plug-ins.

    Raises:
        UsageError: no such method; the message lists those there are.
    """
    for info in _BUILT_IN:
        if info.name == name:
            return info
    methods = registered()
    if name not in methods:
        raise UsageError(f"unknown method '{name}'{did_you_mean(name, methods)}", f"methods: {', '.join(methods)}")
    return methods[name]
