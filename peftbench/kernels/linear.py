"""Linear layers whose weight is frozen, or trained, through oneDNN where the installed torch has it.

On the CPU, `mkldnn::_linear_pointwise` is faster than `torch.nn.functional.linear` (which takes MKL's GEMM), and
faster still with the weight reordered once. Both operators are private to torch: they are probed for, tried
once against `F.linear`, and left alone where they are absent or differ.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.place import is_imagined, on_cpu

PROBE_TOLERANCE, PROBE_TOLERANCE_BF16 = 1e-4, 0.2


@cache
def onednn() -> bool:
    """Tell whether torch's private oneDNN operators are here and right on this machine."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    try:
        x, weight, bias = (torch.randn(size, generator=_probe()) for size in ((5, 48), (32, 48), (32,)))
        packed = _reorder(weight)
        found = [_pointwise(x, weight, bias), _pointwise(x, packed, bias), _pointwise(x, packed, bias, "gelu")]
        wanted = F.linear(x, weight, bias)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    pairs = [*((each, wanted) for each in found[:2]), (found[2], F.gelu(wanted))]
    return all(bool(torch.allclose(each, other, atol=PROBE_TOLERANCE)) for each, other in pairs)


@cache
def onednn_bf16() -> bool:
    """Tell whether they multiply in bf16 too (without an instruction for it, that would be slow or refused)."""
    if not onednn() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    try:
        x, weight = (torch.randn(size, generator=_probe()).bfloat16() for size in ((5, 48), (32, 48)))
        found = (_pointwise(x, weight, None), _pointwise(x, _reorder(weight), None))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    wanted = F.linear(x.float(), weight.float())
    return all(bool(torch.allclose(each.float(), wanted, atol=PROBE_TOLERANCE_BF16)) for each in found)


def _probe() -> torch.Generator:
    """Return a generator for a probe's numbers: torch's global one is left as it is."""
    return torch.Generator().manual_seed(0)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, after: str = "none") -> Tensor:
    """Return x W^T + b, `[n, out]`; `after` may be "gelu", the exact one, in the same pass."""
    if is_imagined():
        y = F.linear(x, weight, bias)
        return torch.ops.aten.gelu_(y) if after == "gelu" else y  # one matrix, as in the same pass
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "none" if after == "gelu" else "")
    return out


def _reorder(weight: Tensor) -> Tensor:
    if is_imagined():
        return weight.clone(memory_format=torch.contiguous_format)  # as many bytes
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def matmul_t(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b, `[n, out]`, without a graph, by the fastest way there is for a weight that changes."""
    if on_cpu(x.device) and (onednn() if x.dtype == torch.float32 else onednn_bf16()):
        return _pointwise(x, weight, bias)
    return F.linear(x, weight, bias)


def _released(weight: Tensor) -> Tensor:
    """Return one NaN seen as the weight's shape. (A `meta` tensor beside real ones gives numbers out of nowhere.)"""
    return torch.full((), torch.nan, dtype=weight.dtype, device=weight.device).expand(weight.shape)


class FrozenWeight:
    """A weight `[out, in]` that no longer changes, ready to multiply by from both sides.

    Args:
        linear: the layer. With oneDNN its own weight is released once it is packed: NaN of the same shape
            takes its place, so that no number comes of its use by mistake; `restore` brings it back.
        backward: gradients will flow through to the input: the second packed copy, of W^T, is made as well.
        dtype: what to multiply in. In bf16 the input is rounded, the result is fp32 again, the bias is added in fp32.
    """

    def __init__(self, linear: nn.Linear, *, backward: bool, dtype: torch.dtype = torch.float32) -> None:
        weight = linear.weight.detach()
        self.linear = linear
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.dtype = dtype
        cast = weight.to(dtype)
        squares = cast.float().square()
        self.square_norms = (squares.sum(dim=0), squares.sum(dim=1))  # of columns and of rows, for DoRA
        self.packed = on_cpu(weight.device) and (onednn() if dtype == torch.float32 else onednn_bf16())
        self._forward = _reorder(cast) if self.packed else cast
        self._backward: Tensor | None = None
        if backward:
            self._backward = _reorder(cast.t()) if self.packed else cast.t()
        if self.packed or dtype != torch.float32:
            linear.weight = nn.Parameter(_released(weight), requires_grad=False)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all that it keeps in memory."""
        return tuple(x for x in (self._forward, self._backward, self.bias, *self.square_norms) if x is not None)

    def dense(self) -> Tensor:
        """Return the weight as it is multiplied by, `[out, in]` in fp32."""
        plain = self._forward.to_dense() if self.packed else self._forward
        return plain.float()

    def restore(self) -> None:
        """Give the layer its weight back: in bf16, the rounded one."""
        self.linear.weight = nn.Parameter(self.dense(), requires_grad=False)

    def forward(self, x: Tensor, *, bias: bool = True) -> Tensor:
        """Return x W^T (+ b), `[n, out]`, for x, `[n, in]`, without a graph."""
        b = self.bias if bias else None
        if self.dtype == torch.float32:
            return _pointwise(x, self._forward, b) if self.packed else F.linear(x, self._forward, b)
        x = x.to(self.dtype)
        y = _pointwise(x, self._forward, None) if self.packed else F.linear(x, self._forward)
        return y.float() if b is None else y + b  # promoted to fp32 in one pass

    def inner(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """Return x W^T + b in the weight's own type, `[n, out]`, or gelu of it, without a graph."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        x = x.to(self.dtype)
        if self.packed:
            return _pointwise(x, self._forward, bias, "gelu" if gelu else "none")
        y = F.linear(x, self._forward, bias)
        return F.gelu(y) if gelu else y

    def backward(self, gy: Tensor, *, fp32: bool = True) -> Tensor:
        """Return gy W, `[n, in]`, for gy, `[n, out]`; with `fp32` false in the weight's own type."""
        if self._backward is None:
            raise RuntimeError("this weight was prepared without a backward pass")
        g = gy.to(self.dtype)
        gx = _pointwise(g, self._backward, None) if self.packed else F.linear(g, self._backward)
        return gx.float() if fp32 else gx

    def __call__(self, x: Tensor, *, bias: bool = True) -> Tensor:
        """Return x W^T (+ b), `[n, out]`; nothing is saved for backward."""
        out: Tensor = _Frozen.apply(x, self, bias)
        return out


class _Frozen(Function):
    """y = x W^T + b with W and b constants: backward needs nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: FrozenWeight, bias: bool) -> Tensor:
        ctx.weight = weight
        return weight.forward(x, bias=bias)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, None, None]:
        return (ctx.weight.backward(gy) if ctx.needs_input_grad[0] else None), None, None


def trained_linear(x: Tensor, linear: nn.Linear, dtype: torch.dtype) -> Tensor:
    """Return x W^T + b, `[n, out]` in fp32, with W and b trained, multiplied in `dtype`."""
    out: Tensor = _Trained.apply(x, linear.weight, linear.bias, dtype)
    return out


class _Trained(Function):
    """Saves the input, in the type it is multiplied in; gradients are fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        x = x.to(dtype)
        ctx.save_for_backward(x, weight)
        if dtype == torch.float32:
            return matmul_t(x, weight, bias)
        y = matmul_t(x, weight.to(dtype))
        return y.float() if bias is None else y + bias

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        g = gy.to(x.dtype)
        return (
            matmul_t(g, weight.to(x.dtype).t()).float() if needs_x else None,
            weight_gradient(g, x).float() if needs_weight else None,
            gy.sum(dim=0) if needs_bias else None,
            None,
        )


def weight_gradient(gy: Tensor, x: Tensor) -> Tensor:
    """Return gy^T x, `[out, in]`. In fp32 oneDNN is the faster one only for wide inputs: see docs/performance.md."""
    if on_cpu(x.device) and (x.dtype == torch.bfloat16 or x.shape[1] > gy.shape[1]):
        return matmul_t(gy.t(), x.t())
    return gy.t() @ x
