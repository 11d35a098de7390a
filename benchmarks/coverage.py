"""Does a 95 % interval cover the truth 95 times in 100, and how often are two like groups called different?

    python -m benchmarks.coverage [--trials 1000] [--json FILE] [--one-seed]

Synthetic groups of runs on the same examples, of which the true difference is known: an example is harder or easier
for every run, a seed better or worse on every example, and the rest is noise of its own. Coverage and false alarms of
`compare`'s statistics are counted over many such pairs of groups.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from peftbench.analysis.difference import MetricDifference, corrected, difference
from peftbench.analysis.samples import Sample, average, scored

RESAMPLES = 1000  # of Pearson r, for the shape and the shared part; `compare` draws 10,000
ALARMS = "false alarms"


@dataclass(frozen=True, slots=True)
class Setting:
    """A pair of groups. `between`: the seeds' standard deviation, beside 1 for the noise of one run on one example."""

    metric: str
    runs: tuple[int, int]
    paired: bool
    examples: int
    between: float
    gain: float


@dataclass(frozen=True, slots=True)
class Found:
    """How often the interval held the truth, and (without a gain) how often a difference was seen."""

    setting: Setting
    covered: float
    different: float
    trials: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--one-seed", action="store_true", help="one run on each side instead: nothing tells of seeds")
    arguments = parser.parse_args()
    started = time.monotonic()
    print(
        f"{'metric':<10}{'seeds':>7}  {'by seed':<8}{'examples':>9}{'seeds sd':>10}{'gain':>6}"
        f"{'covered':>10}{'different':>11}"
    )
    found = []
    for number, setting in enumerate(one_seed() if arguments.one_seed else settings()):
        found.append(measure(setting, arguments.trials, number))
        print(line(found[-1]), flush=True)
    alarms = {} if arguments.one_seed else whole_comparisons(arguments.trials)
    machine = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(
        f"{arguments.trials} trials a line; a share of 95 % has a standard error of "
        f"{math.sqrt(0.95 * 0.05 / arguments.trials):.1%}; {machine}; {time.monotonic() - started:.0f} s"
    )
    if arguments.json:
        rows = [asdict(each) for each in found]
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows, ALARMS: alarms}, indent=2) + "\n")


def whole_comparisons(trials: int) -> dict[str, float]:
    """Print and return how often whole comparisons of two like groups find a difference."""
    print(f"\nwhole comparisons of two like groups (two accuracies, one Pearson r, their mean; Holm), {trials} each")
    alarms: dict[str, float] = {}
    for runs in (3, 5):
        for between in (0.0, 0.1, 0.3):
            alarms[f"{runs} seeds, sd {between}"] = share = false_alarms(runs, between, trials)
            print(
                f"  {runs} seeds on each side, seeds sd {between}: any metric called different in {share:.1%}",
                flush=True,
            )
    return alarms


def one_seed() -> Iterator[Setting]:
    for metric in ("accuracy", "pearson"):
        for between in (0.0, 0.1, 0.3):
            yield Setting(metric, (1, 1), True, 1000, between, 0.0)


def settings() -> Iterator[Setting]:
    for metric in ("accuracy", "pearson"):
        for runs, paired in (((3, 3), True), ((5, 5), True), ((3, 3), False), ((5, 5), False), ((3, 5), False)):
            for between in (0.0, 0.1, 0.3):
                yield Setting(metric, runs, paired, 1000, between, 0.0)
        yield Setting(metric, (3, 3), True, 300, 0.1, 0.2)
        yield Setting(metric, (5, 5), True, 300, 0.1, 0.2)
        yield Setting(metric, (2, 2), True, 1000, 0.1, 0.0)


def line(found: Found) -> str:
    of = found.setting
    seeds = f"{of.runs[0]}+{of.runs[1]}"
    return (
        f"{of.metric:<10}{seeds:>7}  {'paired' if of.paired else 'apart':<8}{of.examples:>9}{of.between:>10}"
        f"{of.gain:>6}{found.covered:>10.1%}{found.different if not of.gain else math.nan:>11.1%}"
    ).replace("nan%", "   –")


def measure(setting: Setting, trials: int, number: int = 0) -> Found:
    """Count, over synthetic pairs of groups."""
    rng = np.random.default_rng([7, number])
    truth = true_difference(setting)
    covered = different = 0
    for _ in range(trials):
        found = compared(drawn(setting, rng), setting)
        covered += found.low <= truth <= found.high
        different += found.verdict != "no detectable difference"
    return Found(setting, covered / trials, different / trials, trials)


def false_alarms(runs: int, between: float, trials: int) -> float:
    """Return how often two groups of one distribution are called different in any of four metrics."""
    rng = np.random.default_rng([8, runs, round(100 * between)])
    setting = Setting("accuracy", (runs, runs), True, 500, between, 0.0)
    alarms = 0
    for _ in range(trials):
        tasks = [
            drawn(replace(setting, metric=metric), rng, name)
            for name, metric in (("one", "accuracy"), ("two", "accuracy"), ("three", "pearson"))
        ]
        rows = corrected([compared(each, setting) for each in (*tasks, average(tasks))])
        alarms += any(row.verdict != "no detectable difference" for row in rows)
    return alarms / trials


def compared(sample: Sample, setting: Setting) -> MetricDifference:
    a = setting.runs[0]
    found = difference(sample, sample.runs[:a], sample.runs[a:], setting.paired)
    assert found is not None
    return found


def drawn(setting: Setting, rng: np.random.Generator, name: str = "task") -> Sample:
    """Draw the predictions of two groups on the same examples. Runs of one seed share half of the seed's variance."""
    total, n = sum(setting.runs), setting.examples
    seeds = rng.normal(size=total)
    if setting.paired:
        half = setting.runs[0]
        common = np.tile(rng.normal(size=half), 2)
        seeds = (seeds + common) / math.sqrt(2)
    gains = np.repeat((0.0, setting.gain), setting.runs)
    ability = (0.5 + gains + setting.between * seeds)[:, None]
    hardness, noise = rng.normal(size=n), rng.normal(size=(total, n))
    runs = tuple(f"run-{number}" for number in range(total))
    if setting.metric == "accuracy":
        made = scored(name, "accuracy", runs, np.ones(n), (ability + hardness + noise > 0).astype(float))
    else:
        labels = rng.normal(size=n)
        made = scored(name, "pearson", runs, labels, (0.7 + ability) * labels + hardness + noise, resamples=RESAMPLES)
    assert made is not None
    return made


def true_difference(setting: Setting) -> float:
    """Return the difference in the mean over all seeds and examples that there could be."""
    of = _true_accuracy if setting.metric == "accuracy" else _true_pearson
    return of(0.5 + setting.gain, setting.between) - of(0.5, setting.between)


def _true_accuracy(ability: float, between: float) -> float:
    return NormalDist().cdf(ability / math.sqrt(2 + between**2))


def _true_pearson(ability: float, between: float) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)  # the mean of r over the seeds
    slope = 0.7 + ability + between * nodes
    return float(weights @ (slope / np.sqrt(slope**2 + 2)) / weights.sum())


if __name__ == "__main__":
    main()
