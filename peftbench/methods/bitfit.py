"""BitFit: only the bias terms are trained (Ben Zaken et al. 2022, arXiv 2106.10199).

    h = W0 x + b,    LN(x) = g0 * (x - mean) / deviation + b                        (section 3)

W0 and g0 are frozen; every b of the encoder starts at its pretrained value, and each task has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.errors import UsageError
from peftbench.kernels.linear import FrozenWeight
from peftbench.methods.adapted import Adapted, Adapter, OnLayers, replace
from peftbench.methods.options import BitFitOptions


class BiasAdapter(Adapter):
    """One task's bias of one linear layer: `out` weights."""

    is_fast = True

    def __init__(self, base: nn.Linear, options: Any, rng: torch.Generator) -> None:
        super().__init__(base, options, rng)
        self.bias = nn.Parameter(base.bias.detach().clone())

    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return W0 x + b, `[..., out]`, for x, `[..., in]`."""
        return F.linear(x, base.weight, self.bias)

    def weight(self, base: nn.Linear) -> Tensor:
        """Return W0: the bias is not part of it."""
        return base.weight

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return the same, for x, `[n, in]`; nothing is saved for backward."""
        return base(x, bias=False) + self.bias

    def apply_inplace_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
        """Turn u = W0 x into the result of `forward`, in place and without a graph."""
        u.add_(self.bias)


class BitFit(OnLayers[BitFitOptions]):
    """The method `bitfit`."""

    adapter = BiasAdapter

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder and give each task a copy of its biases.

        Raises:
            UsageError: it has none.
        """
        if not any(name.endswith("bias") for name, _ in encoder.named_parameters()):
            raise UsageError(
                f"method bitfit: {type(encoder).__name__} has no bias terms", "use another method: --preset lora-r12"
            )
        super().attach(encoder, tasks, seed)

    def places(self, encoder: nn.Module) -> list[str]:
        """Return the names of the linear layers with a bias."""
        return [name for name, module in encoder.named_modules() if _is_biased_linear(module)]

    def copied(self, encoder: nn.Module) -> Mapping[str, Sequence[str]]:
        """Return the biases of all other modules."""
        biases = {
            name: [weight for weight, _ in module.named_parameters(recurse=False) if weight.endswith("bias")]
            for name, module in encoder.named_modules()
            if not _is_biased_linear(module)
        }
        return {name: own for name, own in biases.items() if own}

    def merge(self, encoder: nn.Module, task: str) -> None:
        """Make the task's biases the encoder's own."""
        for name, module in list(encoder.named_modules()):
            if isinstance(module, Adapted):
                bias = module.get_submodule(f"adapters.{task}").get_parameter("bias")
                module.base.register_parameter("bias", nn.Parameter(bias.detach(), requires_grad=False))
                replace(encoder, name, module.base)
        self.layers = []
        self.weights.merge(task)


def _is_biased_linear(module: nn.Module) -> bool:
    return type(module) is nn.Linear and module.bias is not None
