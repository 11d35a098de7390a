"""Find, verify and load pretrained encoders. Safetensors only; code in a checkpoint is never executed."""

from __future__ import annotations

from peftbench.encoder.causal import check_pooling, is_known_causal, notes_of_decoder
from peftbench.encoder.classes import attention_of, auto_class
from peftbench.encoder.files import (
    EMBEDDED_NAME,
    EncoderFiles,
    embedded_is_installed,
    find_encoder,
    find_without_weights,
    public_name,
)
from peftbench.encoder.loading import (
    LoadedEncoder,
    load_config,
    load_encoder,
    load_with_facts,
    set_dropout,
)
from peftbench.encoder.tokenizer import check_fits, load_tokenizer, padding_of, tokenizer_facts

__all__ = [
    "EMBEDDED_NAME",
    "EncoderFiles",
    "LoadedEncoder",
    "attention_of",
    "auto_class",
    "check_fits",
    "check_pooling",
    "embedded_is_installed",
    "find_encoder",
    "find_without_weights",
    "is_known_causal",
    "load_config",
    "load_encoder",
    "load_tokenizer",
    "load_with_facts",
    "notes_of_decoder",
    "padding_of",
    "public_name",
    "set_dropout",
    "tokenizer_facts",
]
