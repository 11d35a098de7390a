"""McNemar's exact test, and Holm's correction for several p-values."""

from __future__ import annotations

from collections.abc import Sequence


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value for the discordant counts (McNemar 1947; binomial, p = 1/2)."""
    n, k = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # exact: binomial coefficients, each from the one before
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the order given (Holm 1979, step-down)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
