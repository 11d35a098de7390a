"""Power analysis: the difference that the runs could detect, and the seeds needed to detect the observed one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from peftbench.analysis.stats.interval import ALPHA, VarianceComponents, of_two_sides

Unsettled = Literal["one seed each", "one seed on a side", "no difference", "too few examples", "folds"]
POWER = 0.8
MOST_SEEDS = 1000
_GRID = 100  # points of the chi-squared density in `power`
_GRID_OF_TWO = 32  # likewise, of each of two


@dataclass(frozen=True, slots=True)
class PowerAnalysis:
    """What the verdict detects with power 80 %, at alpha 5 % over all `tests` of the comparison.

    `detectable` is the smallest such true difference with these seeds and examples; None where the runs' answers are
    identical, so that there is no noise to estimate. `seeds_needed` is the number of seeds on each side with which one
    as large as the observed would be detected. `unsettled` is the reason where there is no such number: a single run
    gives no variance between seeds; the dev examples are too few for any number of seeds; or it is the variance between
    folds that counts, most of which is of their examples and stays with any number of seeds.
    """

    detectable: float | None
    seeds_needed: int | None
    unsettled: Unsettled | None
    tests: int = 1


def power_analysis(
    observed: float,
    noise: VarianceComponents,
    runs: tuple[int, int],
    paired: bool,
    tests: int = 1,
    folds: bool = False,
) -> PowerAnalysis:
    """Return the power analysis of an observed difference.

    Args:
        observed: the difference.
        noise: its variance, by source.
        runs: their number on each side.
        paired: whether they are paired by seed.
        tests: the number of differences in Holm's correction. The power holds at its first step (alpha over `tests`),
            whatever the other differences are; where these are real too, it is slightly higher.
        folds: whether S is the variance of the mean over folds.
    """
    alpha = ALPHA / tests
    if folds:
        return PowerAnalysis(detectable(noise, alpha), None, "folds", tests)
    seeds_needed, unsettled = _seeds_needed(observed, noise, runs, paired, alpha)
    return PowerAnalysis(detectable(noise, alpha), seeds_needed, unsettled, tests)


def power(difference: float, noise: VarianceComponents, alpha: float = ALPHA) -> float:
    """Return the probability of detecting a true difference, where `noise` is true and S is estimated each time."""
    if not noise.variance:
        return 1.0 if difference else 0.0
    noise = _at_least_of_runs(noise)
    spread, probability = math.sqrt(noise.variance), 0.0
    fixed, examples = _of_these_runs(noise, alpha), noise.square_of_examples(alpha)
    for seeds, weight in _estimates(noise, alpha):
        edge = math.sqrt(max(seeds + examples, fixed))
        probability += weight * (_beyond((edge - difference) / spread) + _beyond((edge + difference) / spread))
    return probability


def detectable(noise: VarianceComponents, alpha: float = ALPHA) -> float | None:
    """Return the smallest true difference that is detected with power 80 %; None without noise."""
    if not noise.variance:
        return None
    low, high = 0.0, noise.half_width(alpha)
    while power(high, noise, alpha) < POWER:
        low, high = high, 2 * high
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, noise, alpha) < POWER else (low, middle)
    return high


def _at_least_of_runs(noise: VarianceComponents) -> VarianceComponents:
    """Return noise whose S is at least what these runs' answers imply: the seeds' values may agree by chance."""
    least = noise.of_runs - noise.of_examples
    if noise.of_seeds >= least:
        return noise
    if noise.sides and noise.of_seeds:
        sides = tuple((variance * least / noise.of_seeds, df) for variance, df in noise.sides)
        return replace(noise, of_seeds=least, sides=sides)
    return replace(noise, of_seeds=least, sides=())


def _of_these_runs(noise: VarianceComponents, alpha: float) -> float:
    return replace(noise, of_seeds=0.0, of_examples=0.0).half_width(alpha) ** 2


@lru_cache(maxsize=64)
def _estimates(noise: VarianceComponents, alpha: float) -> list[tuple[float, float]]:
    """Return the distribution of the estimate of t^2 S, as (value, weight)."""
    if not noise.of_seeds:
        return [(0.0, 1.0)]
    if not noise.sides:
        square = noise.square_of_seeds(alpha)
        return [(square * ratio, weight) for ratio, weight in _ratios(noise.seeds_df)]
    (a, df_a), (b, df_b) = noise.sides
    return [
        (of_two_sides(((a * of_a, df_a), (b * of_b, df_b)), alpha), weight_a * weight_b)
        for of_a, weight_a in _ratios(df_a, _GRID_OF_TWO)
        for of_b, weight_b in _ratios(df_b, _GRID_OF_TWO)
    ]


def _seeds_needed(
    observed: float, noise: VarianceComponents, runs: tuple[int, int], paired: bool, alpha: float
) -> tuple[int, None] | tuple[None, Unsettled]:
    if min(runs) == 1:
        return None, "one seed each" if max(runs) == 1 else "one seed on a side"
    if not observed:
        return None, "no difference"
    known = _at_least_of_runs(noise)
    of_one = 2 / (1 / runs[0] + 1 / runs[1])
    apart = max(known.of_runs - known.of_examples, 0.0)

    def detectable(seeds: int) -> bool:
        df, share = (seeds - 1.0) * (1 if paired else 2), of_one / seeds
        of_runs = known.of_examples + apart * share
        expected = replace(known, of_seeds=known.of_seeds * share, seeds_df=df, sides=(), of_runs=of_runs)
        return power(abs(observed), expected, alpha) >= POWER

    if not detectable(MOST_SEEDS):
        return None, "too few examples"
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle) else (middle, high)
    return high, None


@lru_cache(maxsize=512)
def _ratios(df: float, points: int = _GRID) -> list[tuple[float, float]]:
    """Return ratios of an estimated to a true variance (chi-squared over its `df`), with their weights."""
    if math.isinf(df):
        return [(1.0, 1.0)]
    half, spread = df / 2, math.sqrt(2 / df)
    low = min(1e-4 ** (1 / half), 0.5) * 0.1
    high = 1 + 12 * spread + 24 / df
    steps = [math.log(low) + (n + 0.5) / points * math.log(high / low) for n in range(points)]
    weights = [math.exp(half * (step - math.exp(step) + 1)) for step in steps]
    total = sum(weights)
    return [(math.exp(step), weight / total) for step, weight in zip(steps, weights, strict=True)]


def _beyond(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
