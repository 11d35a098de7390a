"""Coverage of 95 % intervals, and false alarms between equal groups, by simulation.

    python -m benchmarks.coverage [--part PART] [--trials 1000] [--json FILE]

Synthetic groups of runs on the same examples with a known true difference: an example's difficulty is common to all
runs, a seed's effect to all examples, and the rest is independent noise. Coverage and false alarms of the statistics of
`compare` are counted over many such pairs of groups. PART:

    alike       groups of similar numbers of seeds with equal spread, and full comparisons (the default)
    unequal     unequal numbers of seeds with unequal spread; one run on a side is reported as refused
    means       the same without examples, with many more trials: only the formula for two unequal sides
    coinciding  runs with nearly equal answers, whose seeds' differences often coincide by chance
    outliers    Pearson r with a few outlying predictions
    one-seed    one run on each side: no estimate of seed variance
    metrics     other headline metrics of equal groups: F1, MCC, kappa and the like of rare labels, Spearman, R2
    clusters    clustered examples, each cluster favouring one method: resampled singly, and by cluster
    selection   each side chose its epochs and its setting, on dev, beside a test split (`benchmarks/selection.py`)
    power       how often the verdict detects the difference stated as detectable
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

from benchmarks.selection import selection
from peftbench.analysis.stats.bootstrap import ScoreSample, average, scored
from peftbench.analysis.stats.difference import MetricDifference, corrected, difference
from peftbench.analysis.stats.interval import ALPHA
from peftbench.analysis.stats.power import detectable
from peftbench.analysis.stats.variance_components import of_means

RESAMPLES = 1000  # of Pearson r, for the asymmetry and the shared variance; `compare` draws 10,000
ALARMS = "false alarms"
SPREADS = ((6.0, 1.0), (3.0, 1.0), (1.0, 1.0), (1.0, 3.0), (1.0, 6.0))  # of the seeds of each side, in `means`
OF_SCORES = ("pearson", "spearman", "r2")
RARE = 0.2  # share of label 1, for metrics of classes
CLUSTER_EFFECT = 1.0  # standard deviation of a cluster's effect on one method, relative to its effect on all


@dataclass(frozen=True, slots=True)
class Setting:
    """A pair of groups. `between`: the seeds' standard deviation, relative to 1 for one run's noise on one example.

    `other`: that of the second group's seeds, where it differs; `own`: the noise of one run on one example, if not 1;
    `far_off`: the share of predictions with ten times the noise. `size`: examples in a cluster, which has its own
    difficulty and effect on each method; `whole`: clusters are resampled, not examples.
    """

    metric: str
    runs: tuple[int, int]
    paired: bool
    examples: int
    between: float
    gain: float
    other: float | None = None
    own: float = 1.0
    far_off: float = 0.0
    size: int = 1
    whole: bool = False

    @property
    def spreads(self) -> tuple[float, float]:
        """The seeds' standard deviation in each group."""
        return self.between, self.between if self.other is None else self.other


@dataclass(frozen=True, slots=True)
class Found:
    """How often the interval covered the truth, and (without a gain) how often a difference was found.

    `refused`: the share of results about these runs only; `coincide`: of those whose seeds' values do not vary.
    """

    setting: Setting
    covered: float
    different: float
    trials: int
    refused: float = 0.0
    coincide: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--part", choices=(*PARTS, "power", "means", "selection"), default="alike")
    arguments = parser.parse_args()
    started = time.monotonic()
    found = []
    if arguments.part in PARTS:
        print(
            f"{'metric':<18}{'seeds':>6}  {'by seed':<8}{'examples':>9}{'seeds sd':>10}{'gain':>6}"
            f"{'covered':>10}{'different':>11}"
        )
        for number, setting in enumerate(PARTS[arguments.part]()):
            found.append(measure(setting, arguments.trials, number))
            print(line(found[-1]), flush=True)
    alarms = whole_comparisons(arguments.trials) if arguments.part == "alike" else {}
    if arguments.part == "means":
        alarms = means(arguments.trials)
    if arguments.part == "power":
        alarms = powers(arguments.trials)
    selected = selection(arguments.trials) if arguments.part == "selection" else []
    machine = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(
        f"{arguments.trials} trials a line; a share of 95 % has a standard error of "
        f"{math.sqrt(0.95 * 0.05 / arguments.trials):.1%}; {machine}; {time.monotonic() - started:.0f} s"
    )
    if arguments.json:
        rows = [asdict(each) for each in found]
        arguments.json.write_text(
            json.dumps({"machine": machine, "rows": rows or selected, ALARMS: alarms}, indent=2) + "\n"
        )


def whole_comparisons(trials: int) -> dict[str, float]:
    """Print and return how often full comparisons of two equal groups find a difference."""
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


def unequal() -> Iterator[Setting]:
    """Fewer runs with a larger spread, with an equal one, with a smaller one."""
    for metric in ("accuracy", "pearson"):
        for runs in ((2, 3), (2, 5), (2, 10), (3, 5), (3, 10)):
            for between, other in ((0.3, 0.1), (0.1, 0.1), (0.1, 0.3)):
                yield Setting(metric, runs, False, 1000, between, 0.0, other)
        yield Setting(metric, (3, 1), False, 1000, 0.1, 0.0, 0.3)


def coinciding() -> Iterator[Setting]:
    for examples, own in ((300, 0.1), (300, 0.3), (1000, 0.1)):
        for runs, paired in (((2, 2), True), ((2, 2), False), ((3, 3), True)):
            for between in (0.0, 0.02):
                yield Setting("accuracy", runs, paired, examples, between, 0.0, own=own)


def outliers() -> Iterator[Setting]:
    for examples in (300, 1000):
        for far_off in (0.01, 0.05):
            yield Setting("pearson", (1, 1), False, examples, 0.0, 0.0, far_off=far_off)
            yield Setting("pearson", (3, 3), True, examples, 0.1, 0.0, far_off=far_off)


def others() -> Iterator[Setting]:
    for metric in ("balanced_accuracy", "f1", "macro_f1", "weighted_f1", "mcc", "cohen_kappa", "spearman", "r2"):
        yield Setting(metric, (3, 3), True, 1000, 0.1, 0.0)
        yield Setting(metric, (5, 5), False, 300, 0.1, 0.0)
    yield Setting("macro_f1", (1, 1), True, 1000, 0.0, 0.0)
    yield Setting("mcc", (3, 3), True, 1000, 0.1, 0.0, size=10, whole=True)


def clusters() -> Iterator[Setting]:
    for metric in ("accuracy", "pearson"):
        for size in (1, 3, 10):
            for whole in (False, True) if size > 1 else (False,):
                yield Setting(metric, (3, 3), True, 1000, 0.1, 0.0, size=size, whole=whole)
    for whole in (False, True):
        yield Setting("accuracy", (1, 1), True, 1000, 0.0, 0.0, size=10, whole=whole)
        yield Setting("accuracy", (3, 3), True, 300, 0.1, 0.0, size=10, whole=whole)


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
    spreads = "/".join(f"{sd:g}" for sd in dict.fromkeys(of.spreads)) if of.other is not None else str(of.between)
    head = (
        f"{of.metric:<18}{seeds:>6}  {'paired' if of.paired else 'apart':<8}{of.examples:>9}{spreads:>10}{of.gain:>6}"
    )
    if found.refused and of.runs != (1, 1):
        return f"{head}  no verdict over seeds in {found.refused:.0%}: one run on a side"
    notes = f"  own noise {of.own:g}, {found.coincide:.1%} coincide" if of.own != 1 else ""
    notes += f"  {of.far_off:.0%} far off" if of.far_off else ""
    notes += f"  clusters of {of.size}, resampled {'whole' if of.whole else 'one by one'}" if of.size > 1 else ""
    figures = f"{found.covered:>10.1%}{found.different if not of.gain else math.nan:>11.1%}"
    return f"{head}{figures}{notes}".replace("nan%", "   –")


def measure(setting: Setting, trials: int, number: int = 0) -> Found:
    """Return coverage and false alarms over synthetic pairs of groups."""
    rng = np.random.default_rng([7, number])
    truth = true_difference(setting)
    counts = np.zeros(4)
    for _ in range(trials):
        found = compared(drawn(setting, rng), setting)
        held, different = found.low <= truth <= found.high, found.verdict != "no detectable difference"
        counts += (held, different, found.of_these_runs, found.noise.of_seeds < 1e-12)
    covered, seen, refused, coincide = (float(count) / trials for count in counts)
    return Found(setting, covered, seen, trials, refused, coincide)


def powers(trials: int) -> dict[str, float]:
    """Print and return how often the verdict detects, in one of four metrics, the difference stated as detectable.

    The stated difference is the median over a quarter as many comparisons of equal groups.
    """
    print("one accuracy with the stated difference; another, a Pearson r and their mean beside it (Holm)")
    found: dict[str, float] = {}
    for runs in (3, 5):
        rng = np.random.default_rng([9, runs])
        alike = Setting("accuracy", (runs, runs), True, 500, 0.1, 0.0)
        stated = float(np.median([_first(alike, rng)[1] for _ in range(max(trials // 4, 20))]))
        gain = NormalDist().inv_cdf(_true_accuracy(0.5, 0.1) + stated) * math.sqrt(2 + 0.1**2) - 0.5
        better = sum(_first(replace(alike, gain=gain), rng)[0].verdict == "better" for _ in range(trials))
        found[f"{runs} seeds"] = share = better / trials
        print(f"  {runs} seeds on each side could have shown {100 * stated:.1f} pt: found in {share:.1%}", flush=True)
    return found


def _first(setting: Setting, rng: np.random.Generator) -> tuple[MetricDifference, float]:
    """Return the corrected first of four metrics, the only one with a gain, and its detectable difference."""
    others = replace(setting, gain=0.0)
    tasks = [drawn(setting, rng, "one"), drawn(others, rng, "two")]
    tasks.append(drawn(replace(others, metric="pearson"), rng, "three"))
    first = corrected([compared(each, setting) for each in (*tasks, average(tasks))])[0]
    return first, detectable(first.noise, ALPHA / 4) or 0.0


def false_alarms(runs: int, between: float, trials: int) -> float:
    """Return how often two groups of one distribution are found to differ in any of four metrics."""
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


def means(trials: int) -> dict[str, float]:
    """Print and return the coverage of the interval for two means: few normal values on each side."""
    print(f"{'runs':>8}" + "".join(f"{f'sd {a:g} : {b:g}':>12}" for a, b in SPREADS))
    covered: dict[str, float] = {}
    rng = np.random.default_rng(10)
    for a, b in ((2, 3), (2, 4), (2, 5), (2, 10), (3, 4), (3, 5), (3, 10), (5, 10)):
        for first, second in SPREADS:
            x, y = rng.normal(size=(trials, a)) * first, rng.normal(size=(trials, b)) * second
            off = abs(x.mean(axis=1) - y.mean(axis=1))
            of_x, of_y = x.var(axis=1, ddof=1), y.var(axis=1, ddof=1)
            held = [d <= of_means(v, a, w, b).half_width() for d, v, w in zip(off, of_x, of_y, strict=True)]
            covered[f"{a}+{b}, sd {first:g} : {second:g}"] = float(np.mean(held))
        row = [covered[f"{a}+{b}, sd {first:g} : {second:g}"] for first, second in SPREADS]
        print(f"{f'{a}+{b}':>8}" + "".join(f"{share:>12.1%}" for share in row), flush=True)
    return covered


def compared(sample: ScoreSample, setting: Setting) -> MetricDifference:
    a = setting.runs[0]
    found = difference(sample, sample.runs[:a], sample.runs[a:], setting.paired)
    assert found is not None
    return found


def drawn(setting: Setting, rng: np.random.Generator, name: str = "task") -> ScoreSample:
    """Draw the predictions of two groups on the same examples; paired runs share half of the seed variance."""
    total, n = sum(setting.runs), setting.examples
    seeds = rng.normal(size=total)
    if setting.paired:
        half = setting.runs[0]
        common = np.tile(rng.normal(size=half), 2)
        seeds = (seeds + common) / math.sqrt(2)
    gains = np.repeat((0.0, setting.gain), setting.runs)
    ability = (0.5 + gains + np.repeat(setting.spreads, setting.runs) * seeds)[:, None]
    hardness, noise = rng.normal(size=n), setting.own * rng.normal(size=(total, n))
    clusters = np.arange(n) // setting.size
    if setting.size > 1:
        hardness = (hardness + rng.normal(size=n)[clusters]) / math.sqrt(2)
        suits = np.repeat(CLUSTER_EFFECT * rng.normal(size=(2, n)), setting.runs, axis=0)
        noise = noise + suits[:, clusters]
    if setting.far_off:
        noise = np.where(rng.random((total, n)) < setting.far_off, 10 * noise, noise)
    runs = tuple(f"run-{number}" for number in range(total))
    whole = clusters if setting.whole else None
    if setting.metric == "accuracy":
        made = scored(
            name, "accuracy", runs, np.ones(n), (ability + hardness + noise > 0).astype(float), clusters=whole
        )
    elif setting.metric in OF_SCORES:
        labels = rng.normal(size=n)
        predictions = (0.7 + ability) * labels + hardness + noise
        made = scored(name, setting.metric, runs, labels, predictions, resamples=RESAMPLES, clusters=whole)
    else:
        labels = (rng.random(n) < RARE).astype(float)
        predictions = np.where(ability + hardness + noise > 0, labels, 1 - labels)
        made = scored(name, setting.metric, runs, labels, predictions, resamples=RESAMPLES, clusters=whole)
    assert made is not None
    return made


def true_difference(setting: Setting) -> float:
    """Return the true difference, over all possible seeds and examples."""
    if not setting.gain and setting.spreads[0] == setting.spreads[1]:
        return 0.0
    noise = setting.own**2 * (1 + 99 * setting.far_off)  # its variance
    noise += CLUSTER_EFFECT**2 if setting.size > 1 else 0.0
    of = _true_accuracy if setting.metric == "accuracy" else _true_pearson
    first, second = setting.spreads
    return of(0.5 + setting.gain, second, noise) - of(0.5, first, noise)


def _true_accuracy(ability: float, between: float, noise: float = 1.0) -> float:
    return NormalDist().cdf(ability / math.sqrt(1 + noise + between**2))


def _true_pearson(ability: float, between: float, noise: float = 1.0) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)  # the mean of r over the seeds
    slope = 0.7 + ability + between * nodes
    return float(weights @ (slope / np.sqrt(slope**2 + 1 + noise)) / weights.sum())


PARTS = {
    "alike": settings,
    "unequal": unequal,
    "coinciding": coinciding,
    "outliers": outliers,
    "one-seed": one_seed,
    "metrics": others,
    "clusters": clusters,
}


if __name__ == "__main__":
    main()
