"""Frozen linear layers whose weights alone are in 8 bits, by torchao: inputs are not rounded.

int8    each row of W by its largest absolute value, symmetric
fp8     the same in float8 e4m3: 4 bits of exponent, 3 of mantissa (Micikevicius et al. 2022, arXiv 2209.05433)

W is restored for each product, forward and backward. torchao's own product keeps what it restored until the backward
pass, of all layers together as many bytes as the weights have in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from peftbench.errors import MissingError, UsageError
from peftbench.library_logs import quieten
from peftbench.text import clean

_OLDEST = (0, 18)  # the first with these tensors alone
_INSTEAD = {
    "int8": "use --set quantization.library=bitsandbytes",
    "fp8": "use --set precision=int8",
}


def torchao() -> Any:
    """Import torchao's quantization.

    Raises:
        MissingError: it is not installed, too old, or cannot be loaded.
    """
    quieten()
    try:
        from torchao import quantization as package

        if tuple(int(number) for number in version("torchao").split(".")[:2]) < _OLDEST:
            raise ImportError(f"{version('torchao')} is installed")
    except Exception as error:  # its native libraries may fail in many ways
        raise MissingError(
            f"an encoder quantized by torchao needs torchao 0.18 or newer, which cannot be used: {error}",
            "python -m pip install 'peftbench[quant]'",
        ) from error
    return package


class WeightOnlyLinear(nn.Linear):
    """A frozen linear layer whose `weight` is a tensor of torchao's: shape and dtype are those of the restored W."""

    def forward(self, input: Tensor) -> Tensor:
        """Return W x + b, `[..., out]`, for x, `[..., in]`."""
        h = self.product(input)
        return h if self.bias is None else h + self.bias.to(h.dtype)

    def product(self, x: Tensor) -> Tensor:
        """Return W x; under autocast in its dtype, as `F.linear`."""
        kind = x.device.type
        half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        h: Tensor = _Product.apply(x.to(half), self)
        return h

    def restored(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return W, `[out, in]`."""
        weight: Any = self.weight
        restored: Tensor = weight.dequantize(dtype)
        return restored


class _Product(Function):
    """h = W x, of which nothing is saved but the layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: WeightOnlyLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.restored(x.dtype))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        return gy @ ctx.layer.restored(gy.dtype), None


def weight_only(package: Any, linear: nn.Linear, precision: str) -> nn.Linear:
    """Return a linear layer with a weight quantized by torchao.

    Args:
        package: see `torchao`.
        linear: on the CPU, in fp32.
        precision: `int8` or `fp8`.

    Raises:
        UsageError: torchao cannot quantize it so.
    """
    with torch.device("meta"):
        made = WeightOnlyLinear(linear.in_features, linear.out_features, linear.bias is not None)
    made.bias, made.weight = linear.bias, nn.Parameter(linear.weight.detach(), requires_grad=False)
    of = package.Int8WeightOnlyConfig if precision == "int8" else package.Float8WeightOnlyConfig
    try:
        package.quantize_(made, of(set_inductor_config=False))  # which would also change how torch multiplies in fp32
    except Exception as error:  # torchao raises many types
        raise UsageError(
            f"precision = '{precision}': torchao cannot quantize to it: {clean(error, 200)}", _INSTEAD[precision]
        ) from error
    return made


def check_restores(layer: WeightOnlyLinear, precision: str) -> None:
    """Restore a layer's weight on the device that it is on.

    Raises:
        UsageError: the device cannot.
    """
    device = layer.weight.device
    try:
        layer.restored()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise UsageError(
            f"precision = '{precision}': weights cannot be restored on the device '{device}': {clean(error, 200)}",
            _INSTEAD[precision],
        ) from error


def components(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the tensors that have a tensor's bytes: itself, or of one of torchao's its values and scales."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from components(getattr(tensor, name))


def with_components(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a tensor like this one of changed components; of an ordinary one, the changed tensor itself."""
    if not is_traceable_wrapper_subclass(tensor):
        return change(tensor)
    names, about = tensor.__tensor_flatten__()
    changed = {name: with_components(getattr(tensor, name), change) for name in names}
    made: Tensor = type(tensor).__tensor_unflatten__(changed, about, tensor.shape, tensor.stride())
    return made
