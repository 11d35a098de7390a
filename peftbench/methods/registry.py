"""Registry of methods. Light: an implementation is imported only when a run needs it.

Plug-ins register through the entry-point group `peftbench.methods`: each entry point is a `MethodInfo`.
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
_THROUGH_PEFT = "peftbench.methods.peft_tuners:PeftTuner"


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method's name, its options and its implementation (`"module:Class"`, a `Method`).

    `independent_tasks`: no trainable weight is shared by two tasks, so that the best epoch may be chosen for each task
    separately. `peft`: the folder of HF PEFT's tuner, where there is one; the method then runs through PEFT too, or,
    without an `implementation` of peftbench's own, only there. `quantized`: it leaves the base weights as they are, and
    trains on quantized ones. `not_native`: why the native runtime cannot compute it.
    """

    name: str
    summary: str
    options: type[options.MethodOptions]
    implementation: str | None
    independent_tasks: bool
    peft: str | None = None
    quantized: bool = False
    not_native: str = ""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The `runtime` values that this method supports, the preferred one first."""
        own = ("transformers",) if self.not_native else ("native", "transformers")
        return (own if self.implementation else ()) + (("peft",) if self.peft else ())

    def why_not(self, runtime: str) -> str:
        """Return why the method has not got a runtime, and what it has."""
        reason = f" ({self.not_native})" if runtime == "native" and self.not_native else ""
        return f"method {self.name} has no runtime '{runtime}'{reason}: use --set runtime={self.runtimes[0]}"

    def load(self, runtime: str = "native") -> type[Method]:
        """Import and return the implementing class."""
        entry_point = _THROUGH_PEFT if runtime == "peft" else self.implementation
        if entry_point is None:
            raise UsageError(self.why_not(runtime))
        module, _, attribute = entry_point.partition(":")
        method_class: type[Method] = getattr(import_module(module), attribute)
        return method_class

    def is_installed(self) -> bool:
        """Tell whether the method can run here: False where it needs a PEFT version that has it. Imports nothing."""
        if self.implementation is not None:
            return True
        package = find_spec("peft")
        folders = (package.submodule_search_locations or ()) if package else ()
        return any((Path(folder) / "tuners" / (self.peft or "")).is_dir() for folder in folders)


_ON_QUANTIZED = ("rslora", "ia3")  # of those through PEFT alone

_BUILT_IN = (
    MethodInfo(
        "last-layer",
        "the encoder frozen, one head per task trained",
        options.LastLayerOptions,
        "peftbench.methods.plain:LastLayer",
        independent_tasks=True,
        quantized=True,
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
        "low-rank adapters, one set per task (Hu et al. 2021)",
        options.LoraOptions,
        "peftbench.methods.lora:Lora",
        independent_tasks=True,
        peft="lora",
        quantized=True,
    ),
    MethodInfo(
        "dora",
        "weight-decomposed low-rank adapters, one set per task (Liu et al. 2024)",
        options.DoraOptions,
        "peftbench.methods.dora:Dora",
        independent_tasks=True,
        peft="lora",
        quantized=True,
    ),
    MethodInfo(
        "loraplus",
        "LoRA with a higher learning rate for B than for A (Hayou et al. 2024)",
        options.LoraPlusOptions,
        "peftbench.methods.lora:LoraPlus",
        independent_tasks=True,
        peft="lora",
        quantized=True,
    ),
    MethodInfo(
        "delta-lora",
        "LoRA whose frozen weight changes by the change of B A (Zi et al. 2023)",
        options.DeltaLoraOptions,
        "peftbench.methods.delta_lora:DeltaLora",
        independent_tasks=True,
    ),
    MethodInfo(
        "bitfit",
        "only the biases, one set per task (Ben Zaken et al. 2022)",
        options.BitFitOptions,
        "peftbench.methods.bitfit:BitFit",
        independent_tasks=True,
    ),
    MethodInfo(
        "houlsby",
        "two bottleneck adapters a layer, and its norms (Houlsby et al. 2019)",
        options.HoulsbyOptions,
        "peftbench.methods.bottleneck:Houlsby",
        independent_tasks=True,
    ),
    MethodInfo(
        "pfeiffer",
        "one bottleneck adapter a layer, after its last norm (Pfeiffer et al. 2021)",
        options.PfeifferOptions,
        "peftbench.methods.bottleneck:Pfeiffer",
        independent_tasks=True,
        not_native="its adapter takes the place of a norm, which the native runtime joins with the residual",
    ),
    *(
        MethodInfo(name, summary, chosen, None, independent_tasks=True, peft=folder, quantized=name in _ON_QUANTIZED)
        for name, summary, chosen, folder in (
            ("rslora", "LoRA with the scale alpha / sqrt(rank) (Kalajdzievski 2023)", options.RsLoraOptions, "lora"),
            ("pissa", "LoRA from the principal singular vectors (Meng et al. 2024)", options.PissaOptions, "lora"),
            ("adalora", "ranks shift to important layers (Zhang et al. 2023)", options.AdaLoraOptions, "adalora"),
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
            ("peft", "any other tuner of HF PEFT, with PEFT's configuration", options.PeftOptions, "."),
        )
    ),
)


@cache
def registered() -> dict[str, MethodInfo]:
    """Return every method by name: the built-in ones, then those of installed plug-ins.

    Raises:
        UsageError: a plug-in cannot be imported, is not a `MethodInfo`, or uses a name already taken.
    """
    from importlib.metadata import entry_points

    methods = {info.name: info for info in _BUILT_IN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            info = point.load()
        except Exception as error:
            raise UsageError(
                f"the method plug-in '{point.name}' ({point.value}) cannot be imported: {error}",
                "fix or uninstall the package that declares it",
            ) from error
        if not isinstance(info, MethodInfo):
            raise UsageError(f"the method plug-in '{point.name}' ({point.value}) is not a MethodInfo")
        if info.name in methods:
            raise UsageError(f"the method plug-in '{point.value}' uses the name '{info.name}', which is already taken")
        methods[info.name] = info
    return methods


def method_info(name: str) -> MethodInfo:
    """Return the method of a name; built-in ones without searching plug-ins.

    Raises:
        UsageError: unknown method; the message lists the known ones.
    """
    for info in _BUILT_IN:
        if info.name == name:
            return info
    methods = registered()
    if name not in methods:
        raise UsageError(f"unknown method '{name}'{did_you_mean(name, methods)}", f"methods: {', '.join(methods)}")
    return methods[name]
