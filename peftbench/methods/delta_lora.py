"""Delta-LoRA: the frozen weight changes too, by the change of the low-rank product (Zi et al. 2023, arXiv 2309.02411).

    W(t+1) = W(t) + lambda s (B(t+1) A(t+1) - B(t) A(t))      for t >= K,    h = W(t) x + s B A x

W gets no gradient of its own. The sum telescopes: W(t) = W0 + lambda s (B(t) A(t) - B(K) A(K)). So each task has
its own W at the cost of one more pair, B(K) and A(K), and W0 is unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.kernels.linear import FrozenWeight
from peftbench.methods.adapted import LowRank
from peftbench.methods.lora import LoraAdapter
from peftbench.methods.options import DeltaLoraOptions


class DeltaLoraAdapter(LoraAdapter):
    """One task's adapter on one linear layer. `A_K` and `B_K` are buffers: saved with it, not trained."""

    is_fast = True

    A_K: Tensor
    B_K: Tensor
    moving: Tensor

    def __init__(self, base: nn.Linear, options: DeltaLoraOptions, rng: torch.Generator) -> None:
        super().__init__(base, options, rng)
        self.ratio = options.ratio
        self.register_buffer("A_K", torch.zeros_like(self.A.detach()))
        self.register_buffer("B_K", torch.zeros_like(self.B.detach()))
        self.register_buffer("moving", torch.zeros(()))  # 1 from step K on; a tensor, so that it is saved

    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return W(t) x + b + s B A x, `[..., out]`, for x, `[..., in]`."""
        return base(x) + self.low_rank(x) + self.moved(x)

    def moved(self, x: Tensor) -> Tensor:
        """Return (W(t) - W0) x, with a gradient for x only."""
        A, B = torch.cat([self.A.detach(), self.A_K]), torch.cat([self.B.detach(), -self.B_K], dim=1)
        return self.moving * self.ratio * self.scale * F.linear(F.linear(x, A), B)

    def weight(self, base: nn.Linear) -> Tensor:
        """Return W(t) + s B A, `[out, in]`."""
        product = self.B @ self.A
        return base.weight + self.scale * (product + self.moving * self.ratio * (product - self.B_K @ self.A_K))

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return the same as `forward`, for x, `[n, in]`."""
        return super().fast(x, base) + self.moved(x)

    def apply_inplace_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
        """Turn u = W0 x into the result of `forward`, in place and without autograd."""
        super().apply_inplace_(u, x, base)
        u.add_(self.moved(x))

    @torch.no_grad()
    def start(self) -> None:
        """Start changing W, from this step on."""
        self.A_K.copy_(self.A)
        self.B_K.copy_(self.B)
        self.moving.fill_(1)


class DeltaLora(LowRank[DeltaLoraOptions]):
    """The method `delta-lora`."""

    adapter = DeltaLoraAdapter

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder and wrap its targets; with `start = 0`, W changes from the first step."""
        super().attach(encoder, tasks, seed)
        self.steps = dict.fromkeys(tasks, 0)
        if self.options.start == 0:
            for task in tasks:
                self._start(task)

    def after_step(self, task: str) -> None:
        """Start changing a task's W after its step K."""
        self.steps[task] += 1
        if self.steps[task] == self.options.start:
            self._start(task)

    def state(self) -> dict[str, Any]:
        """Return the number of steps of each task; A_K, B_K and `moving` are buffers."""
        return {"steps": dict(self.steps)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore such a state."""
        self.steps = dict(state["steps"])

    def _start(self, task: str) -> None:
        for layer in self.layers:
            cast("DeltaLoraAdapter", layer.adapters[task]).start()
