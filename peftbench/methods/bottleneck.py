"""Bottleneck adapters: a small feed-forward network inside each layer, and one of them for each task.

    A(h) = U f(D h + d) + u,    D [m, hidden], U [hidden, m]

`houlsby` (Houlsby et al. 2019, arXiv 1902.00751, section 2.1) has two a layer, after the output projection of the
attention and after that of the feed-forward part, each before the residual is added. With o the projection's output
and x the residual,

    y = LN(o + A(o) + x)

D and U are drawn from a normal distribution of standard deviation 0.01, truncated at two of them, and d = u = 0, so
that A is nearly zero and the layer nearly what it was. The norms are trained too, a copy for each task.

`pfeiffer` (Pfeiffer et al. 2021, arXiv 2005.00247, as written in arXiv 2005.00052, equation 1) has one a layer, after
the norm of the feed-forward part; its residual is the norm's input s = o + x, and the same norm follows it:

    y = LN(A(LN(s)) + s)

Dropout of the encoder's sublayers comes after `houlsby`'s adapters, and before `pfeiffer`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.errors import UsageError
from peftbench.kernels.linear import FrozenWeight
from peftbench.methods.adapted import Adapted, Adapter, OnLayers
from peftbench.methods.options import BottleneckOptions, HoulsbyOptions, PfeifferOptions
from peftbench.methods.targets import of_layers, sublayer_outputs
from peftbench.methods.task_weights import norms

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh,
}  # fmt: skip

BottleneckLike = TypeVar("BottleneckLike", bound=BottleneckOptions)

# What the norm after a layer's feed-forward part is called: beside the output projection, or one level above.
_NORMS_BESIDE = ("LayerNorm", "layer_norm", "full_layer_layer_norm")
_NORMS_ABOVE = ("output_layer_norm", "post_mlp_layernorm")


class Bottleneck(Adapter):
    """U f(D h + d) + u on vectors of some width: `2 m width + m + width` weights."""

    def __init__(self, base: nn.Module, options: BottleneckOptions, rng: torch.Generator) -> None:
        super().__init__(base, options, rng)  # type: ignore[arg-type]
        width = base.out_features if isinstance(base, nn.Linear) else len(base.get_parameter("weight"))
        self.D = _drawn(options.width(width), width, options.init_std, rng)
        self.d = nn.Parameter(torch.zeros(options.width(width)))
        self.U = _drawn(width, options.width(width), options.init_std, rng)
        self.u = nn.Parameter(torch.zeros(width))
        self.activation = _ACTIVATIONS[options.activation]

    def weight(self, base: nn.Linear) -> Tensor:
        """Refuse: A is not linear, so that no weight computes it."""
        raise UsageError(_Bottlenecks.unmergeable)

    def change(self, h: Tensor) -> Tensor:
        """Return A(h), `[..., width]`."""
        return F.linear(self.activation(F.linear(h, self.D, self.d)), self.U, self.u)


class HoulsbyAdapter(Bottleneck):
    """o + A(o) on a linear layer's output o."""

    is_fast = True

    def forward(self, x: Tensor, base: nn.Linear) -> Tensor:
        """Return o + A(o), `[..., out]`, for x, `[..., in]`."""
        o = base(x)
        return o + self.change(o)

    def fast(self, x: Tensor, base: FrozenWeight) -> Tensor:
        """Return the same, for x, `[n, in]`."""
        o = base(x)
        return o + self.change(o)

    def apply_inplace_(self, u: Tensor, x: Tensor, base: FrozenWeight) -> None:
        """Turn u = W0 x into the result of `forward`, in place and without a graph."""
        if base.bias is not None:
            u.add_(base.bias)
        u.add_(self.change(u))


class PfeifferAdapter(Bottleneck):
    """LN(A(LN(s)) + s) in the place of a norm LN of s."""

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        """Return the norm's output, `[..., hidden]`, for its input."""
        out: Tensor = base(self.change(base(x)) + x)
        return out


class _Bottlenecks(OnLayers[BottleneckLike]):
    """What the two methods share: norms of each task's own, and no merging."""

    unmergeable = "bottleneck adapters are not linear, and no weight of the encoder computes what they do"

    def copied(self, encoder: nn.Module) -> Mapping[str, Sequence[str]]:
        """Return the weights of the norms, with `layers` of those layers only, if they are to be trained."""
        if not self.options.train_norms:
            return {}
        chosen = norms(encoder)
        if self.options.layers is None:
            return chosen
        return {name: chosen[name] for name in of_layers(list(chosen), self.options.layers)}


class Houlsby(_Bottlenecks[HoulsbyOptions]):
    """The method `houlsby`."""

    adapter = HoulsbyAdapter

    def places(self, encoder: nn.Module) -> list[str]:
        """Return the names of the output projections of attention and feed-forward part, layer by layer.

        Raises:
            UsageError: this encoder's attention does not end in a linear layer.
        """
        attention, downs = sublayer_outputs(encoder)
        if not attention:
            raise UsageError(
                f"method houlsby: the attention of {type(encoder).__name__} does not end in a linear layer",
                "use --preset pfeiffer-m48, which has no adapter there",
            )
        names = [name for name, _ in encoder.named_modules() if name in {*attention, *downs}]
        return names if self.options.layers is None else of_layers(names, self.options.layers)


class Pfeiffer(_Bottlenecks[PfeifferOptions]):
    """The method `pfeiffer`."""

    adapter = PfeifferAdapter
    wrapper = Adapted

    def places(self, encoder: nn.Module) -> list[str]:
        """Return the names of the norms that follow the feed-forward parts.

        Raises:
            UsageError: the layers of this encoder do not end in a norm.
        """
        _, downs = sublayer_outputs(encoder)
        names = [_norm_after(encoder, name) for name in downs]
        return names if self.options.layers is None else of_layers(names, self.options.layers)


def _drawn(rows: int, columns: int, std: float, rng: torch.Generator) -> nn.Parameter:
    weight = torch.empty(rows, columns)
    return nn.Parameter(nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=rng))


def _norm_after(encoder: nn.Module, down: str) -> str:
    """Return the name of the norm whose input is a feed-forward part's output and its residual."""
    parent = down.rpartition(".")[0]
    above, _, number = parent.rpartition(".")
    if above == "ffns":  # XLM: lists of parts instead of layers
        return f"layer_norm2.{number}"
    for prefix, names in ((parent, _NORMS_BESIDE), (above, _NORMS_ABOVE)):
        for name in names:
            if isinstance(getattr(encoder.get_submodule(prefix), name, None), nn.Module):
                return f"{prefix}.{name}"
    raise UsageError(
        f"method pfeiffer: the layers of {type(encoder).__name__} do not end in a norm of output and residual",
        "use --preset houlsby-m48, which needs none",
    )
