"""Interval for a difference with two sources of noise: few seeds, and many examples that the seeds share.

The variance of a mean over seeds and examples is S + c: S, the variance between the seeds' own values over their
number, estimated with few degrees of freedom; c, the covariance of the seeds from being scored on the same examples,
estimated well. (For readers and cases of a diagnostic study: Obuchowski and Rockette 1995; Hillis 2007.)
The half width of the interval is sqrt(t^2 S + z^2 c), t Student's quantile for S alone (the form of Howe 1974): exact
where only one of the two is present. Resampling seeds with replacement instead is too narrow with three of them, and
resampling both counts their interaction up to three times (Owen 2007). `benchmarks/coverage` checks it by simulation.

The values of few seeds may coincide by chance: S is then zero, and so may be c. The interval is therefore never
narrower than the one over examples with these runs held fixed, whose variance is a lower bound of the true one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.analysis.stats.student_t import upper_quantile

ALPHA = 0.05
_SMALLEST_P = 1e-12


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """The variance of a difference, by source. Without an estimate from seeds, `of_seeds` is 0 and `seeds_df` inf.

    `of_runs` is the variance over examples with these runs held fixed; `sides` are the (variance, degrees of freedom)
    of each group's mean where S is the sum of two with unequal degrees of freedom; `seeds_df` is then Satterthwaite's.
    """

    of_seeds: float
    seeds_df: float
    of_examples: float
    examples_df: float = math.inf
    of_runs: float = 0.0
    sides: tuple[tuple[float, float], ...] = ()

    @property
    def variance(self) -> float:
        """The variance of the difference: S + c, at least that of these runs."""
        return max(self.of_seeds + self.of_examples, self.of_runs)

    def half_width(self, alpha: float = ALPHA) -> float:
        """Return half the width of the 1 - `alpha` interval."""
        both = self.square_of_seeds(alpha) + self.square_of_examples(alpha)
        return math.sqrt(max(both, _t_squared(alpha, self.examples_df) * self.of_runs))

    def square_of_seeds(self, alpha: float) -> float:
        """Return t^2 S; for two unequal sides, t^2 is between that of each alone and that of both (`of_two_sides`)."""
        if not self.of_seeds:
            return 0.0
        return of_two_sides(self.sides, alpha) if self.sides else _t_squared(alpha, self.seeds_df) * self.of_seeds

    def square_of_examples(self, alpha: float) -> float:
        """Return z^2 c."""
        return _t_squared(alpha, self.examples_df) * self.of_examples if self.of_examples else 0.0


def of_two_sides(sides: Sequence[tuple[float, float]], alpha: float) -> float:
    """Return t^2 S where S = A + B, between Welch's (with Satterthwaite's degrees of freedom) and

        (t_a^2 A^2 + t_b^2 B^2 + 2 t_ab^2 A B) / S,

    where t_ab has the degrees of freedom of both sides, t_a and t_b those of one. Welch's degrees of freedom depend on
    the estimated variances alone: two runs of an unstable method that agree by chance then pass for a well-known
    variance, and their interval against ten runs covers 88 %. The other form covers up to 98.5 % with two runs against
    three. Its weight grows with the inequality of the sides' degrees of freedom: (1 - (fewer / more)^2)^4, found by
    simulation, with which 2 against 3 to 5 against 10 runs cover 93 to 98 % whatever their variances.
    """
    (a, df_a), (b, df_b) = sides
    if not a + b:
        return 0.0
    both = _t_squared(alpha, df_a + df_b)
    apart = (_t_squared(alpha, df_a) * a**2 + _t_squared(alpha, df_b) * b**2 + 2 * both * a * b) / (a + b)
    welch = _t_squared(alpha, (a + b) ** 2 / (a**2 / df_a + b**2 / df_b)) * (a + b)
    unlike = (1 - (min(df_a, df_b) / max(df_a, df_b)) ** 2) ** 4
    return unlike * apart + (1 - unlike) * welch


def p_value(difference: float, noise: VarianceComponents) -> float:
    """Return the `alpha` at which zero lies on the edge of the interval; at least 1e-12."""
    if not difference:
        return 1.0
    if not noise.variance or noise.half_width(_SMALLEST_P) < abs(difference):
        return _SMALLEST_P
    low, high = math.log(_SMALLEST_P), math.log(1 - 1e-9)
    above, below = (noise.half_width(math.exp(edge)) - abs(difference) for edge in (low, high))
    if below > 0:
        return 1.0
    for _ in range(60):  # false position (Illinois: the value at an end kept twice is halved)
        middle = (low * below - high * above) / (below - above) if below != above else low
        off = noise.half_width(math.exp(middle)) - abs(difference)
        if abs(off) <= 1e-9 * abs(difference) or high - low < 1e-12:
            break
        if off > 0:
            low, above, below = middle, off, below / 2
        else:
            high, below, above = middle, off, above / 2
    return math.exp(middle)


def _t_squared(alpha: float, df: float) -> float:
    return upper_quantile(alpha / 2, df) ** 2
