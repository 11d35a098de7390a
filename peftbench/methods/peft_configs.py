"""PEFT's configuration of a method: the options of a spec in PEFT's own keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from peftbench.errors import MissingError, UsageError, did_you_mean
from peftbench.methods import options as o
from peftbench.methods.peft_types import REFUSED, REFUSED_STARTS
from peftbench.methods.targets import ranks_of, target_names
from peftbench.methods.task_weights import beside_adapters
from peftbench.seeds import derive_seed
from peftbench.text import clean

_ANY_STEPS = 1_000_000  # placeholder: AdaLoRA's configuration needs a number before `plan` sets the true one


def config_classes(peft: Any) -> dict[str, Any]:
    """Return PEFT's configuration classes by the name of their type."""
    return {str(kind.value): config for kind, config in peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def new_config(peft: Any, options: o.MethodOptions, encoder: nn.Module, seed: int) -> Any:
    """Return the PEFT configuration for the options.

    Raises:
        MissingError: this version of PEFT lacks the tuner.
        UsageError: PEFT has no such type, key or target.
    """
    if isinstance(options, o.PeftOptions):
        return _given(peft, options)
    if isinstance(options, o.DoraOptions) and options.norm_axis != "output":
        raise UsageError(
            f"method.norm_axis = '{options.norm_axis}': PEFT's DoRA supports the norm per output feature only",
            "use --set runtime=native",
        )
    name, build = _CONFIGS[options.name]
    kind = getattr(peft, name, None)
    if kind is None:
        raise MissingError(
            f"method {options.name}: the installed peft {peft.__version__} has no {name}", "install a newer peft"
        )
    keys = build(options, seed)
    if isinstance(options, o.TargetedOptions):
        keys["target_modules"] = target_names(encoder, options.targets, options.layers)
    if isinstance(options, o.LoraOptions):
        keys["modules_to_save"] = list(beside_adapters(encoder, options)) or None
        ranks = ranks_of(encoder, keys["target_modules"], options.rank_pattern)
        keys["rank_pattern"], keys["alpha_pattern"] = rank_patterns(options, ranks)
    if isinstance(options, o.Ia3Options):
        inputs = set(target_names(encoder, options.inputs, options.layers)) if options.inputs else set()
        keys["feedforward_modules"] = [name for name in keys["target_modules"] if name in inputs]
    return kind(**keys)


def _given(peft: Any, options: o.PeftOptions) -> Any:
    """Return the configuration given with PEFT's own keys."""
    kinds = config_classes(peft)
    kind = kinds.get(options.peft_type.upper())
    if kind is None:
        raise UsageError(
            f"method.peft_type = '{clean(options.peft_type)}': peft {peft.__version__} has no such type"
            f"{did_you_mean(options.peft_type.upper(), kinds)}",
            f"types: {', '.join(sorted(kinds))}",
        )
    start = options.config.get("init_lora_weights")
    refused = REFUSED.get(options.peft_type.upper()) or (REFUSED_STARTS.get(start) if isinstance(start, str) else None)
    if refused:
        named = (
            f"init_lora_weights = '{start}'" if options.peft_type.upper() not in REFUSED else options.peft_type.upper()
        )
        raise UsageError(f"method peft: {clean(named)}: {refused}", "what runs here: peftbench methods --check")
    try:
        return kind(**options.config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"method.config: {kind.__name__} rejects it: {clean(error, 300)}") from error


def _low_rank(options: Any, seed: int) -> dict[str, Any]:
    return {"r": options.rank, "lora_alpha": options.alpha, "lora_dropout": options.dropout}


def rank_patterns(
    options: o.LoraOptions, ranks: Mapping[str, int], factor: int = 1
) -> tuple[dict[str, int], dict[str, float]]:
    """Return PEFT's `rank_pattern` and the `alpha_pattern` that keeps its scale, alpha / rank, by layers' full names.

    Args:
        options: the method's.
        ranks: of the layers with a rank of their own.
        factor: a multiple of all ranks and alphas.
    """
    other = {name: rank for name, rank in ranks.items() if rank != options.rank}
    alphas = {name: factor * options.alpha * rank / options.rank for name, rank in other.items()}
    return {name: factor * rank for name, rank in other.items()}, alphas


def _pissa(options: Any, seed: int) -> dict[str, Any]:
    start = "pissa" if options.iterations is None else f"pissa_niter_{options.iterations}"
    return {**_low_rank(options, seed), "init_lora_weights": start}


def _adalora(options: Any, seed: int) -> dict[str, Any]:
    return {
        "init_r": options.rank,
        "target_r": options.target_rank,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "deltaT": options.every,
        "orth_reg_weight": options.orthogonal,
        "total_step": _ANY_STEPS,
    }


def _vera(options: Any, seed: int) -> dict[str, Any]:
    return {
        "r": options.rank,
        "d_initial": options.initial,
        "vera_dropout": options.dropout,
        "projection_prng_key": derive_seed(seed, "vera") % 2**31,
        "save_projection": False,
    }


def _oft(options: Any, seed: int) -> dict[str, Any]:
    return {"r": 0, "oft_block_size": options.block_size, "module_dropout": options.dropout}


def _boft(options: Any, seed: int) -> dict[str, Any]:
    return {
        "boft_block_size": options.block_size,
        "boft_n_butterfly_factor": options.factors,
        "boft_dropout": options.dropout,
    }


_CONFIGS: dict[str, tuple[str, Callable[[Any, int], dict[str, Any]]]] = {
    "lora": ("LoraConfig", _low_rank),
    "loraplus": ("LoraConfig", _low_rank),
    "dora": ("LoraConfig", lambda options, seed: {**_low_rank(options, seed), "use_dora": True}),
    "rslora": ("LoraConfig", lambda options, seed: {**_low_rank(options, seed), "use_rslora": True}),
    "pissa": ("LoraConfig", _pissa),
    "adalora": ("AdaLoraConfig", _adalora),
    "vera": ("VeraConfig", _vera),
    "ia3": ("IA3Config", lambda options, seed: {}),
    "oft": ("OFTConfig", _oft),
    "boft": ("BOFTConfig", _boft),
    "ln-tuning": ("LNTuningConfig", lambda options, seed: {"target_modules": ["LayerNorm"]}),
}
