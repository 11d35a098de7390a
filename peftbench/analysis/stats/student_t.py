"""Student's t: probabilities and quantiles, for any degrees of freedom. Importing scipy would take half a second."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_NORMAL = NormalDist()
_AS_NORMAL = 1e6  # degrees of freedom from which the two differ by less than 1e-6
_TINY = 1e-300


def two_sided_p(t: float, df: float) -> float:
    """Return the probability of a |t| at least as large, at `df` degrees of freedom (a positive number, or inf)."""
    if math.isinf(t):
        return 0.0
    if df >= _AS_NORMAL:
        return math.erfc(abs(t) / math.sqrt(2))
    return _incomplete_beta(df / 2, 0.5, df / (df + t * t), t * t / (df + t * t)) if t else 1.0


@lru_cache(maxsize=4096)
def quantile(p: float, df: float) -> float:
    """Return the `p` quantile of t, 0 < p < 1."""
    if df >= _AS_NORMAL:
        return _NORMAL.inv_cdf(p)
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -upper_quantile(p, df)
    return upper_quantile(1 - p, df)


@lru_cache(maxsize=4096)
def upper_quantile(tail: float, df: float) -> float:
    """Return the positive t that is exceeded with probability `tail`, 0 < tail < 0.5; accurate far out, too."""
    if df >= _AS_NORMAL:
        return -_NORMAL.inv_cdf(tail)
    z = _NORMAL.inv_cdf(tail)
    squares = (z * (8 * df + 3) / (8 * df + 1)) ** 2 / df  # Wallace 1959: near the quantile
    guess, low, high = math.sqrt(df * math.expm1(min(squares, 600.0))), 0.0, math.inf
    for _ in range(200):
        probability = two_sided_p(guess, df)
        low, high = (guess, high) if probability > 2 * tail else (low, guess)
        # Newton's step for the logarithms of both, of which one is nearly linear in the other far out
        slope = 2 * _density(guess, df) * guess / probability if probability else 0.0
        power = math.log(probability / (2 * tail)) / slope if slope else math.inf
        following = guess * math.exp(power) if abs(power) < 10 else math.nan
        if not low <= following <= high:
            following = (low + high) / 2 if high < math.inf else 4 * guess
        if abs(following - guess) <= 1e-8 * guess:  # the next step would be about the square of this one
            return following
        guess = following
    return guess


def _density(t: float, df: float) -> float:
    scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(scale - (df + 1) / 2 * math.log1p(t * t / df))


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), rest = 1 - x (DLMF 8.17.22, continued fraction)."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction by Lentz's method."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _nonzero(1 + term * d)
            c = _nonzero(1 + term / c)
            change = c * d
            value *= change
        if abs(change - 1) < 1e-15:
            break
    return value


def _nonzero(value: float) -> float:
    """Replace a denominator near zero by a tiny number."""
    return value if abs(value) > _TINY else _TINY
