"""Reproducible random choices, and the few rules of English grammar that the generators need."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

VOWELS = "aeiou"


def digest(*key: object) -> int:
    """Hash `key` to a number that does not depend on the process, platform or Python version."""
    joined = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(joined.encode()).digest(), "big")


class Draw:
    """A stream of random choices that is the same on every Python version and platform.

    Everything is derived from `random.Random.random()`, the only method whose sequence Python guarantees;
    `choice`, `shuffle` and `sample` have changed between versions and are not used.
    """

    def __init__(self, *key: object) -> None:
        self._random = random.Random(digest(*key))

    def uniform(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self._random.random()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Any of `options`."""
        return options[int(self._random.random() * len(options))]

    def other(self, options: Sequence[T], *taken: T) -> T:
        """One of `options` that is not in `taken`."""
        return self.pick([option for option in options if option not in taken])

    def two(self, options: Sequence[T]) -> tuple[T, T]:
        """Two different options, in either order."""
        first = self.pick(options)
        return first, self.other(options, first)

    def weighted(self, options: Sequence[tuple[T, float]]) -> T:
        """One of the (option, weight) pairs, in proportion to its weight."""
        mark = self.uniform(0.0, sum(weight for _, weight in options))
        for option, weight in options:
            mark -= weight
            if mark < 0:
                return option
        return options[-1][0]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All of `options`, in random order."""
        ranks = [self._random.random() for _ in options]
        return [options[i] for i in sorted(range(len(options)), key=ranks.__getitem__)]


def words(listing: str) -> tuple[str, ...]:
    """`"film, play"` -> `("film", "play")`: split a comma-separated word list."""
    return tuple(word.strip() for word in listing.split(","))


def synonyms(listing: str) -> tuple[tuple[str, ...], ...]:
    """`"doctor|physician, nurse"` -> `(("doctor", "physician"), ("nurse",))`."""
    return tuple(tuple(group.split("|")) for group in words(listing))


def a(noun: str) -> str:
    """`noun` with its indefinite article; the word lists avoid silent h and "uni-"."""
    return f"{'an' if noun[0].lower() in VOWELS else 'a'} {noun}"


def plural(noun: str) -> str:
    """The regular plural; the word lists hold no irregular noun."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def sentence(text: str, end: str = ".") -> str:
    """`text` with a capital first letter and its closing mark."""
    return text[0].upper() + text[1:] + end
