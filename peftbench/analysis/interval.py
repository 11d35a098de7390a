"""An interval for a difference whose noise has two sources: few seeds, and many examples that the seeds share.

The variance of a mean over seeds and examples is S + c: S, the variance between the seeds' own values over their
number, known with few degrees of freedom; c, what the seeds have in common because they are scored on the same
examples, known well. (For readers and cases of a diagnostic study: Obuchowski and Rockette 1995; Hillis 2007.)
The half width of the interval is sqrt(t^2 S + z^2 c), t Student's quantile for S alone (the form of Howe 1974): exact
where only one of the two is there. Resampling seeds with replacement instead is too narrow with three of them, and
resampling both counts their interaction up to three times (Owen 2007). `benchmarks/coverage` holds it to simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from peftbench.analysis.student import quantile_beyond

ALPHA = 0.05
_SMALLEST_P = 1e-12


@dataclass(frozen=True, slots=True)
class Noise:
    """The two parts of a difference's variance. Without seeds to judge by, `of_seeds` is 0 and `seeds_df` inf."""

    of_seeds: float
    seeds_df: float
    of_examples: float
    examples_df: float = math.inf

    def half_width(self, alpha: float = ALPHA) -> float:
        """Return half the width of the interval that leaves out `alpha`."""
        return math.sqrt(self.square_of_seeds(alpha) + self.square_of_examples(alpha))

    def square_of_seeds(self, alpha: float) -> float:
        """Return t^2 S."""
        return quantile_beyond(alpha / 2, self.seeds_df) ** 2 * self.of_seeds if self.of_seeds else 0.0

    def square_of_examples(self, alpha: float) -> float:
        """Return z^2 c."""
        return quantile_beyond(alpha / 2, self.examples_df) ** 2 * self.of_examples if self.of_examples else 0.0


def p_value(difference: float, noise: Noise) -> float:
    """Return the `alpha` at which zero lies on the edge of the interval; 1e-12 where it is smaller."""
    if not difference:
        return 1.0
    if not noise.of_seeds + noise.of_examples or noise.half_width(_SMALLEST_P) < abs(difference):
        return _SMALLEST_P
    low, high = math.log(_SMALLEST_P), math.log(1 - 1e-9)
    if noise.half_width(math.exp(high)) > abs(difference):
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if noise.half_width(math.exp(middle)) > abs(difference) else (low, middle)
    return math.exp((low + high) / 2)
