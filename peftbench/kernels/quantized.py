"""Frozen linear layers in 4 or 8 bits: made, multiplied by, counted, and made dense again.

By bitsandbytes:

nf4     NormalFloat in blocks of 64 weights, each with its largest absolute value; with double quantization these are
        quantized to 8 bits themselves (Dettmers et al. 2023, QLoRA, arXiv 2305.14314, sections 3)
int8    each row of W, and in a product each row of x, by its largest absolute value (Dettmers et al. 2022,
        arXiv 2208.07339, section 3.1, without the decomposition of outliers)

By torchao, `int8` and `fp8` of weights alone: see `weight_only`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.errors import MissingError
from peftbench.families import IN_A_LAYER
from peftbench.kernels.weight_only import WeightOnlyLinear, torchao, weight_only
from peftbench.library_logs import quieten


def bitsandbytes() -> Any:
    """Import bitsandbytes.

    Raises:
        MissingError: it is not installed, or cannot be loaded.
    """
    quieten()
    try:
        import bitsandbytes as package
    except Exception as error:  # its native library may fail in many ways
        raise MissingError(
            f"a quantized encoder needs bitsandbytes, which cannot be imported: {error}",
            "python -m pip install 'peftbench[quant]'",
        ) from error
    return package


def quantize(
    encoder: nn.Module,
    precision: str,
    *,
    double_quant: bool,
    compute_dtype: torch.dtype,
    library: str = "bitsandbytes",
) -> int:
    """Replace the linear layers in an encoder's layers by quantized ones; return how many.

    Embeddings, norms, biases and a pooler stay as they are.

    Args:
        encoder: on the CPU, in fp32.
        precision: `nf4` or `int8`; of torchao `int8` or `fp8`.
        double_quant: of nf4, see the module.
        compute_dtype: of nf4, the dtype in which W is restored and multiplied.
        library: `bitsandbytes` or `torchao`.

    Raises:
        MissingError: the library cannot be imported.
        UsageError: it cannot quantize the weights so.
    """
    package = torchao() if library == "torchao" else bitsandbytes()
    linears = {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and IN_A_LAYER.search(name) and not is_quantized(module)
    }
    for name, linear in linears.items():
        parent, _, attribute = name.rpartition(".")
        if library == "torchao":
            made = weight_only(package, linear, precision)
        elif precision == "nf4":
            made = _nf4(package, linear, double_quant, compute_dtype)
        else:
            made = _int8(package, linear)
        made.train(linear.training)
        setattr(encoder.get_submodule(parent), attribute, made)
    if library == "bitsandbytes":  # PEFT chooses its layers by these; torchao's by the type of their weight
        encoder.is_loaded_in_4bit, encoder.is_loaded_in_8bit = precision == "nf4", precision == "int8"  # type: ignore[assignment]
    return len(linears)


def _nf4(package: Any, linear: nn.Linear, double_quant: bool, compute_dtype: torch.dtype) -> nn.Linear:
    options = {"compress_statistics": double_quant, "quant_type": "nf4"}
    with torch.device("meta"):
        made: nn.Linear = package.nn.Linear4bit(
            linear.in_features, linear.out_features, linear.bias is not None, compute_dtype, **options
        )
    made.bias = linear.bias
    # It would repack the weight on the first evaluation, and multiply it differently from then on.
    made.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    weight = package.nn.Params4bit(linear.weight.detach(), requires_grad=False, module=made, **options)
    made.weight = weight.to("cpu")  # quantizes
    return made


def _int8(package: Any, linear: nn.Linear) -> nn.Linear:
    with torch.device("meta"):
        made: nn.Linear = package.nn.Linear8bitLt(
            linear.in_features, linear.out_features, linear.bias is not None, has_fp16_weights=False
        )
    made.bias = linear.bias
    made.weight = package.nn.Int8Params(linear.weight.detach(), requires_grad=False, has_fp16_weights=False).to("cpu")
    return made


def is_quantized(module: nn.Module) -> bool:
    """Tell whether a module is a linear layer with a quantized weight."""
    if isinstance(module, WeightOnlyLinear):
        return True
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear) and isinstance(weight, Tensor) and not weight.is_floating_point()


def dense(linear: nn.Linear) -> Tensor:
    """Return the weight that a linear layer stands for, `[out, in]`; of an ordinary one its own."""
    if isinstance(linear, WeightOnlyLinear):
        return linear.restored()
    if not is_quantized(linear):
        return linear.weight
    functional, layer = bitsandbytes().functional, _untyped(linear)
    if hasattr(linear, "state"):
        restored: Tensor = functional.int8_vectorwise_dequant(linear.weight.data, _holder(layer).SCB)
    else:
        restored = functional.dequantize_4bit(linear.weight.data, layer.quant_state)
    return restored.float()


def product(x: Tensor, linear: nn.Linear) -> Tensor:
    """Return W x, `[..., out]`, for x, `[..., in]`, without the bias."""
    if isinstance(linear, WeightOnlyLinear):
        return linear.product(x)
    if not is_quantized(linear):
        return F.linear(x, linear.weight)
    h: Tensor = linear(x)
    return h if linear.bias is None else h - linear.bias.to(h.dtype)


def make_dense(encoder: nn.Module) -> None:
    """Replace the quantized linear layers by ordinary ones of the weights that they stand for, in fp32."""
    for name, module in list(encoder.named_modules()):
        if is_quantized(module):
            linear = plain(module)
            parent, _, attribute = name.rpartition(".")
            setattr(encoder.get_submodule(parent), attribute, linear)


def plain(linear: nn.Linear) -> nn.Linear:
    """Return a linear layer as an ordinary one, frozen: itself, if it is."""
    if not is_quantized(linear):
        return linear
    with torch.device("meta"):
        made = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None)
    made.weight = nn.Parameter(dense(linear), requires_grad=False)
    made.bias = linear.bias
    return made.train(linear.training)


def follow(encoder: nn.Module) -> None:
    """Move the scales of quantized weights to the device that their weights are on."""
    for module in encoder.modules():
        if is_quantized(module):
            device = module.weight.device
            change_scales(module, lambda tensor, to=device: tensor.to(to))  # type: ignore[misc]


def scales(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that a quantized layer has beside its weight and bias; torchao keeps them in the weight."""
    if is_quantized(module):
        for holder, name in _scales(module):
            yield getattr(holder, name)


def change_scales(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the tensors of `scales`."""
    for holder, name in list(_scales(module)):
        setattr(holder, name, change(getattr(holder, name)))
    if hasattr(module, "state"):
        _holder(module).CB = module.weight.data


def _scales(module: nn.Module) -> Iterator[tuple[Any, str]]:
    if isinstance(module, WeightOnlyLinear):
        return
    layer = _untyped(module)
    if hasattr(module, "state"):
        yield _holder(module), "SCB"
        return
    for state in (layer.quant_state, layer.quant_state.state2):
        for name, value in vars(state).items() if state is not None else ():
            if isinstance(value, Tensor):
                yield state, name


def _holder(module: Any) -> Any:
    """Return what has the row scales of a layer of 8 bits: its weight until the first product, then its state."""
    return module.weight if getattr(module.weight, "SCB", None) is not None else module.state


def _untyped(module: nn.Module) -> Any:
    return module
