"""False alarms of k-fold cross-validation, with the variance corrected for overlapping training sets and without.

    python -m benchmarks.folds [--trials 2000]

Learners are trained: nothing of the dependence between folds is assumed. Each trial draws examples with two blocks of
features that say equally much about the label. One side learns from the first block, the other from the second, so
that their expected scores are equal; with a `gain`, the second block says more. The examples are divided as a run's are
(`data.folds`), the next fold chooses a setting of each learner, and a learner's seed is a random choice of four fifths
of its features. The verdicts are the program's, once with n_test / n_train and once with 0 in its place.

The learners: `ridge` regression (of three ridges), stable; `feature`, the single feature or the sum of three that go
with the label most, unstable because their choice is; `neighbour`, the label of the nearest example or of three.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from peftbench.analysis.stats.difference import difference
from peftbench.analysis.stats.folds import FoldSample
from peftbench.data.examples import Example
from peftbench.data.folds import folds_of
from peftbench.tasks import QuickstartSource, TaskSpec

# How much each feature of a block says, relative to the standard deviation of its noise.
SIGNALS = {
    "ridge": np.full(20, 0.2),
    "feature": np.linspace(0.0, 0.4, 20),
    "neighbour": np.full(5, 0.4),
}
SHARED = 0.5  # part of the noise that the two blocks have in common
LABEL_NOISE = 0.1  # share of labels of the other class, or sign


@dataclass(frozen=True, slots=True)
class Case:
    """A cross-validation of two learners; `gain` is added to the signal of the second, relative to it."""

    learner: str
    metric: str
    examples: int
    folds: int
    seeds: int = 1
    gain: float = 0.0


@dataclass(slots=True)
class Shares:
    """How often, of all trials, the sides were called different: corrected and uncorrected."""

    corrected: float = 0.0
    uncorrected: float = 0.0


def cases() -> Iterator[Case]:
    for learner in SIGNALS:
        for examples, folds, seeds in ((200, 3, 1), (200, 5, 1), (200, 10, 1), (200, 5, 3), (1000, 5, 1)):
            yield Case(learner, "accuracy", examples, folds, seeds)
        yield Case(learner, "pearson", 200, 5)
    for folds in (3, 5, 10):
        yield Case("ridge", "accuracy", 1000, folds, gain=0.5)


def measure(case: Case, trials: int, number: int = 0) -> Shares:
    """Return how often the sides of a case were called different."""
    rng, found = np.random.default_rng([17, number]), Shares()
    for _ in range(trials):
        scores = _scores(case, rng)  # [2, folds, seeds]
        runs = [(side, fold, seed) for side in range(2) for fold in range(case.folds) for seed in range(case.seeds)]
        names = tuple(f"{side}-{fold}-{seed}" for side, fold, seed in runs)
        values = tuple(float(scores[run]) for run in runs)
        fold_of, half = tuple(fold for _, fold, _ in runs), len(runs) // 2
        tested = case.examples // case.folds
        for attribute, share in (("corrected", 1 / (case.folds - 2)), ("uncorrected", 0.0)):
            sizes, shares = (tested,) * len(runs), (share,) * len(runs)
            sample = FoldSample("task", case.metric, case.folds, names, values, fold_of, fold_of, sizes, shares)
            row = difference(sample, names[:half], names[half:], paired=False)
            called = row is not None and row.verdict != "no detectable difference"
            setattr(found, attribute, getattr(found, attribute) + called / trials)
    return found


def _scores(case: Case, rng: np.random.Generator) -> np.ndarray:
    """Return the scores of both sides on each fold with each seed, `[2, folds, seeds]`."""
    n = case.examples
    truth = rng.normal(size=n) if case.metric == "pearson" else rng.choice([-1.0, 1.0], size=n)
    signals = SIGNALS[case.learner]
    common = rng.normal(size=(n, len(signals)))
    blocks = []
    for gain in (0.0, case.gain):
        own = rng.normal(size=common.shape)
        blocks.append(signals * (1 + gain) * truth[:, None] + SHARED**0.5 * common + (1 - SHARED) ** 0.5 * own)
    labels = np.where(rng.random(n) < LABEL_NOISE, -truth, truth)
    of_rows = folds_of(_task(case), [Example(f"{rng.integers(2**62)}", (), value) for value in labels], case.folds)
    scores = np.empty((2, case.folds, case.seeds))
    for side, block in enumerate(blocks):
        for seed in range(case.seeds):
            x = block[:, rng.permutation(len(signals))[: len(signals) * 4 // 5]]
            for fold in range(case.folds):
                tested, selects = of_rows == fold, of_rows == (fold + 1) % case.folds
                outputs = LEARNERS[case.learner](x, labels, np.flatnonzero(~(tested | selects)))
                chosen = max(outputs, key=lambda made: _score(case.metric, made[selects], labels[selects]))
                scores[side, fold, seed] = _score(case.metric, chosen[tested], labels[tested])
    return scores


def _ridge(x: np.ndarray, labels: np.ndarray, trains: np.ndarray) -> list[np.ndarray]:
    """Return the outputs for all examples, trained on some, with each setting; the other learners likewise."""
    square, cross = x[trains].T @ x[trains], x[trains].T @ labels[trains]
    return [x @ np.linalg.solve(square + ridge * np.eye(len(cross)), cross) for ridge in (0.1, 10.0, 100.0)]


def _feature(x: np.ndarray, labels: np.ndarray, trains: np.ndarray) -> list[np.ndarray]:
    cross = x[trains].T @ labels[trains]
    order = np.argsort(-np.abs(cross))
    return [x[:, order[:most]] @ np.sign(cross[order[:most]]) for most in (1, 3)]


def _neighbour(x: np.ndarray, labels: np.ndarray, trains: np.ndarray) -> list[np.ndarray]:
    near = np.argpartition((x[trains] ** 2).sum(axis=1) - 2 * x @ x[trains].T, (0, 3), axis=1)
    return [labels[trains][near[:, :most]].mean(axis=1) for most in (1, 3)]


LEARNERS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], list[np.ndarray]]] = {
    "ridge": _ridge,
    "feature": _feature,
    "neighbour": _neighbour,
}


def _score(metric: str, outputs: np.ndarray, labels: np.ndarray) -> float:
    if metric == "pearson":
        return float(np.corrcoef(outputs, labels)[0, 1])
    return float(((outputs > 0) == (labels > 0)).mean())


def _task(case: Case) -> TaskSpec:
    kind = "similarity" if case.metric == "pearson" else "binary"
    return TaskSpec(name="task", kind=kind, text=("t",), label="y", low=-9.0, high=9.0, source=QuickstartSource())


def line(case: Case, found: Shares) -> str:
    return (
        f"{case.learner:<11}{case.metric:<10}{case.examples:>9}{case.folds:>7}{case.seeds:>7}{case.gain:>6g}"
        f"{found.corrected:>11.1%}{found.uncorrected:>13.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=2000)
    trials, started = parser.parse_args().trials, time.perf_counter()
    print(
        f"{'learner':<11}{'metric':<10}{'examples':>9}{'folds':>7}{'seeds':>7}{'gain':>6}{'corrected':>11}{'uncorrected':>13}"
    )
    for number, case in enumerate(cases()):
        print(line(case, measure(case, trials, number)), flush=True)
    print(
        f"{trials} trials a line; a share of 5 % has a standard error of {(0.05 * 0.95 / trials) ** 0.5:.1%}; "
        f"Python {platform.python_version()}, numpy {np.__version__}; {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
