"""The parts of a training step's memory, and the error of a prediction. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from peftbench.store.conditions import MemoryParts


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Peak memory of a training step by part, in bytes. The parts (without `trainable`) add up to `total`.

    weights: all weights and buffers, including copies (the native runtime packs frozen weights on the CPU).
    trainable: the trained weights, already included in `weights`.
    gradients: of the weights that one step trains; those of the last step exist during the next forward pass.
    optimizer: AdamW's two moments and step count of every weight that any task trains.
    activations: saved by the forward pass for backward, each storage once, excluding weights and inputs.
    workspace: the rest of the peak: the batch, and temporary buffers in forward, backward or the optimiser. None
        if no peak was measured.
    """

    weights: int
    trainable: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int | None

    @property
    def kept(self) -> int:
        """All parts except the workspace: known even if no peak was measured."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def total(self) -> int | None:
        """The peak of torch's allocator; None if not measured."""
        return None if self.workspace is None else self.kept + self.workspace

    def as_dict(self) -> MemoryParts:
        """Return the parts and their total, by name."""
        return {
            "weights": self.weights,
            "trainable": self.trainable,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "workspace": self.workspace,
            "total": self.total,
        }

    @classmethod
    def from_dict(cls, parts: MemoryParts) -> Self:
        """Return the anatomy from the result of `as_dict`.

        Raises:
            KeyError: a part is missing.
        """
        return cls(
            weights=parts["weights"],
            trainable=parts["trainable"],
            gradients=parts["gradients"],
            optimizer=parts["optimizer"],
            activations=parts["activations"],
            workspace=parts["workspace"],
        )


PARTS = ("weights", "trainable", "gradients", "optimizer", "activations", "workspace", "total")


def score(predicted: Anatomy, measured: Anatomy) -> dict[str, float | None]:
    """Return each part's relative error, (predicted - measured) / measured, and the total's.

    None if a part was not measured, or if it was measured as 0 and predicted as non-zero (the ratio is undefined).
    """
    errors: dict[str, float | None] = {}
    for name in PARTS:
        predicted_bytes, measured_bytes = getattr(predicted, name), getattr(measured, name)
        if predicted_bytes is None or measured_bytes is None or (measured_bytes == 0 and predicted_bytes != 0):
            errors[name] = None
        else:
            errors[name] = (
                0.0 if predicted_bytes == measured_bytes else (predicted_bytes - measured_bytes) / measured_bytes
            )
    return errors


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The lengths of a batch's texts, in tokens: one list, or two if the texts of a pair are encoded separately.

    window: length of the windows that a longer text is divided into: all of its windows but one have it.

    Raises:
        ValueError: no texts, an empty text, or lists of different lengths.
    """

    parts: tuple[tuple[int, ...], ...]
    window: int | None = None

    def __post_init__(self) -> None:
        sizes = {len(part) for part in self.parts}
        if len(sizes) != 1 or 0 in sizes or any(length < 1 for part in self.parts for length in part):
            raise ValueError(f"a batch needs texts of at least one token, as many in each part, not {self.parts}")

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(self.parts[0])

    @property
    def tokens(self) -> int:
        """Tokens without padding, over all parts."""
        return sum(map(sum, self.parts))

    @property
    def padded(self) -> int:
        """Tokens with each part padded to its longest text or window."""
        return sum(len(part) * max(part) for part in self.inputs())

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """Return the lengths of what the encoder reads, as `parts`: of the windows of texts that are divided."""
        return tuple(
            tuple(length for text in part for length in windows_of(text, self.window or text)) for part in self.parts
        )

    def load(self, *, packed: bool) -> tuple[int, int]:
        """Return what memory scales with: the rows of token matrices and the size of attention matrices.

        Args:
            packed: texts are concatenated, as in the native runtime; else each part is padded to its longest text.
        """
        rows = [part if packed else (max(part),) * len(part) for part in self.inputs()]
        return sum(map(sum, rows)), sum(length**2 for part in rows for length in part)


def windows_of(tokens: int, longest: int) -> list[int]:
    """Return the lengths of the windows of a text that has so many tokens in them: all but the last are full."""
    full, rest = divmod(tokens, longest)
    return [longest] * full + [rest] * (rest > 0)
