"""The native runtime: encoders computed over tokens without padding, by a class for each architecture."""

from __future__ import annotations

from typing import Any

from torch import nn

from peftbench.families import FAMILIES
from peftbench.native.base import NativeEncoder
from peftbench.native.bert import NativeBert
from peftbench.native.modernbert import NativeModernBert

__all__ = ["ARCHITECTURES", "NativeEncoder", "native_encoder", "why_not_native"]

ARCHITECTURES = tuple(family.encoder_class for family in FAMILIES if family.native)


def native_encoder(encoder: nn.Module, pooling: str, **options: Any) -> NativeEncoder[Any]:
    """Return the native runtime of an encoder that `why_not_native` has no objection to; see `NativeEncoder`."""
    kind = NativeModernBert if type(encoder).__name__ == "ModernBertModel" else NativeBert
    return kind(encoder, pooling, **options)


def why_not_native(encoder: nn.Module) -> str | None:
    """Return why the native runtime does not support the encoder, or None if it does."""
    name = type(encoder).__name__
    if name not in ARCHITECTURES:
        return f"{name} is none of {', '.join(ARCHITECTURES)}"
    config = encoder.config
    if getattr(config, "is_decoder", False):
        return f"{name} is a decoder here"
    kind = getattr(config, "position_embedding_type", "absolute")
    return None if kind in (None, "absolute") else f"{name} has {kind} positions"
