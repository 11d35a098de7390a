"""Resolution of adapter targets to an encoder's linear layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from peftbench.errors import UsageError, did_you_mean
from peftbench.methods.options import layer_numbers

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")

# Names of the attention projections in each architecture. ModernBERT and DeBERTa v1 have all three in one matrix with
# weight [3 * hidden, hidden], which takes a single adapter.
_ROLES: dict[str, dict[str, str]] = {
    "distilbert": {"query": "q_lin", "key": "k_lin", "value": "v_lin"},
    "mpnet": {"query": "attn.q", "key": "attn.k", "value": "attn.v"},
    "deberta": {"query": "in_proj", "key": "in_proj", "value": "in_proj"},
    "deberta-v2": {"query": "query_proj", "key": "key_proj", "value": "value_proj"},
    "modernbert": {"query": "Wqkv", "key": "Wqkv", "value": "Wqkv"},
}


def target_names(encoder: nn.Module, targets: Sequence[str], layers: str | None = None) -> list[str]:
    """Return the full names of the linear layers matched by the targets, in the encoder's order.

    A target is a role (query, key, value), or a suffix of a module's name. `layers` ('6-11') restricts them to some
    of the encoder's layers, counted from 0.

    Raises:
        UsageError: a target matches no linear layer of this encoder, or it has no such layer.
    """
    linears = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    model_type = _model_type(encoder)
    chosen: set[str] = set()
    for target, suffix in zip(targets, spelt(encoder, targets), strict=True):
        matches = {name for name in linears if f".{name}".endswith(f".{suffix}")}
        if not matches:
            kinds = sorted({name.rpartition(".")[2] for name in linears})
            raise UsageError(
                f"method.targets: '{target}' matches no linear layer of this {model_type or 'encoder'}"
                f"{did_you_mean(target, kinds)}",
                f"its linear layers: {', '.join(kinds)}",
            )
        chosen |= matches
    names = [name for name in linears if name in chosen]
    return names if layers is None else _of_layers(names, layers)


def spelt(encoder: nn.Module, targets: Sequence[str]) -> list[str]:
    """Return this encoder's module name of each target: that of a role, or the target itself."""
    roles = _ROLES.get(_model_type(encoder), {})
    return [roles.get(target, target) for target in targets]


def _model_type(encoder: nn.Module) -> str:
    return getattr(getattr(encoder, "config", None), "model_type", "")


def _of_layers(names: Sequence[str], layers: str) -> list[str]:
    numbers = {name: int(match[1]) for name in names if (match := _LAYER.search(name))}
    count = max(numbers.values(), default=-1) + 1
    wanted = layer_numbers(layers)
    if strange := sorted(wanted - set(numbers.values())):
        raise UsageError(
            f"method.layers = '{layers}': this encoder has no layer {strange[0]} with these targets",
            f"its layers: 0 to {count - 1}; the upper half: --set method.layers={count // 2}-{count - 1}"
            if count
            else "its layers are not numbered",
        )
    return [name for name in names if numbers.get(name) in wanted]
