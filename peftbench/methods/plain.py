"""The two methods without adapters: heads only, and full fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from peftbench.methods.base import Method, freeze
from peftbench.methods.options import FullOptions, LastLayerOptions


class LastLayer(Method[LastLayerOptions]):
    """The encoder frozen; only the heads, which the model owns, are trained."""

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Freeze the encoder."""
        freeze(encoder)

    def switch_mode(self, task: str) -> None:
        """Do nothing: the encoder is the same for every task."""


class Full(Method[FullOptions]):
    """Every weight of the encoder trained, shared by all tasks."""

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Make every weight trainable."""
        for weight in encoder.parameters():
            weight.requires_grad_(True)

    def switch_mode(self, task: str) -> None:
        """Do nothing: the encoder is the same for every task."""
