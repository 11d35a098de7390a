"""What the parts mean, in words. Light: no torch."""

from __future__ import annotations

from peftbench.anatomy.parts import Anatomy

WORDS = {
    "weights": "all weights, in every copy kept",
    "trainable": "of them trained: heads, adapters",
    "gradients": "of what one step trains",
    "optimizer": "AdamW's moments, of all tasks",
    "activations": "what forward keeps for backward",
    "workspace": "batch, and what comes and goes",
    "total": "at the fullest moment of a step",
}
BYTES_A_WEIGHT = 4  # fp32, as trained weights always are here
BYTES_TRAINED = 16


def paragraphs(anatomy: Anatomy) -> list[str]:
    """Return what a reader of these figures wants to know: the price of a trained weight, and where the rest goes.

    Args:
        anatomy: a prediction, complete.
    """
    found = [_trained_weight(anatomy)]
    trained = anatomy.trainable + anatomy.gradients + anatomy.optimizer
    if anatomy.trainable < anatomy.weights / 2 and anatomy.activations > trained:
        found.append(_activations(anatomy))
    return found


def _trained_weight(anatomy: Anatomy) -> str:
    trained = anatomy.trainable // BYTES_A_WEIGHT
    each = (anatomy.trainable + anatomy.gradients + anatomy.optimizer) / trained
    return (
        f"A trained weight takes {BYTES_TRAINED} bytes: 4 for itself, 4 for its gradient, 8 for AdamW's two moments. "
        '(The "18 bytes" of other guides are those of mixed precision, with a half-precision copy of 2 more.) '
        f"Here {trained:,} weights take {each:.1f} bytes each"
        + (": a step has gradients for its own task's only." if each < BYTES_TRAINED - 0.5 else ".")
    )


def _activations(anatomy: Anatomy) -> str:
    trained = anatomy.trainable + anatomy.gradients + anatomy.optimizer
    return (
        f"What is trained is small, but activations are {anatomy.activations / trained:.1f} times as much as it, its "
        "gradients and its optimiser state together: for a gradient to reach an adapter, backward goes through every "
        "layer above it, frozen or not, and needs what forward computed there. That grows with the tokens of a batch, "
        "hardly with the rank."
    )
