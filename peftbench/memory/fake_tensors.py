"""Models and batches of fake tensors, which have shape and dtype but no values, and take no memory.

The encoder is built from its configuration with weights that are a single number expanded to each shape, so that a
method can attach to it normally (HF PEFT's methods require real tensors); then every weight is replaced by a fake
tensor. Everything is on the CPU; `Kernels` makes torch use a GPU's kernels there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from peftbench.data.batches import Batch, Batcher
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.data.tokenise import offsets_of
from peftbench.data.words import OUTSIDE, Words
from peftbench.encoder import auto_class
from peftbench.errors import MissingError
from peftbench.kernels.device import DeviceType
from peftbench.kernels.quantized import change_scales, is_quantized
from peftbench.kernels.weight_only import WeightOnlyLinear, with_components
from peftbench.memory.parts import BatchShape
from peftbench.tasks import TaskSpec
from peftbench.text import clean

_ANY = 0.02  # a weight's value, of BERT's magnitude: methods that read values see no zeros

Part = TypeVar("Part")


def placeholder_encoder(config: Any, attention: str) -> nn.Module:
    """Build transformers' model of a configuration, with weights that are one number expanded to each shape.

    Args:
        config: transformers' configuration; not modified.
        attention: transformers' name of the attention, `sdpa` or `eager`.

    Raises:
        MissingError: transformers does not support this model or attention, or has no class for its encoder alone.
    """
    of_transformers = auto_class(config)
    try:
        with torch.device("meta"):
            encoder: nn.Module = of_transformers.from_config(
                copy.deepcopy(config), attn_implementation=attention, dtype=torch.float32, trust_remote_code=False
            )
    except Exception as error:  # transformers raises many types here
        raise MissingError(
            f"encoder: transformers cannot build a {clean(config.model_type)}: {clean(error, 300)}",
            "peftbench supports BERT-family encoders that are part of transformers",
        ) from error
    _replace_all(encoder, lambda tensor: torch.full((), _ANY).to(tensor.dtype).expand(tensor.shape))
    return encoder


def without_values(model: nn.Module, mode: FakeTensorMode, holder: object) -> None:
    """Replace every weight and buffer by a fake tensor, also where lists of `holder` refer to them."""
    with mode:
        replaced = _replace_all(model, lambda tensor: with_components(tensor, _empty))
        for module in model.modules():
            if is_quantized(module) and not isinstance(module, WeightOnlyLinear):
                _without_scales(module)
    for module in model.modules():
        module._apply = MethodType(_convert, module)  # type: ignore[method-assign]
    for name, value in vars(holder).items():
        if isinstance(value, list):
            setattr(holder, name, [replaced.get(id(item), (item, item))[1] for item in value])


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def _without_scales(module: Any) -> None:
    """Replace what a quantized layer has beside its weight by fake tensors, where bitsandbytes looks for them."""
    if not hasattr(module, "state"):
        change_scales(module, _empty)
        module.weight.quant_state = module.quant_state
        return
    module.state.CB, module.state.SCB = module.weight.data, torch.empty(module.out_features)
    module.weight.CB = module.weight.SCB = None


def _convert(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Replacement for `Module._apply`, which fails for fake tensors as it converts parameters in place."""
    for part in module.modules() if recurse else (module,):
        for table in (part._parameters, part._buffers):
            for name, old in table.items():
                if old is not None and (new := change(old)) is not old:
                    weight = isinstance(old, nn.Parameter)
                    table[name] = nn.Parameter(new.detach(), old.requires_grad) if weight else new  # type: ignore[assignment]
    return module


def _replace_all(model: nn.Module, make: Callable[[Tensor], Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """Replace all weights and buffers, preserving sharing; return (old, new) pairs by the old tensor's id."""
    done: dict[int, tuple[Tensor, Tensor]] = {}  # keeps the old ones alive, so that no id is reused
    for module in list(model.modules()):
        for table in (module._parameters, module._buffers):
            for name, old in table.items():
                if old is None:
                    continue
                if id(old) not in done:
                    new = make(old)
                    weight = nn.Parameter(new, requires_grad=old.requires_grad)
                    done[id(old)] = (old, weight if isinstance(old, nn.Parameter) else new)
                table[name] = done[id(old)][1]  # type: ignore[assignment]
    return done


def fake_batch(task: TaskSpec, shape: BatchShape, batcher: Batcher, mode: FakeTensorMode) -> Batch:
    """Return a batch of fake tensors of a task and shape; of token tasks every token but the first is a word."""
    parts = tuple(_texts(*each) for each in zip(shape.parts, shape.inputs(), strict=True))
    labels = np.zeros((shape.examples, task.outputs) if task.kind == "multilabel" else shape.examples)
    words = None
    if task.kind == "tokens":
        counts = np.maximum(1, parts[0].lengths - 1)
        pieces = np.concatenate([np.arange(count) for count in counts])
        words = Words(np.concatenate([[0], np.cumsum(counts)]), pieces, np.zeros_like(pieces), (OUTSIDE,))
    split = EncodedSplit(parts, labels, ("",) * shape.examples, 0, from_cache=False, words=words)
    return _fake(batcher(split, np.arange(shape.examples)), mode)


def _texts(lengths: tuple[int, ...], inputs: tuple[int, ...]) -> Ragged:
    offsets, windows = (offsets_of(np.asarray(each)) for each in (lengths, inputs))
    nothing = np.zeros(offsets[-1], dtype=np.int32)
    return Ragged(nothing, nothing, offsets, windows if len(inputs) > len(lengths) else None)


def _fake(part: Part, mode: FakeTensorMode) -> Part:
    """Return a copy of a dataclass with its tensors replaced by fake ones."""
    if isinstance(part, Tensor):
        with mode:
            return torch.empty(part.shape, dtype=part.dtype)  # type: ignore[return-value]
    if isinstance(part, tuple):
        return tuple(_fake(each, mode) for each in part)  # type: ignore[return-value]
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{field.name: _fake(getattr(part, field.name), mode) for field in fields(part)})
    return part


class Kernels(TorchFunctionMode):
    """Makes torch use a device's kernels for tensors on the CPU.

    On an NVIDIA GPU two kernels save different data: dropout (a mask of one byte per element; on the CPU a mask in the
    input's dtype) and attention (memory-efficient: no weights; its mask in the input's dtype, padded). Under autocast
    a GPU normalises in fp32. On both devices, a single random number is always 0.5: some modules draw one to decide
    whether to take part in a step.
    """

    def __init__(self, device: DeviceType) -> None:
        super().__init__()
        self.replaced: dict[Any, Callable[..., Any]] = {torch.rand: _rand}
        if device == "cuda":
            self.replaced |= {F.dropout: _dropout, F.scaled_dot_product_attention: _attention}
            self.replaced |= {function: partial(_in_fp32, function) for function in (F.layer_norm, F.softmax)}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.replaced.get(func, func)(*args, **(kwargs or {}))


def _rand(*size: Any, **kwargs: Any) -> Tensor:
    alone = size == (1,) and not kwargs
    return torch.tensor([0.5]) if alone else torch.rand(*size, **kwargs)  # the former keeps its value as a fake


def _in_fp32(function: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return function(x.float() if torch.is_autocast_enabled("cpu") else x, *args, **kwargs)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return torch.native_dropout(x, p, True)[0] if training and p else x


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(half), key.to(half), value.to(half)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.where(attn_mask, 0.0, -torch.inf).to(query.dtype)
        width = attn_mask.shape[-1]
        attn_mask = F.pad(attn_mask, (0, -width % 8))[..., :width] if width % 8 else attn_mask
        attn_mask = attn_mask.expand(*query.shape[:-1], width)
    keeps = any(part.requires_grad for part in (query, key, value)) and torch.is_grad_enabled()
    out: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, keeps, dropout_p, is_causal, scale=scale
    )[0]
    return out
