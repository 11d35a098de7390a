"""Coverage and false alarms where each side chose its epoch and its setting, on dev and on a test split.

    python -m benchmarks.coverage --part selection [--trials 1000]

Two sides of one method. A side tries several settings (learning rates, say), each with as many seeds, and keeps the
best epoch of every run by its score on dev, then the setting with the best mean. The sides are compared on the examples
that chose (`dev`, the study's protocol), on a test split of as many others (`split.dev_is = "select"`), and on the
other half of dev where one half chose (`split.select = 0.5`). The truth is the difference of the two chosen settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from peftbench.analysis.stats.bootstrap import scored
from peftbench.analysis.stats.difference import difference

EXAMPLES = 1000  # of dev, and of the test split
RESAMPLES = 1000  # of Pearson r; `compare` draws 10,000
PROTOCOLS = ("dev", "test", "half")


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one side chooses from: settings, each of `epochs` epochs."""

    settings: int
    epochs: int

    def __str__(self) -> str:
        return f"{self.settings}x{self.epochs}"


@dataclass(frozen=True, slots=True)
class Case:
    """Two sides that differ in nothing but what they chose from.

    `between`: standard deviation of the seeds, relative to 1 for an example's difficulty; `shared`: the part of a run's
    noise on an example that all of its epochs have in common; `apart`: standard deviation of the settings' ability.
    """

    metric: str
    seeds: int
    sides: tuple[Candidates, Candidates]
    between: float = 0.0
    shared: float = 0.0
    apart: float = 0.0


@dataclass(slots=True)
class Tally:
    """Of one protocol: mean error of the difference, and how often it was covered and called different."""

    error: float = 0.0
    covered: float = 0.0
    different: float = 0.0


def cases() -> Iterator[Case]:
    one, few, many = Candidates(1, 1), Candidates(1, 3), Candidates(1, 10)
    for metric in ("accuracy", "pearson"):
        yield Case(metric, 5, (one, one))
        yield Case(metric, 5, (one, many))
        yield Case(metric, 5, (few, many))
        yield Case(metric, 3, (few, many))
        yield Case(metric, 5, (few, many), between=0.02, shared=0.5)
        yield Case(metric, 5, (few, many), between=0.1, shared=0.5)
        yield Case(metric, 5, (many, many))
        yield Case(metric, 5, (Candidates(3, 1), Candidates(10, 1)))
    yield Case("accuracy", 5, (Candidates(3, 3), Candidates(10, 10)), between=0.02, shared=0.5)
    yield Case("accuracy", 5, (Candidates(3, 3), Candidates(10, 10)), between=0.02, shared=0.5, apart=0.05)


def selection(trials: int) -> list[dict[str, Any]]:
    """Print and return, case by case, bias, coverage and false alarms of each protocol."""
    heads = "".join(f"{f'{name}: bias':>14}{'covered':>9}{'different':>11}" for name in PROTOCOLS)
    print(f"{'metric':<10}{'seeds':>6}{'tried':>14}{'between':>9}{'shared':>8}{'apart':>7}{heads}")
    rows = []
    for number, case in enumerate(cases()):
        tallies = measure(case, trials, number)
        tried = f"{case.sides[0]} v {case.sides[1]}"
        figures = "".join(f"{of.error:>+14.4f}{of.covered:>9.1%}{of.different:>11.1%}" for of in tallies.values())
        print(
            f"{case.metric:<10}{case.seeds:>6}{tried:>14}{case.between:>9g}{case.shared:>8g}{case.apart:>7g}{figures}",
            flush=True,
        )
        rows.append({"case": asdict(case), **{name: asdict(of) for name, of in tallies.items()}})
    return rows


def measure(case: Case, trials: int, number: int = 0) -> dict[str, Tally]:
    """Return the protocols' tallies, each a mean over trials."""
    rng = np.random.default_rng([11, number])
    tallies = {name: Tally() for name in PROTOCOLS}
    for _ in range(trials):
        for name, tally in tallies.items():
            select, report = _examples(name)
            count = select + (0 if name == "dev" else report)
            hardness, labels = rng.normal(size=count), rng.normal(size=count)
            sides = [_chosen(case, side, hardness, labels, select, rng) for side in case.sides]
            predictions = np.concatenate([outputs for outputs, _ in sides])
            truth = sides[1][1] - sides[0][1]
            runs = tuple(f"run-{n}" for n in range(len(predictions)))
            right = np.ones(report) if case.metric == "accuracy" else labels[-report:]
            sample = scored("task", case.metric, runs, right, predictions, resamples=RESAMPLES)
            assert sample is not None
            row = difference(sample, runs[: case.seeds], runs[case.seeds :], paired=False)
            assert row is not None
            tally.error += (row.difference - truth) / trials
            tally.covered += (row.low <= truth <= row.high) / trials
            tally.different += (row.verdict != "no detectable difference") / trials
    return tallies


def _examples(protocol: str) -> tuple[int, int]:
    """Return how many examples choose, and how many the scores are of."""
    return (EXAMPLES // 2, EXAMPLES // 2) if protocol == "half" else (EXAMPLES, EXAMPLES)


def _chosen(
    case: Case, side: Candidates, hardness: np.ndarray, labels: np.ndarray, select: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Return the chosen setting's outputs [seeds, examples] that are reported, and its true score over all seeds.

    The first `select` examples choose; they are reported where there are no others.
    """
    of_settings = 0.5 + case.apart * rng.normal(size=side.settings)
    abilities = of_settings[:, None] + case.between * rng.normal(size=(side.settings, case.seeds))
    best_score, outputs, ability = -math.inf, np.empty(0), 0.0
    for setting, of_seeds in zip(of_settings, abilities, strict=True):
        own = math.sqrt(case.shared) * rng.normal(size=(case.seeds, 1, len(hardness)))
        by_epoch = math.sqrt(1 - case.shared) * rng.normal(size=(case.seeds, side.epochs, len(hardness)))
        made = _outputs(case.metric, of_seeds[:, None, None], hardness, labels, own + by_epoch)
        values = _score(case.metric, made[..., :select], labels[:select])
        epochs = values.argmax(axis=1)
        mean = float(np.take_along_axis(values, epochs[:, None], axis=1).mean())
        if mean > best_score:
            best_score, ability = mean, float(setting)
            outputs = made[np.arange(case.seeds), epochs]
    return outputs[:, select:] if outputs.shape[1] > select else outputs, _true_score(
        case.metric, ability, case.between
    )


def _outputs(
    metric: str, ability: np.ndarray, hardness: np.ndarray, labels: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    if metric == "accuracy":
        return np.asarray(ability + hardness + noise > 0, float)
    return np.asarray((0.7 + ability) * labels + hardness + noise)


def _score(metric: str, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if metric == "accuracy":
        return np.asarray(outputs.mean(axis=-1))
    x, y = outputs - outputs.mean(axis=-1, keepdims=True), labels - labels.mean()
    return np.asarray((x @ y) / np.sqrt((x * x).sum(axis=-1) * (y @ y)))


def _true_score(metric: str, ability: float, between: float) -> float:
    if metric == "accuracy":
        return NormalDist().cdf(ability / math.sqrt(2 + between**2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)  # the mean of r over the seeds
    slope = 0.7 + ability + between * nodes
    return float(weights @ (slope / np.sqrt(slope**2 + 2)) / weights.sum())
