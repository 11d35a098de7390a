"""Weights of an encoder's own modules of which each task has a copy: biases, norms, embeddings, the pooler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import nn

from peftbench.errors import UsageError
from peftbench.families import IN_A_LAYER
from peftbench.methods.options import LoraOptions
from peftbench.methods.targets import of_layers

COPIES = "adapters"  # the name that `Method.mark` gives a task's own weights


class _Copy(nn.Module):
    """One task's copies of a module's weights, by their names."""

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Parameter(getattr(module, name).detach().clone()))


class TaskWeights:
    """Gives each task a copy of some weights; the modules stay what they are, and compute with the active task's.

    A module keeps its copies in a module dict `adapters`. The active ones are plain attributes, in the place of its
    parameters, so that each weight has one name.

    Args:
        encoder: the encoder, changed in place.
        chosen: the names of weights by the name of their module, such as `("weight", "bias")`.
        tasks: the tasks.
    """

    def __init__(self, encoder: nn.Module, chosen: Mapping[str, Sequence[str]], tasks: Sequence[str]) -> None:
        self.names = tuple(chosen)
        self.modules: list[nn.Module] = []
        for name, weights in chosen.items():
            module = encoder.get_submodule(name)
            copies = nn.ModuleDict({task: _Copy(module, weights) for task in tasks})
            for weight in weights:
                del module._parameters[weight]
            module.add_module(COPIES, copies)
            self.modules.append(module)

    def switch_mode(self, task: str) -> None:
        """Let every module compute with a task's copies."""
        for module in self.modules:
            for name, weight in _copies(module, task).items():
                object.__setattr__(module, name, weight)

    def merge(self, task: str) -> None:
        """Make a task's copies the modules' own weights, irreversibly."""
        for module in self.modules:
            chosen = _copies(module, task)
            delattr(module, COPIES)
            for name, weight in chosen.items():
                module.__dict__.pop(name, None)
                module.register_parameter(name, nn.Parameter(weight.detach(), requires_grad=False))
        self.modules = []

    def of(self, task: str) -> dict[str, nn.Parameter]:
        """Return a task's weights by the names that they have in a plain encoder."""
        return {
            f"{module_name}.{name}": weight
            for module_name, module in zip(self.names, self.modules, strict=True)
            for name, weight in _copies(module, task).items()
        }


def _copies(module: nn.Module, task: str) -> dict[str, nn.Parameter]:
    return dict(module.get_submodule(f"{COPIES}.{task}").named_parameters())


def beside_adapters(encoder: nn.Module, options: LoraOptions) -> dict[str, tuple[str, ...]]:
    """Return the weights that LoRA's options train besides the adapters, by the name of their module.

    Raises:
        UsageError: the encoder has no such weights.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    if options.train_norms:
        every = norms(encoder)
        names = list(every) if options.layers is None else of_layers(list(every), options.layers)
        chosen |= {name: every[name] for name in names}
    if options.train_embeddings:
        chosen |= _required(embeddings(encoder), "train_embeddings", encoder)
    if options.train_pooler:
        chosen |= _required(
            _own_weights(encoder, lambda name, _: name.split(".")[0] == "pooler"), "train_pooler", encoder
        )
    return chosen


def embeddings(encoder: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the encoder's embedding tables outside its layers, by their names."""
    return _own_weights(encoder, lambda name, module: isinstance(module, nn.Embedding) and not IN_A_LAYER.search(name))


def norms(encoder: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the weights of the encoder's normalisation layers, by the layer's name."""
    return _own_weights(encoder, lambda _, module: type(module).__name__.endswith("Norm"))


def _own_weights(encoder: nn.Module, wanted: Callable[[str, nn.Module], bool]) -> dict[str, tuple[str, ...]]:
    chosen = {
        name: tuple(weight for weight, _ in module.named_parameters(recurse=False))
        for name, module in encoder.named_modules()
        if wanted(name, module)
    }
    return {name: weights for name, weights in chosen.items() if weights}


def _required(chosen: dict[str, tuple[str, ...]], option: str, encoder: nn.Module) -> dict[str, tuple[str, ...]]:
    if not chosen:
        raise UsageError(f"method.{option}: {type(encoder).__name__} has none", f"use --set method.{option}=false")
    return chosen
