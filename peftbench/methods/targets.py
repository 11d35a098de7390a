"""Resolution of adapter targets to an encoder's linear layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn

from peftbench.errors import UsageError, did_you_mean
from peftbench.families import IN_A_LAYER, Roles, family_of, spellings
from peftbench.methods.options import TARGET_WORDS, layer_numbers, layers_and_target
from peftbench.text import clean

_LAYER = re.compile(r"(?:^|(?<!decoder)\.)(?:layers?|block|attentions|ffns)\.(\d+)\.")
_ROLES = {**{role: (role,) for role in ("query", "key", "value")}, **TARGET_WORDS}


def target_names(encoder: nn.Module, targets: Sequence[str], layers: str | None = None) -> list[str]:
    """Return the full names of the linear layers matched by the targets, in the encoder's order.

    A target is a suffix of a module's name; else a role (query, key, value), whose names the encoder's family has, or
    a word for several (`TARGET_WORDS`). `layers` ('6-11') restricts them to some of the encoder's layers, counted
    from 0.

    Raises:
        UsageError: a target matches no linear layer of this encoder, or it has no such layer.
    """
    linears = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    chosen = {name for target in targets for name in _matches(encoder, target, linears)}
    names = [name for name in linears if name in chosen]
    return names if layers is None else of_layers(names, layers)


def ranks_of(encoder: nn.Module, names: Sequence[str], pattern: Mapping[str, int]) -> dict[str, int]:
    """Return the rank of each layer that a key of `rank_pattern` names, of the layers with adapters (`names`).

    Raises:
        UsageError: a key names none of them, or two keys give one layer different ranks.
    """
    ranks: dict[str, tuple[int, str]] = {}
    for key, rank in pattern.items():
        numbers, target = layers_and_target(key)
        chosen = [name for name in names if numbers is None or _number(name) in numbers]
        if target is not None:
            targeted = set(target_names(encoder, [target]))
            chosen = [name for name in chosen if name in targeted]
        if not chosen:
            raise UsageError(
                f"method.rank_pattern: '{clean(key)}' matches no layer with an adapter",
                f"those are: {', '.join(_briefly(names))}",
            )
        for name in chosen:
            other, by = ranks.setdefault(name, (rank, key))
            if other != rank:
                raise UsageError(
                    f"method.rank_pattern: '{clean(by)}' gives {name} the rank {other}, and '{clean(key)}' {rank}",
                    "let each layer match one key, such as '6-11 value'",
                )
    return {name: rank for name, (rank, _) in ranks.items()}


def _number(name: str) -> int | None:
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def _briefly(names: Sequence[str]) -> list[str]:
    """Return the layers' numbers as a range, and the ends of the names."""
    numbers = sorted({number for name in names if (number := _number(name)) is not None})
    ends = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    return [*([f"layers {numbers[0]}-{numbers[-1]}"] if numbers else []), *ends]


def sublayer_outputs(encoder: nn.Module) -> tuple[list[str], list[str]]:
    """Return the names of the linear layers that end the attention, and of those that end the feed-forward part.

    Raises:
        UsageError: the encoder has no feed-forward part of linear layers.
    """
    linears = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    family = family_of(_model_type(encoder))
    roles = _guessed(linears) if family is None else family.roles
    if not roles.ffn:
        raise UsageError(
            f"this {_model_type(encoder) or 'encoder'} has no known feed-forward part to adapt"
            f"{': ' + family.lacks if family is not None and family.lacks else ''}",
            "use a method without adapters: --preset full, or last-layer",
        )
    attention = [name for suffix in roles.output for name in _ending(linears, suffix)]
    return attention, [name for name in _ending(linears, roles.ffn[-1]) if name not in attention]


def spelt(encoder: nn.Module, targets: Sequence[str], linears: Sequence[str]) -> list[str]:
    """Return the ends of module names that the targets stand for in this encoder (`*`: digits).

    Args:
        encoder: with or without adapters.
        targets: as in `target_names`.
        linears: the names of its linear layers, with or without adapters.
    """
    return [suffix for target in targets for suffix in _suffixes(encoder, target, linears)]


def _matches(encoder: nn.Module, target: str, linears: Sequence[str]) -> set[str]:
    if target == "all-linear" and not _ending(linears, target):
        names = {name for name in linears if IN_A_LAYER.search(name)}
    else:
        names = {name for suffix in _suffixes(encoder, target, linears) for name in _ending(linears, suffix)}
    if names:
        return names
    kinds = sorted({name.rpartition(".")[2] for name in linears if IN_A_LAYER.search(name)})
    family, what = family_of(_model_type(encoder)), f"this {_model_type(encoder) or 'encoder'}"
    if family is not None and family.lacks and target in _ROLES:
        raise UsageError(
            f"method.targets: '{target}' matches no linear layer of {what}: {family.lacks}",
            f"use --set method.targets=mlp, or name some of its linear layers: {', '.join(kinds)}"
            if kinds
            else "use a method without adapters: --preset full, or last-layer",
        )
    raise UsageError(
        f"method.targets: '{target}' matches no linear layer of {what}{did_you_mean(target, kinds)}",
        f"its linear layers: {', '.join(kinds) or 'none'}",
    )


def _suffixes(encoder: nn.Module, target: str, linears: Sequence[str]) -> tuple[str, ...]:
    """Return the ends of names that a target stands for: itself, if a linear layer is called so."""
    if target not in _ROLES or _ending(linears, target):
        return (target,)
    family = family_of(_model_type(encoder))
    roles = _guessed(linears) if family is None else family.roles
    parts = [getattr(roles, role) for role in _ROLES[target]]
    return tuple(suffix for part in parts for suffix in part)


def _guessed(linears: Sequence[str]) -> Roles:
    """Return the roles of an unknown family: for each the first known spelling that occurs in the encoder."""
    by_role = {
        role: next((names for names in spellings(role) if all(_ending(linears, name) for name in names)), ())
        for role in Roles._fields
    }
    return Roles(**by_role)


def _ending(linears: Sequence[str], suffix: str) -> list[str]:
    """Return the names that end in a suffix (`*`: digits), from a dot on."""
    pattern = re.compile(r"(?:^|.*\.)" + re.escape(suffix).replace(r"\*", r"\d+"))
    return [name for name in linears if pattern.fullmatch(name)]


def _model_type(encoder: nn.Module) -> str:
    return getattr(getattr(encoder, "config", None), "model_type", "")


def of_layers(names: Sequence[str], layers: str) -> list[str]:
    """Return the names that are of some of the encoder's layers ('6-11'), counted from 0.

    Raises:
        UsageError: it has no such layer.
    """
    numbers = {name: number for name in names if (number := _number(name)) is not None}
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
