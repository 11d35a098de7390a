"""The parts of a training step's memory, and how a prediction of them is scored. Light: no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a training step keeps in memory at its fullest, in bytes. The parts add up to `total`.

    weights: every weight and buffer, in every copy that is kept of it (the native path packs frozen ones on the CPU).
    trainable: those of the weights that are trained: a part of `weights`, not one more.
    gradients: of the weights that one step trains; the last step's are there while the next one runs forward.
    optimizer: AdamW's two moments and step count of every weight that any task trains.
    activations: what the forward pass keeps for backward, each storage once, weights and inputs left out.
    workspace: the rest of the peak: the batch, and what comes and goes in forward, backward or the optimiser. None
        where no peak was measured.
    """

    weights: int
    trainable: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int | None

    @property
    def kept(self) -> int:
        """All parts but the workspace: known whether a peak was measured or not."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def total(self) -> int | None:
        """The peak of torch's allocator, None where it was not measured."""
        return None if self.workspace is None else self.kept + self.workspace

    def as_dict(self) -> dict[str, int | None]:
        """Return the parts and their total, by name."""
        return {**asdict(self), "total": self.total}

    @classmethod
    def from_dict(cls, parts: Mapping[str, Any]) -> Self:
        """Return what `as_dict` was made of.

        Raises:
            KeyError: a part is missing.
        """
        return cls(**{name: parts[name] for name in cls.__dataclass_fields__})


PARTS = ("weights", "trainable", "gradients", "optimizer", "activations", "workspace", "total")


def score(predicted: Anatomy, measured: Anatomy) -> dict[str, float | None]:
    """Return each part's relative error, (predicted - measured) / measured, and the total's.

    None where nothing was measured, or where the measured part is 0 and the prediction is not: no ratio exists.
    """
    found: dict[str, float | None] = {}
    for name in PARTS:
        ours, theirs = getattr(predicted, name), getattr(measured, name)
        if ours is None or theirs is None or (theirs == 0 and ours != 0):
            found[name] = None
        else:
            found[name] = 0.0 if ours == theirs else (ours - theirs) / theirs
    return found


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The lengths of a batch's texts, in tokens: one list, or two where the texts of a pair are encoded separately.

    Raises:
        ValueError: no text, an empty one, or lists of different lengths.
    """

    parts: tuple[tuple[int, ...], ...]

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
        """Tokens without padding, of all parts."""
        return sum(map(sum, self.parts))

    @property
    def padded(self) -> int:
        """Tokens with each part padded to its longest text."""
        return sum(len(part) * max(part) for part in self.parts)

    def load(self, *, packed: bool) -> tuple[int, int]:
        """Return what memory grows with: rows of the token matrices, and of the attention's, with padding or without.

        Args:
            packed: texts lie end to end, as on the native path; else each part is padded to its longest.
        """
        rows = [part if packed else (max(part),) * len(part) for part in self.parts]
        return sum(map(sum, rows)), sum(length**2 for part in rows for length in part)
