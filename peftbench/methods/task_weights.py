"""Weights of an encoder's own modules of which each task has a copy: biases, norms, embeddings, the pooler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

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


def norms(encoder: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the weights of the encoder's normalisation layers, by the layer's name."""
    chosen = {
        name: tuple(weight for weight, _ in module.named_parameters(recurse=False))
        for name, module in encoder.named_modules()
        if type(module).__name__.endswith("Norm")
    }
    return {name: weights for name, weights in chosen.items() if weights}
