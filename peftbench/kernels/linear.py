"""Linear layers with frozen or trained weights, through oneDNN if the installed torch supports it.

On the CPU, `mkldnn::_linear_pointwise` is faster than `torch.nn.functional.linear` (which uses MKL's GEMM), and
faster still with the weight reordered once. Both operators are private to torch: they are probed, compared once
with `F.linear`, and not used if they are missing or differ.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from peftbench.kernels.device import is_fake, on_cpu

PROBE_TOLERANCE, PROBE_TOLERANCE_BF16 = 1e-4, 0.2


@cache
def onednn() -> bool:
    """Return whether torch's private oneDNN operators exist and are correct on this machine."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    try:
        x, weight, bias = (torch.randn(size, generator=_probe()) for size in ((5, 48), (32, 48), (32,)))
        packed = _reorder(weight)
        outputs = [_pointwise(x, weight, bias), _pointwise(x, packed, bias), _pointwise(x, packed, bias, "gelu")]
        expected = F.linear(x, weight, bias)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    pairs = [*((each, expected) for each in outputs[:2]), (outputs[2], F.gelu(expected))]
    return all(bool(torch.allclose(each, other, atol=PROBE_TOLERANCE)) for each, other in pairs)


@cache
def onednn_bf16() -> bool:
    """Return whether they also support bf16 (without hardware support, it would be slow or fail)."""
    if not onednn() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    try:
        x, weight = (torch.randn(size, generator=_probe()).bfloat16() for size in ((5, 48), (32, 48)))
        outputs = (_pointwise(x, weight, None), _pointwise(x, _reorder(weight), None))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    expected = F.linear(x.float(), weight.float())
    return all(bool(torch.allclose(each.float(), expected, atol=PROBE_TOLERANCE_BF16)) for each in outputs)


def _probe() -> torch.Generator:
    """Return a generator for the probe's values, so that torch's global one is not advanced."""
    return torch.Generator().manual_seed(0)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, after: str = "none") -> Tensor:
    """Return x W^T + b, `[n, out]`; `after` may be "gelu" (exact), fused into the same pass."""
    if is_fake():
        y = F.linear(x, weight, bias)
        return torch.ops.aten.gelu_(y) if after == "gelu" else y  # in place: one matrix, as in the fused operator
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "none" if after == "gelu" else "")
    return out


def _reorder(weight: Tensor) -> Tensor:
    if is_fake():
        return weight.clone(memory_format=torch.contiguous_format)  # same number of bytes
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def matmul_t(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b, `[n, out]`, without autograd, by the fastest method for a weight that changes."""
    if on_cpu(x.device) and (onednn() if x.dtype == torch.float32 else onednn_bf16()):
        return _pointwise(x, weight, bias)
    return F.linear(x, weight, bias)


def _nan_like(weight: Tensor) -> Tensor:
    """Return one NaN expanded to the weight's shape. (A `meta` tensor mixed with real ones gives arbitrary numbers.)"""
    return torch.full((), torch.nan, dtype=weight.dtype, device=weight.device).expand(weight.shape)


class FrozenWeight:
    """A frozen weight `[out, in]`, prepared for multiplication in forward and backward.

    Args:
        linear: the layer. With oneDNN its own weight is released after packing and replaced by NaN of the same shape,
            so that accidental use is visible; `restore` brings it back.
        backward: gradients flow through to the input: a second packed copy, of W^T, is created as well.
        dtype: compute dtype. In bf16 the input is rounded, the result is fp32, and the bias is added in fp32.
        norms: store the squared norms of its columns and rows in `square_norms`, which DoRA adds to.
    """

    def __init__(
        self, linear: nn.Linear, *, backward: bool, dtype: torch.dtype = torch.float32, norms: bool = False
    ) -> None:
        weight = linear.weight.detach()
        self.linear = linear
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.dtype = dtype
        cast = weight.to(dtype)
        self.square_norms: tuple[Tensor, ...] = ()
        if norms:
            squares = cast.float().square()
            self.square_norms = (squares.sum(dim=0), squares.sum(dim=1))
        self.packed = on_cpu(weight.device) and (onednn() if dtype == torch.float32 else onednn_bf16())
        self._forward = _reorder(cast) if self.packed else cast
        self._backward: Tensor | None = None
        if backward:
            self._backward = _reorder(cast.t()) if self.packed else cast.t()
        if self.packed or dtype != torch.float32:
            linear.weight = nn.Parameter(_nan_like(weight), requires_grad=False)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors that it keeps in memory."""
        return tuple(x for x in (self._forward, self._backward, self.bias, *self.square_norms) if x is not None)

    def dense(self) -> Tensor:
        """Return the weight used in multiplication, `[out, in]`, converted to fp32."""
        plain = self._forward.to_dense() if self.packed else self._forward
        return plain.float()

    def restore(self) -> None:
        """Restore the layer's weight; for bf16, the rounded one."""
        self.linear.weight = nn.Parameter(self.dense(), requires_grad=False)

    def forward(self, x: Tensor, *, bias: bool = True) -> Tensor:
        """Return x W^T (+ b), `[n, out]`, for x, `[n, in]`, without autograd."""
        b = self.bias if bias else None
        if self.dtype == torch.float32:
            return _pointwise(x, self._forward, b) if self.packed else F.linear(x, self._forward, b)
        x = x.to(self.dtype)
        y = _pointwise(x, self._forward, None) if self.packed else F.linear(x, self._forward)
        return y.float() if b is None else y + b  # promoted to fp32 in one pass

    def inner(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """Return x W^T + b in the weight's dtype, `[n, out]`, or GELU of it, without autograd."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        x = x.to(self.dtype)
        if self.packed:
            return _pointwise(x, self._forward, bias, "gelu" if gelu else "none")
        y = F.linear(x, self._forward, bias)
        return F.gelu(y) if gelu else y

    def backward(self, gy: Tensor, *, fp32: bool = True) -> Tensor:
        """Return gy W, `[n, in]`, for gy, `[n, out]`; in the weight's dtype if `fp32` is False."""
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
    """y = x W^T + b with constant W and b: backward does not need x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: FrozenWeight, bias: bool) -> Tensor:
        ctx.weight = weight
        return weight.forward(x, bias=bias)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, None, None]:
        return (ctx.weight.backward(gy) if ctx.needs_input_grad[0] else None), None, None


def trained_linear(x: Tensor, linear: nn.Linear, dtype: torch.dtype) -> Tensor:
    """Return x W^T + b, `[n, out]` in fp32, with trained W and b, multiplied in `dtype`."""
    out: Tensor = _Trained.apply(x, linear.weight, linear.bias, dtype)
    return out


class _Trained(Function):
    """Saves the input, in the compute dtype; gradients are fp32."""

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
    """Return gy^T x, `[out, in]`.

    In fp32 oneDNN is faster only for wide inputs: see docs/explanation/performance.md.
    """
    if on_cpu(x.device) and (x.dtype == torch.bfloat16 or x.shape[1] > gy.shape[1]):
        return matmul_t(gy.t(), x.t())
    return gy.t() @ x
