"""Which methods there are. Light: an implementation is imported only when a run needs it.

A plug-in joins through the entry-point group `peftbench.methods`: each entry point is a `MethodInfo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from peftbench.errors import UsageError, did_you_mean
from peftbench.methods import options

if TYPE_CHECKING:
    from peftbench.methods.base import Method

ENTRY_POINT_GROUP = "peftbench.methods"
_THROUGH_PEFT = "peftbench.methods.through_peft:ThroughPeft"


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method's name, its options and where it is implemented (`"module:Class"`, a `Method`).

    `independent_tasks` says that no trainable weight is shared by two tasks, so that the best epoch
    may be chosen for each task by itself. `peft` is the folder of HF PEFT's tuner, where there is one; then the
    method runs through PEFT too, or, without an `implementation` of ours, only there.
    """

    name: str
    summary: str
    options: type[options.MethodOptions]
    implementation: str | None
    independent_tasks: bool
    peft: str | None = None

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The spec's `runtime`s that this method has, the preferred one first."""
        return (("native", "transformers") if self.implementation else ()) + (("peft",) if self.peft else ())

    def load(self, runtime: str = "native") -> type[Method]:
        """Import and return the implementing class."""
        place = _THROUGH_PEFT if runtime == "peft" else self.implementation
        if place is None:
            raise UsageError(f"method {self.name} has no runtime '{runtime}': {', '.join(self.runtimes)}")
        module, _, attribute = place.partition(":")
        found: type[Method] = getattr(import_module(module), attribute)
        return found

    def is_installed(self) -> bool:
        """Tell whether the method can run here: false where it needs a PEFT that has it. Imports nothing."""
        if self.implementation is not None:
            return True
        package = find_spec("peft")
        folders = (package.submodule_search_locations or ()) if package else ()
        return any((Path(folder) / "tuners" / (self.peft or "")).is_dir() for folder in folders)


_BUILT_IN = (
    MethodInfo(
        "last-layer",
        "the encoder frozen, one head a task trained",
        options.LastLayerOptions,
        "peftbench.methods.plain:LastLayer",
        independent_tasks=True,
    ),
    MethodInfo(
        "full",
        "every weight of the encoder trained, shared by all tasks",
        options.FullOptions,
        "peftbench.methods.plain:Full",
        independent_tasks=False,
    ),
    MethodInfo(
        "lora",
        "low-rank adapters, one set a task (Hu et al. 2021)",
        options.LoraOptions,
        "peftbench.methods.lora:Lora",
        independent_tasks=True,
        peft="lora",
    ),
    MethodInfo(
        "dora",
        "weight-decomposed low-rank adapters, one set a task (Liu et al. 2024)",
        options.DoraOptions,
        "peftbench.methods.dora:Dora",
        independent_tasks=True,
        peft="lora",
    ),
    MethodInfo(
        "loraplus",
        "LoRA whose B learns faster than its A (Hayou et al. 2024)",
        options.LoraPlusOptions,
        "peftbench.methods.lora:LoraPlus",
        independent_tasks=True,
        peft="lora",
    ),
    MethodInfo(
        "delta-lora",
        "LoRA whose frozen weight moves by the change of B A (Zi et al. 2023)",
        options.DeltaLoraOptions,
        "peftbench.methods.delta_lora:DeltaLora",
        independent_tasks=True,
    ),
    *(
        MethodInfo(name, summary, chosen, None, independent_tasks=True, peft=folder)
        for name, summary, chosen, folder in (
            ("rslora", "LoRA with the scale alpha / sqrt(rank) (Kalajdzievski 2023)", options.RsLoraOptions, "lora"),
            ("pissa", "LoRA from the principal singular vectors (Meng et al. 2024)", options.PissaOptions, "lora"),
            ("adalora", "ranks move to where they matter (Zhang et al. 2023)", options.AdaLoraOptions, "adalora"),
            (
                "vera",
                "scaling vectors, shared random matrices (Kopiczko et al. 2023)",
                options.VeraOptions,
                "vera",
            ),
            ("ia3", "learned vectors that scale activations (Liu et al. 2022)", options.Ia3Options, "ia3"),
            ("oft", "orthogonal rotations in blocks (Qiu et al. 2023)", options.OftOptions, "oft"),
            ("boft", "orthogonal rotations as butterflies (Liu et al. 2023)", options.BoftOptions, "boft"),
            ("ln-tuning", "only the layer norms (Zhao et al. 2023)", options.LnTuningOptions, "ln_tuning"),
            ("peft", "any other tuner of HF PEFT, configured as there", options.PeftOptions, "."),
        )
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
