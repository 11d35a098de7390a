"""DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353).

    W' = m * (W0 + s B A) / ||W0 + s B A||                                                  (eq. 5)

m starts at ||W0||, so that training starts from the pretrained function. The norm is a constant in
backward (section 4.3). It is taken per output feature (dim 1 of torch's [out, in] weight) as the authors'
code and HF PEFT do; `norm_axis = "input"` takes it per input feature, the literal reading of "column".

With the norm a constant, W' x needs no W': a row scale leaves through the output, a column scale enters
through the input. That is what `forward` computes; `weight` is the equation itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.methods.lora import LoraAdapter, LowRank
from peftbench.methods.options import DoraOptions


class DoraAdapter(LoraAdapter):
    """One task's adapter on one linear layer: LoRA's weights and a magnitude m, `[out]` or `[in]`."""

    def __init__(self, base: nn.Linear, options: DoraOptions, rng: torch.Generator) -> None:
        super().__init__(base, options, rng)
        self.dim = 1 if options.norm_axis == "output" else 0
        self.m = nn.Parameter(torch.linalg.vector_norm(base.weight.detach(), dim=self.dim))

    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return W' x + b, `[..., out]`, for x, `[..., in]`.

        With dropout, only the low-rank part's input is dropped. (HF PEFT drops it for the change of W0 x too.)
        """
        factor = self.m / self.norm(base)
        if self.dim == 1:
            h = factor * (F.linear(x, base.weight) + self.low_rank(x))
        else:
            h = F.linear(factor * x, base.weight) + self.low_rank(factor * x)
        return h if base.bias is None else h + base.bias

    @torch.no_grad()
    def norm(self, base: nn.Linear) -> Tensor:
        """Return ||W0 + s B A|| along the norm axis, a constant in backward."""
        return torch.linalg.vector_norm(base.weight + self.scale * (self.B @ self.A), dim=self.dim)

    def weight(self, base: nn.Linear) -> Tensor:
        """Return W', `[out, in]`: equation 5 as it stands, for tests and merging."""
        factor = (self.m / self.norm(base)).unsqueeze(self.dim)
        return factor * (base.weight + self.scale * (self.B @ self.A))


class Dora(LowRank[DoraOptions]):
    """The method `dora`."""

    adapter = DoraAdapter
