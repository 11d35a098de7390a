"""Sizes of an encoder, determined from its modules and configuration rather than from a list of families."""

from __future__ import annotations

from typing import Any

_TABLES = ("position_embeddings", "embed_positions")


def hidden_size(encoder: Any) -> int:
    """Return the width of an encoder's output."""
    return int(encoder.config.hidden_size)


def positions_of(encoder: Any) -> int | None:
    """Return the maximum input length of an encoder in tokens; None if unbounded.

    It is bounded by the rows of a position embedding table, not counting those up to a padding row, as in RoBERTa
    (`create_position_ids_from_input_ids`), and by a buffer `position_ids`. Without a table (rotary or relative
    positions), the configuration's `max_position_embeddings` applies.
    """
    bounds = [
        int(module.weight.shape[0]) - (0 if module.padding_idx is None else module.padding_idx + 1)
        for module in _tables(encoder)
    ]
    if not bounds:
        stated = getattr(encoder.config, "max_position_embeddings", None)
        return stated if isinstance(stated, int) and stated > 0 else None
    bounds += [
        int(buffer.shape[-1]) for name, buffer in encoder.named_buffers() if name.rpartition(".")[2] == "position_ids"
    ]
    return min(bounds)


def counts_from_padding(encoder: Any) -> bool:
    """Return whether positions are counted over non-padding tokens, as in RoBERTa."""
    return any(module.padding_idx is not None for module in _tables(encoder))


def _tables(encoder: Any) -> list[Any]:
    return [
        module
        for name, module in encoder.named_modules()
        if name.rpartition(".")[2] in _TABLES and hasattr(module, "weight") and hasattr(module, "padding_idx")
    ]
