"""Load a pretrained encoder with transformers, checking that no weights are randomly initialised or dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftbench.encoder.causal import check_pooling, is_causal, is_known_causal
from peftbench.encoder.classes import attention_of, auto_class, check_computes
from peftbench.encoder.files import EncoderFiles
from peftbench.encoder.layout import positions_of
from peftbench.errors import MissingError, UsageError
from peftbench.store.conditions import Conditions
from peftbench.text import clean

if TYPE_CHECKING:
    from torch import nn

    from peftbench.spec.encoder import EncoderSpec

_POOLER = "pooler."
_NAMES_SHOWN = 3  # names in a message
_DROPOUTS = ("dropout", "dropout_prob", "dropout_rate", "_pdrop")

# Checkpoint parts on top of the encoder that are not used: poolers and transformers' heads (language modelling, next
# sentence prediction, classification, question answering), by module name.
_BESIDE_THE_ENCODER = re.compile(
    r"cls|.*head.*|.*classifier.*|.*predict.*|.*pooler|lm_loss|decoder|vocab_(transform|layer_norm|projector)|qa_outputs"
    r"|score|embed_out|linear|logits_proj|sequence_summary|seq_relationship|pred_layer|proj"
)


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """A loaded encoder and facts about the loading.

    attention: transformers' name of the attention implementation.
    unused: checkpoint weights that are not part of the encoder: poolers and heads.
    missing: weights that the checkpoint lacks and the run does not use.
    causal: it is a decoder: each token sees only those before it.
    """

    encoder: nn.Module
    attention: str
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    causal: bool = False

    def facts(self) -> Conditions:
        """Return the facts for a run's record."""
        return {
            "attention": self.attention,
            "encoder_weights_unused": list(self.unused),
            "encoder_weights_missing": list(self.missing),
        }


def load_config(spec: EncoderSpec, files: EncoderFiles) -> Any:
    """Load the encoder's configuration, with the spec's dropout.

    Raises:
        MissingError: it does not exist, or transformers cannot read it without executing code of the checkpoint.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises many types here
        raise MissingError(
            f"encoder {clean(files.name)}: transformers cannot read {files.folder}/config.json: {clean(error, 300)}",
            "peftbench loads BERT-family encoders from safetensors, and never executes a checkpoint's own code",
        ) from error
    set_dropout(config, spec.dropout)
    if config.model_type == "big_bird":
        # Its sparse attention switches itself off permanently at the first batch of short texts, so that results would
        # depend on the order of the batches.
        config.attention_type = "original_full"
    return config


def load_encoder(spec: EncoderSpec, files: EncoderFiles) -> nn.Module:
    """Load the encoder in fp32, with the spec's dropout, on the CPU.

    Raises:
        MissingError, UsageError: see `load_with_facts`.
    """
    return load_with_facts(spec, files).encoder


def load_with_facts(spec: EncoderSpec, files: EncoderFiles) -> LoadedEncoder:
    """Load the encoder in fp32, with the spec's dropout, on the CPU, and return facts about the loading.

    Raises:
        MissingError: transformers cannot load it without executing code of the checkpoint, or cannot compute it; the
            checkpoint lacks encoder weights, or has unexpected ones; a weight is NaN or infinite.
        UsageError: the spec asks for a pooler and the architecture has none, for the first token of a decoder, or for
            more tokens than it has positions.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = load_config(spec, files)
    attention, of_transformers = attention_of(config), auto_class(config)
    try:
        encoder, report = of_transformers.from_pretrained(
            files.folder,
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # rejected below, by name
        )
    except Exception as error:  # transformers raises many types here
        raise MissingError(
            f"encoder {clean(files.name)}: transformers cannot load {files.folder}: {clean(error, 300)}",
            "peftbench loads BERT-family encoders from safetensors, and never executes a checkpoint's own code",
        ) from error
    has_pooler = getattr(encoder, "pooler", None) is not None
    check_pooling(spec.pooling, files.name, causal=is_known_causal(config), has_pooler=has_pooler)
    _check_sizes(files, report["mismatched_keys"])
    missing = _check_missing(spec, files, report["missing_keys"])
    unused = _check_unexpected(files, report["unexpected_keys"], encoder.base_model_prefix)
    _check_numbers(files, encoder.state_dict(keep_vars=True), missing)
    _check_positions(spec, files, encoder)
    check_computes(encoder, files)
    causal = is_causal(encoder)
    check_pooling(spec.pooling, files.name, causal=causal, has_pooler=has_pooler)
    detail = " (causal)" if causal else _attention_detail(config, spec.pooling)
    return LoadedEncoder(encoder, attention + detail, unused, missing, causal)


def _attention_detail(config: Any, pooling: str) -> str:
    if config.model_type == "big_bird":
        return " (original_full)"
    return " (first token global)" if config.model_type == "longformer" and pooling in ("cls", "pooler") else ""


def _check_sizes(files: EncoderFiles, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Check that all weights have the configured shape: transformers randomly initialises mismatching ones."""
    sizes = [f"{name} ({_size(there)}, not {_size(here)})" for name, there, here in mismatched]
    if sizes:
        raise MissingError(
            f"encoder {clean(files.name)}: {len(sizes)} weights of the checkpoint differ in size from its "
            f"config.json: {_short(sorted(sizes))}",
            "its config.json does not belong to its weights",
        )


def _check_missing(spec: EncoderSpec, files: EncoderFiles, names: Iterable[str]) -> tuple[str, ...]:
    """Check that all used weights came from the checkpoint: transformers randomly initialises missing ones."""
    missing = sorted(names)
    used = [name for name in missing if spec.pooling == "pooler" or not name.startswith(_POOLER)]
    if used and all(name.startswith(_POOLER) for name in used):
        raise UsageError(
            f"encoder.pooling = 'pooler': the checkpoint of {clean(files.name)} has no weights for it",
            "use --set encoder.pooling=mean, or cls",
        )
    if used:
        raise MissingError(
            f"encoder {clean(files.name)}: the checkpoint lacks {len(used)} weights: {_short(used)}",
            "its config.json does not belong to its weights",
        )
    return tuple(missing)


def _check_unexpected(files: EncoderFiles, names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Check that unexpected weights belong to heads or poolers, not to the encoder's own computation."""
    unexpected = sorted(names)
    inside = [
        name
        for name in unexpected
        if not _BESIDE_THE_ENCODER.fullmatch(name.removeprefix(f"{prefix}.").partition(".")[0])
    ]
    if inside:
        raise MissingError(
            f"encoder {clean(files.name)}: {len(inside)} weights of the checkpoint do not fit the model that its "
            f"config.json describes, and are not of a pooler or head: {_short(inside)}",
            "the model would be incomplete without them: correct the configuration (layers, architecture), or merge an "
            "adapter that the weights belong to",
        )
    return tuple(unexpected)


def _check_numbers(files: EncoderFiles, weights: Mapping[str, Any], missing: Iterable[str]) -> None:
    """Check that all floating-point weights are finite."""
    import torch

    bad = [
        name
        for name, weight in weights.items()
        if name not in missing and weight.is_floating_point() and not bool(torch.isfinite(weight).all())
    ]
    if bad:
        raise MissingError(
            f"encoder {clean(files.name)}: {len(bad)} weights of the checkpoint contain NaN or infinity: {_short(bad)}",
            "the file is damaged, or was saved after training diverged: use another copy or checkpoint",
        )


def _check_positions(spec: EncoderSpec, files: EncoderFiles, encoder: Any) -> None:
    positions = positions_of(encoder)
    if positions is not None and spec.max_length > positions:
        raise UsageError(
            f"encoder.max_length = {spec.max_length}: {clean(files.name)} has {positions} positions",
            f"use --set encoder.max_length={positions}",
        )


def set_dropout(config: Any, dropout: float | None) -> None:
    """Set every dropout in the configuration (BERT, DistilBERT, ModernBERT and T5 use different names)."""
    if dropout is None:
        return
    names = [key for key in config.to_dict() if key.endswith(_DROPOUTS) and "classif" not in key]
    for name in names:
        if isinstance(getattr(config, name), int | float):
            setattr(config, name, dropout)


def _size(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _short(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{clean(', '.join(names[:_NAMES_SHOWN]), 300)}{more}"
