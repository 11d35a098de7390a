"""The native runtime: encoders computed over tokens without padding, by a class for each architecture."""

from __future__ import annotations

from typing import Any

from torch import nn

from peftbench.families import FAMILIES
from peftbench.native.base import NativeEncoder
from peftbench.native.bert import NativeBert
from peftbench.native.deberta import NativeDeberta
from peftbench.native.modernbert import NativeModernBert

__all__ = ["ARCHITECTURES", "NativeEncoder", "native_encoder", "unsupported", "why_not_native"]

ARCHITECTURES = tuple(family.encoder_class for family in FAMILIES if family.native)
_OF_THEIR_OWN: dict[str, type[NativeEncoder[Any]]] = {
    "DebertaV2Model": NativeDeberta,
    "ModernBertModel": NativeModernBert,
}


def native_encoder(encoder: nn.Module, pooling: str, **options: Any) -> NativeEncoder[Any]:
    """Return the native runtime of an encoder that `why_not_native` has no objection to; see `NativeEncoder`."""
    return _OF_THEIR_OWN.get(type(encoder).__name__, NativeBert)(encoder, pooling, **options)


def why_not_native(encoder: nn.Module) -> str | None:
    """Return why the native runtime does not support the encoder, or None if it does."""
    name = type(encoder).__name__
    if name not in ARCHITECTURES:
        return f"{name} is none of {', '.join(ARCHITECTURES)}"
    reason = unsupported(encoder.config)
    return None if reason is None else f"{name} {reason}"


def unsupported(config: Any) -> str | None:
    """Return what the native runtime lacks for a configuration of one of its architectures, or None if nothing."""
    if getattr(config, "is_decoder", False):
        return "is a decoder here"
    if getattr(config, "conv_kernel_size", 0):
        return "has a convolution after its first layer"
    kind = getattr(config, "position_embedding_type", "absolute")
    return None if kind in (None, "absolute") else f"has {kind} positions"
