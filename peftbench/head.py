"""The head of a task: dropout and linear layers on a text embedding, initialised from the run's seed.

linear    dropout, linear
mlp       (dropout, linear, GELU) for each hidden layer, then dropout, linear
"""

from __future__ import annotations

import math

from torch import nn

from peftbench.seeds import generator
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec


def build_head(task: TaskSpec, width: int, spec: RunSpec) -> nn.Sequential:
    """Build the head of a task.

    The output layer's initial values depend only on its width: hidden layers use separate random streams.

    Args:
        task: the task.
        width: of the input vectors.
        spec: defines head kind, dropout and seed.
    """
    shape = spec.head.of(task.name)
    hidden = [shape.width or width] * (shape.layers if shape.kind == "mlp" else 0)
    modules: list[nn.Module] = []
    for number, size in enumerate(hidden):
        modules += [
            nn.Dropout(shape.dropout),
            _linear(width, size, spec.seed, task.name, f"hidden-{number}"),
            nn.GELU(),
        ]
        width = size
    return nn.Sequential(
        *modules, nn.Dropout(shape.dropout), _linear(width, task.outputs, spec.seed, task.name, bias=shape.bias)
    )


def weights_of(head: nn.Module) -> dict[str, nn.Parameter]:
    """Return a head's weights by name: `weight`, `bias`; with hidden layers `0.weight`, `0.bias` and so on."""
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    return {
        f"{number}.{name}" if len(layers) > 1 else name: weight
        for number, layer in enumerate(layers)
        for name, weight in layer.named_parameters()
    }


def _linear(width: int, outputs: int, seed: int, *use: str, bias: bool = True) -> nn.Linear:
    """Return a linear layer with torch's default initialisation, drawn from the run's seed."""
    linear = nn.Linear(width, outputs, bias=bias)
    rng = generator(seed, "head", *use)
    nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5), generator=rng)
    if bias:
        nn.init.uniform_(linear.bias, -1 / math.sqrt(width), 1 / math.sqrt(width), generator=rng)
    return linear
