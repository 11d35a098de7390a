"""What the generators share: the splits, which texts and words may occur in each, and the limits of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from peftbench.data.quickstart.grammar import Draw, digest

T = TypeVar("T")

SPLITS = ("train", "dev", "test")

LABEL_NOISE = 0.05
"""The default fraction of corrupted labels."""

MAX_COUNT = 20_000
"""The maximum number of examples per split. Beyond it the search for unused sentences becomes slow."""

_PARTS = 1 + len(SPLITS)  # of a word list: one for every split, and one for each split alone


def check(split: str, count: int, label_noise: float) -> None:
    """Check the arguments that all generators have.

    Raises:
        ValueError: an unknown split, or a count or label noise out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count must be 1 to {MAX_COUNT}, not {count}")
    if not 0 <= label_noise <= 1:
        raise ValueError(f"label_noise must be 0 to 1, not {label_noise}")


def split_of(task: str, *texts: str) -> str:
    """Return the only split these texts may occur in, decided by their hash, so that splits are disjoint."""
    return SPLITS[digest("split", task, *texts) % len(SPLITS)]


def pick_for(draw: Draw, split: str, options: Sequence[T], shared: float) -> T:
    """Pick with probability `shared` one of the options of all splits, otherwise one of this split's own.

    A quarter of the list, interleaved, is for all splits, and a quarter for each split alone.
    """
    part = 0 if draw.chance(shared) else 1 + SPLITS.index(split)
    return draw.pick(options[part::_PARTS])
