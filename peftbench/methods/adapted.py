"""Linear layers with an adapter for each task, and the methods that put them on an encoder's targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.quantized import plain
from peftbench.methods.base import Method, freeze
from peftbench.methods.options import LoraOptions
from peftbench.methods.targets import target_names
from peftbench.seeds import generator


class Adapter(nn.Module, ABC):
    """One task's adapter on one linear layer.

    `forward` defines what it computes. On the native runtime an adapter with `is_fast` computes the same by `fast`
    (with a graph) and `apply_inplace_` (for a batch of several tasks). A subclass that overrides `forward` is not fast
    unless it sets `is_fast` itself.
    """

    is_fast: ClassVar[bool] = False
    needs_backward: ClassVar[bool] = False  # of W0, even where the input needs no gradient
    needs_norms: ClassVar[bool] = False  # of W0's rows and columns

    def __init__(self, base: nn.Linear, options: Any, rng: torch.Generator) -> None:
        super().__init__()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls) and "is_fast" not in vars(cls):
            cls.is_fast = False
        if cls.is_fast and (cls.fast is Adapter.fast or cls.apply_inplace_ is Adapter.apply_inplace_):
            raise TypeError(f"{cls.__name__} has is_fast = True without `fast` and `apply_inplace_`")

    @abstractmethod
    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return the adapted layer's output, `[..., out]`, for x, `[..., in]`."""

    @abstractmethod
    def weight(self, base: nn.Linear) -> Tensor:
        """Return the adapted weight, `[out, in]`: for tests and merging."""

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return what `forward` does, for x, `[n, in]`, saving as little as possible for backward; if `is_fast`."""
        raise NotImplementedError  # never called otherwise

    def apply_inplace_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
        """Turn u = W0 x into what `forward` returns, in place and without a graph, for rows of a batch (`is_fast`)."""
        raise NotImplementedError  # never called otherwise


class AdaptedLinear(nn.Module):
    """A frozen linear layer with one adapter a task; `active` points at the one in use."""

    active: Adapter

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted layer's output for the active task."""
        return cast("Tensor", self.active(x, self.base))

    def forward_multitask(self, x: Tensor, rows: Sequence[tuple[str, int]], base: FrozenWeight | None) -> Tensor:
        """Return `[n, out]` for rows of several tasks, one task's after another's, without a graph.

        Args:
            x: `[n, in]`.
            rows: (task, how many) in their order; together n.
            base: the packed W0, multiplied by once; None: each task's rows go through its plain adapter.
        """
        parts = x.split([count for _, count in rows])
        adapters = [cast("Adapter", self.adapters[task]) for task, _ in rows]
        if base is None:
            return torch.cat([adapter(part, self.base) for adapter, part in zip(adapters, parts, strict=True)])
        u = base.forward(x, bias=False)
        for adapter, part, out in zip(adapters, parts, u.split([count for _, count in rows]), strict=True):
            adapter.apply_inplace_(out, part, base)
        return u

    def each(self) -> list[Adapter]:
        """Return the adapters of all tasks."""
        return [cast("Adapter", adapter) for adapter in self.adapters.values()]

    def switch_mode(self, task: str) -> None:
        """Point at the task's adapter, without registering it as a second child."""
        object.__setattr__(self, "active", self.adapters[task])


def replace(encoder: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one of that name."""
    parent, _, attribute = name.rpartition(".")
    setattr(encoder.get_submodule(parent), attribute, module)


LoraLike = TypeVar("LoraLike", bound=LoraOptions)


class LowRank(Method[LoraLike]):
    """Puts one adapter a task on every target; what the adapter computes is the subclass's."""

    adapter: type[Adapter]

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder and wrap its targets.

        Raises:
            UsageError: a target names no linear layer of this encoder.
        """
        names = target_names(encoder, self.options.targets, self.options.layers)
        freeze(encoder)
        self.names = tuple(names)
        self.layers: list[AdaptedLinear] = []
        for name in names:
            layer = AdaptedLinear(cast("nn.Linear", encoder.get_submodule(name)))
            for task in tasks:
                rng = generator(seed, "adapter", task, name)
                layer.adapters[task] = self.adapter(layer.base, self.options, rng)
            replace(encoder, name, layer)
            self.layers.append(layer)
        self.switch_mode(tasks[0])

    @property
    def adapted(self) -> tuple[str, ...]:
        """The names of the adapted layers."""
        return self.names

    def switch_mode(self, task: str) -> None:
        """One pointer a layer."""
        for layer in self.layers:
            layer.switch_mode(task)

    @torch.no_grad()
    def merge(self, encoder: nn.Module, task: str) -> None:
        """Put W' in the place of each target."""
        for name, module in list(encoder.named_modules()):
            if isinstance(module, AdaptedLinear):
                adapter = cast("Adapter", module.adapters[task])
                weight, base = adapter.weight(module.base), plain(module.base)
                base.weight = nn.Parameter(weight, requires_grad=False)
                replace(encoder, name, base)
        self.layers = []
