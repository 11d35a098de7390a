"""Explanations of the memory parts, in words. Does not import torch."""

from __future__ import annotations

from peftbench.memory.parts import Anatomy

WORDS = {
    "weights": "all weights, including copies",
    "trainable": "trained part: heads, adapters",
    "gradients": "of the weights one step trains",
    "optimizer": "AdamW's moments, for all tasks",
    "activations": "saved in forward for backward",
    "workspace": "batch and temporary buffers",
    "total": "peak within a step",
}
BYTES_A_WEIGHT = 4  # fp32, as trained weights always are here
BYTES_TRAINED = 16


def paragraphs(anatomy: Anatomy) -> list[str]:
    """Explain an anatomy: the memory cost of a trained weight, and the share of activations.

    Args:
        anatomy: a prediction, complete.
    """
    texts = [_trained_weight(anatomy)]
    trained = anatomy.trainable + anatomy.gradients + anatomy.optimizer
    if anatomy.trainable < anatomy.weights / 2 and anatomy.activations > trained:
        texts.append(_activations(anatomy))
    return texts


def _trained_weight(anatomy: Anatomy) -> str:
    trained = anatomy.trainable // BYTES_A_WEIGHT
    each = (anatomy.trainable + anatomy.gradients + anatomy.optimizer) / trained
    return (
        f"A trained weight takes {BYTES_TRAINED} bytes: 4 for itself, 4 for its gradient, 8 for AdamW's two moments. "
        '(The "18 bytes" of other guides apply to mixed precision, with a half-precision copy of 2 more.) '
        f"Here {trained:,} weights take {each:.1f} bytes each"
        + (": a step has gradients only for its own task." if each < BYTES_TRAINED - 0.5 else ".")
    )


def _activations(anatomy: Anatomy) -> str:
    trained = anatomy.trainable + anatomy.gradients + anatomy.optimizer
    return (
        f"The trained part is small, but activations take {anatomy.activations / trained:.1f} times as much as its "
        "weights, gradients and optimiser state together: for a gradient to reach an adapter, backward passes through "
        "every layer above it, frozen or not, and needs the activations there. They grow with the tokens of a batch, "
        "and hardly with the rank."
    )
