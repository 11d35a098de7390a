"""What the runs at hand could have shown, and how many seeds would settle what they did not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from peftbench.analysis.interval import ALPHA, Noise

Unsettled = Literal["one seed each", "no difference", "too few examples"]
POWER = 0.8
MOST_SEEDS = 1000
_GRID = 100  # points of the chi-squared density in `power`


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would be found four times in five (power 80 %, alpha 5 %, uncorrected).

    `detectable` is the smallest such true difference with these seeds and examples; `seeds_needed` the seeds on each
    side with which one as large as the observed would be. `unsettled` says why there is no such number: one seed each
    tells nothing of the spread between seeds; or the dev examples are too few, however many seeds.
    """

    detectable: float
    seeds_needed: int | None
    unsettled: Unsettled | None


def outlook(observed: float, noise: Noise, runs: tuple[int, int], paired: bool) -> Outlook:
    """Judge a difference by its noise; `runs` are those of either side."""
    return Outlook(detectable(noise), *_seeds_needed(observed, noise, runs, paired))


def power(difference: float, noise: Noise, alpha: float = ALPHA) -> float:
    """Return how often a true difference is found, where `noise` is the truth and S is estimated each time."""
    spread = math.sqrt(noise.of_seeds + noise.of_examples)
    if not spread:
        return 1.0 if difference else 0.0
    found, seeds, examples = 0.0, noise.square_of_seeds(alpha), noise.square_of_examples(alpha)
    for ratio, weight in _ratios(noise.seeds_df):
        edge = math.sqrt(seeds * ratio + examples)
        found += weight * (_beyond((edge - difference) / spread) + _beyond((edge + difference) / spread))
    return found


def detectable(noise: Noise) -> float:
    """Return the smallest true difference that is found four times in five (power 80 %, alpha 5 %)."""
    low, high = 0.0, noise.half_width()
    while high and power(high, noise) < POWER:
        low, high = high, 2 * high
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, noise) < POWER else (low, middle)
    return high


def _seeds_needed(
    observed: float, noise: Noise, runs: tuple[int, int], paired: bool
) -> tuple[int, None] | tuple[None, Unsettled]:
    if runs == (1, 1):
        return None, "one seed each"
    if not observed:
        return None, "no difference"
    of_one = noise.of_seeds * 2 / (1 / runs[0] + 1 / runs[1])

    def found(seeds: int) -> bool:
        df = (seeds - 1.0) * (1 if paired else 2)
        return power(abs(observed), replace(noise, of_seeds=of_one / seeds, seeds_df=df)) >= POWER

    if not found(MOST_SEEDS):
        return None, "too few examples"
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high, None


@lru_cache(maxsize=512)
def _ratios(df: float) -> list[tuple[float, float]]:
    """Return values of an estimated over a true variance (chi-squared over its `df`), with their weights."""
    if math.isinf(df):
        return [(1.0, 1.0)]
    half, spread = df / 2, math.sqrt(2 / df)
    low = min(1e-6 ** (1 / half), 0.5) * 0.01
    high = 1 + 12 * spread + 24 / df
    steps = [math.log(low) + (n + 0.5) / _GRID * math.log(high / low) for n in range(_GRID)]
    weights = [math.exp(half * (step - math.exp(step) + 1)) for step in steps]
    total = sum(weights)
    return [(math.exp(step), weight / total) for step, weight in zip(steps, weights, strict=True)]


def _beyond(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
