"""Layers with an adapter for each task, and the methods that put them on an encoder's linear layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from peftbench.errors import UsageError
from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.quantized import plain
from peftbench.methods.base import Method, freeze
from peftbench.methods.options import LoraOptions, MethodOptions
from peftbench.methods.targets import ranks_of, target_names
from peftbench.methods.task_weights import TaskWeights, beside_adapters
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


class Adapted(nn.Module):
    """A frozen layer with one adapter a task; `active` points at the one in use."""

    active: Adapter

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted layer's output for the active task."""
        return cast("Tensor", self.active(x, self.base))

    def each(self) -> list[Adapter]:
        """Return the adapters of all tasks."""
        return [cast("Adapter", adapter) for adapter in self.adapters.values()]

    def switch_mode(self, task: str) -> None:
        """Point at the task's adapter, without registering it as a second child."""
        object.__setattr__(self, "active", self.adapters[task])


class AdaptedLinear(Adapted):
    """A frozen linear layer with one adapter a task."""

    base: nn.Linear

    @property
    def weight(self) -> Tensor:
        """The frozen weight, whose dtype T5's layers read."""
        return self.base.weight

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


def replace(encoder: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one of that name."""
    parent, _, attribute = name.rpartition(".")
    setattr(encoder.get_submodule(parent), attribute, module)


AnyOptions = TypeVar("AnyOptions", bound=MethodOptions)
LoraLike = TypeVar("LoraLike", bound=LoraOptions)


class OnLayers(Method[AnyOptions]):
    """Puts one adapter a task on some layers, and gives each task a copy of some other weights.

    Which layers, what the adapter computes and which weights is the subclass's.
    """

    adapter: type[Adapter]
    wrapper: type[Adapted] = AdaptedLinear

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder and wrap the layers.

        Raises:
            UsageError: the encoder has no such layers.
        """
        self.names = tuple(self.places(encoder))
        copied = self.copied(encoder)
        if both := sorted(copied.keys() & set(self.names)):
            raise UsageError(f"method.targets: {both[0]} cannot have adapters and be trained as a whole, too")
        freeze(encoder)
        self.weights = TaskWeights(encoder, copied, tasks)
        self.layers: list[Adapted] = []
        for name in self.names:
            layer = self.wrapper(encoder.get_submodule(name))
            for task in tasks:
                rng = generator(seed, "adapter", task, name)
                layer.adapters[task] = self.adapter(cast("nn.Linear", layer.base), self.options_of(name), rng)
            replace(encoder, name, layer)
            self.layers.append(layer)
        self.switch_mode(tasks[0])

    def options_of(self, name: str) -> AnyOptions:
        """Return the options of the adapters on one layer."""
        return self.options

    @abstractmethod
    def places(self, encoder: nn.Module) -> list[str]:
        """Return the names of the layers to put adapters on."""

    def copied(self, encoder: nn.Module) -> Mapping[str, Sequence[str]]:
        """Return the names of the weights of which each task trains a copy, by the name of their module."""
        return {}

    @property
    def adapted(self) -> tuple[str, ...]:
        """The names of the adapted layers, and of the modules of which each task has a copy."""
        return (*self.names, *self.weights.names)

    @property
    def unmixable(self) -> str | None:
        """Why a batch cannot hold rows of several tasks."""
        return f"each task has its own {self.weights.names[0]}" if self.weights.names else None

    def switch_mode(self, task: str) -> None:
        """One pointer a layer."""
        for layer in self.layers:
            layer.switch_mode(task)
        self.weights.switch_mode(task)


class LowRank(OnLayers[LoraLike]):
    """Puts one adapter a task on every target; what the adapter computes is the subclass's."""

    def places(self, encoder: nn.Module) -> list[str]:
        """Return the names of the targets.

        Raises:
            UsageError: a target, or a key of `rank_pattern`, names no linear layer of this encoder.
        """
        names = target_names(encoder, self.options.targets, self.options.layers)
        self.ranks = ranks_of(encoder, names, self.options.rank_pattern)
        return names

    def options_of(self, name: str) -> LoraLike:
        """Return the options with the layer's own rank, and the alpha that keeps the scale."""
        rank = self.ranks.get(name, self.options.rank)
        if rank == self.options.rank:
            return self.options
        return self.options.model_copy(update={"rank": rank, "alpha": self.options.alpha * rank / self.options.rank})

    def copied(self, encoder: nn.Module) -> Mapping[str, Sequence[str]]:
        """Return the weights that `train_norms`, `train_embeddings` and `train_pooler` name."""
        return beside_adapters(encoder, self.options)

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
        self.weights.merge(task)
