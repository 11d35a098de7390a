"""Export of a task's adapter to HF PEFT: the configuration and weights that `PeftModel.from_pretrained` loads.

| ours | PEFT's |
| --- | --- |
| lora, loraplus | LORA: A is `lora_A`, B is `lora_B`, s = alpha / r |
| dora | LORA with `use_dora`: m is `lora_magnitude_vector` |
| delta-lora | LORA of twice the rank: W(t) - W0 = lambda s (B A - B(K) A(K)) is low-rank too |
| pissa, olora (through PEFT) | LORA of twice the rank: s (B A - B0 A0), on top of the pretrained W |
| all others through PEFT | unchanged |
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from peftbench.errors import DataError, UsageError
from peftbench.methods.adapted import AdaptedLinear, LowRank
from peftbench.methods.base import Method
from peftbench.methods.delta_lora import DeltaLoraAdapter
from peftbench.methods.dora import DoraAdapter
from peftbench.methods.lora import LoraAdapter
from peftbench.methods.options import LoraOptions, layer_numbers
from peftbench.methods.peft_configs import rank_patterns
from peftbench.methods.peft_tuners import PeftTuner, peft_package, takes_from_base
from peftbench.methods.targets import spelt
from peftbench.text import clean

_PREFIX = "base_model.model."
_A, _B, _M = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_SAME = ("peft_type", "r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
_ONLY_BUNDLE = "use --format bundle, which peftbench itself imports"
_OTHERWISE = "use --format merged: plain weights, which transformers loads without PEFT"


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """One task's adapter as PEFT stores it in a folder.

    `weights` are by the names in PEFT's file. `converted` describes a conversion where they do not map one to one to
    the method's own: the function is the same, but the method cannot load them back.
    """

    config: Any  # a peft.PeftConfig
    weights: dict[str, Tensor]
    converted: str | None = None


class AsPeft:
    """Converts a method's adapters to PEFT's format.

    Must be created before trained weights are loaded, since PiSSA's initial weights are known only then.

    Raises:
        UsageError: PEFT's format cannot represent the method's adapters.
        MissingError: PEFT is not installed.
    """

    def __init__(self, method: Method[Any], encoder: nn.Module, tasks: Sequence[str]) -> None:
        self.peft = peft_package("--format peft")
        self.method, self.encoder = method, encoder
        if reason := _refusal(method):
            raise UsageError(
                f"method {method.options.name}: {reason}", _ONLY_BUNDLE if method.unmergeable else _OTHERWISE
            )
        self._starts: dict[str, dict[str, Tensor]] = {}
        if isinstance(method, PeftTuner) and any(map(takes_from_base, method.model.peft_config.values())):
            for task in tasks:  # all start from the weights of the first
                self._starts[task] = {key: weight.clone() for key, weight in self._theirs(task).items()}

    def adapter(self, task: str) -> PeftAdapter:
        """Return a task's adapter with the model's current weights."""
        if not isinstance(self.method, PeftTuner):
            return self._ours(task)
        config = copy.deepcopy(self.method.model.peft_config[self.method.names[task]])
        config.inference_mode = True
        weights = self._theirs(task)
        if hasattr(config, "save_projection"):  # VeRA: else drawn again, from a generator that may change
            config.save_projection = True
            tuner = self.method.model.base_model
            for key in ("vera_A", "vera_B"):
                weights[f"base_model.{key}"] = getattr(tuner, key)[self.method.names[task]].detach()
        start = self._starts.get(task)
        return PeftAdapter(config, weights) if start is None else _doubled(config, weights, start)

    @torch.no_grad()
    def take(self, task: str, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Load an adapter in PEFT's format into the model, replacing the task's own.

        Args:
            task: the adapter's task.
            config: content of its adapter_config.json.
            weights: content of its adapter_model.safetensors.

        Raises:
            UsageError: the method's adapters are converted on export, and cannot be loaded back.
            DataError: the adapter differs from the method's in type, rank, scale, targets or shape.
        """
        ours = self.adapter(task)
        if ours.converted:
            raise UsageError(
                f"method {self.method.options.name} exports its adapters as {ours.converted} and cannot load them back",
                "load them with PEFT, or the run from a bundle: peftbench export RUN --format bundle",
            )
        for key in _SAME:
            here, there = getattr(ours.config, key, None), config.get(key)
            if (here or None) != (there or None):
                raise DataError(f"adapter_config.json: {key} is {clean(there, 60)}, but the run has {clean(here, 60)}")
        shapes = {key: tuple(weight.shape) for key, weight in weights.items()}
        if shapes != {key: tuple(weight.shape) for key, weight in ours.weights.items()}:
            raise DataError("adapter_model.safetensors: its weights differ from the run's in names or shapes")
        if isinstance(self.method, PeftTuner):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                name = self.method.names[task]
                self.peft.set_peft_model_state_dict(self.method.model, dict(weights), adapter_name=name)
        else:
            for key, weight in ours.weights.items():
                weight.copy_(weights[key])

    def _theirs(self, task: str) -> dict[str, Tensor]:
        """Return the weights of an adapter of PEFT's own."""
        assert isinstance(self.method, PeftTuner)
        model, name = self.method.model, self.method.names[task]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = self.peft.get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        return {key: weight.detach() for key, weight in state.items()}

    def _ours(self, task: str) -> PeftAdapter:
        assert isinstance(self.method, LowRank)
        options: LoraOptions = self.method.options
        adapters = list(_adapters(self.encoder, task))
        doubles = isinstance(adapters[0][1], DeltaLoraAdapter)
        factor = 2 if doubles else 1
        config = self.peft.LoraConfig(
            r=factor * options.rank,
            lora_alpha=_plain(factor * options.alpha),
            lora_dropout=options.dropout,
            use_dora=isinstance(adapters[0][1], DoraAdapter),
            inference_mode=True,
        )
        self._set_targets(config, [name for name, _ in adapters])
        config.rank_pattern, config.alpha_pattern = rank_patterns(options, self.method.ranks, factor)
        weights = {f"{_PREFIX}{name}.{key}": w for name, adapter in adapters for key, w in _weights(adapter)}
        config.modules_to_save = list(self.method.weights.names) or None
        weights |= {f"{_PREFIX}{name}": weight for name, weight in self.method.weights.of(task).items()}
        return PeftAdapter(config, weights, f"LoRA of rank {2 * options.rank}" if doubles else None)

    def _set_targets(self, config: Any, names: Sequence[str]) -> None:
        """Set the target modules as briefly as PEFT allows; by full names where the brief form matches others."""
        from peft.tuners.tuners_utils import check_target_module_exists

        options: LoraOptions = self.method.options
        plain = _plain_modules(self.encoder)
        linears = [name for name in plain if isinstance(self.encoder.get_submodule(name), nn.Linear | AdaptedLinear)]
        config.target_modules = set(spelt(self.encoder, options.targets, linears))
        config.layers_to_transform = None if options.layers is None else sorted(layer_numbers(options.layers))
        meant = {name for name in plain if check_target_module_exists(config, name)}
        if meant != set(names):
            config.target_modules, config.layers_to_transform = set(names), None


def _refusal(method: Method[Any]) -> str | None:
    """Return why PEFT's format cannot represent a method's adapters; None where it can."""
    if isinstance(method, PeftTuner):
        return None
    if method.adapted and not isinstance(method, LowRank):
        return "HF PEFT has no such adapters"
    if not isinstance(method, LowRank):
        return "it has no adapters that HF PEFT's format can represent"
    if method.adapter not in (LoraAdapter, DoraAdapter, DeltaLoraAdapter):
        return f"HF PEFT has no {method.adapter.__name__}"
    if method.adapter is DoraAdapter and method.options.norm_axis != "output":
        return f"norm_axis = '{method.options.norm_axis}', but PEFT's DoRA supports the norm per output feature only"
    return None


def _adapters(encoder: nn.Module, task: str) -> Iterator[tuple[str, LoraAdapter]]:
    for name, module in encoder.named_modules():
        if isinstance(module, AdaptedLinear):
            yield name, cast("LoraAdapter", module.adapters[task])


def _plain_modules(encoder: nn.Module) -> list[str]:
    """Return the names of the modules that the encoder has without its adapters."""
    adapted = tuple(f"{name}." for name, module in encoder.named_modules() if isinstance(module, AdaptedLinear))
    return [name for name, _ in encoder.named_modules() if not name.startswith(adapted)]


def _weights(adapter: LoraAdapter) -> Iterator[tuple[str, Tensor]]:
    """Yield an adapter's weights by PEFT's names; unless converted, they are the adapter's own tensors."""
    if isinstance(adapter, DeltaLoraAdapter):
        moved = float(adapter.moving) * adapter.ratio
        yield _A, torch.cat([adapter.A.detach(), adapter.A_K])
        yield _B, torch.cat([(1 + moved) * adapter.B.detach(), -moved * adapter.B_K], dim=1)
        return
    yield _A, adapter.A.detach()
    yield _B, adapter.B.detach()
    if isinstance(adapter, DoraAdapter):
        yield _M, adapter.m.detach()


def _doubled(config: Any, weights: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> PeftAdapter:
    """Return s (B A - B0 A0) as one adapter on the pretrained W; training had changed W - s B0 A0."""
    if config.rank_pattern or config.alpha_pattern:
        raise UsageError("method.config: rank_pattern and alpha_pattern cannot be exported with this start", _OTHERWISE)
    doubled = dict(weights)
    for key, weight in weights.items():
        if key.endswith(_A):
            doubled[key] = torch.cat([weight, -start[key]])
        elif key.endswith(_B):
            doubled[key] = torch.cat([weight, start[key]], dim=1)
    config.lora_alpha = _plain(config.lora_alpha * (2**0.5 if config.use_rslora else 2))
    config.r, config.init_lora_weights = 2 * config.r, True
    return PeftAdapter(config, doubled, f"LoRA of rank {config.r}")


def _plain(number: float) -> float:
    """Return a whole number as an int, as in PEFT's own files."""
    return int(number) if number == int(number) else number
