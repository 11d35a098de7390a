"""Rounds in which all columns alternate, and the figures derived from them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.throughput.columns import Column, Setting, Stepper, bars, huggingface_model, other_pairs
from benchmarks.throughput.memory import peak_rss, saved_mib
from benchmarks.throughput.texts import rows_of_round
from peftbench.data.batches import Batch, Batcher
from peftbench.data.encode import EncodedSplit

LEAST_ROUNDS, MOST_ROUNDS = 3, 15
WARMUP_TEXTS = 8  # of a step that creates the optimiser's state
EVALUATION_SHARE = 0.25  # of the budget

Take = Callable[[Batch], object]


@dataclass(frozen=True, slots=True)
class Turn:
    """One column's steps in one round."""

    steps: int
    examples: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Summary of the values of all rounds."""

    median: float
    q1: float
    q3: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Runner:
    """A named operation to time on batches, with the format and order of its batches."""

    take: Take
    packed: bool
    order: str


def configuration(
    setting: Setting,
    size: int,
    split: EncodedSplit,
    columns: tuple[Column, ...],
    budget_s: float,
    *,
    evaluates: bool,
    rss: bool,
) -> dict[str, Any]:
    """Measure every column's training.

    Args:
        setting: shape and dropout.
        size: texts per batch.
        split: the texts.
        columns: the columns to compare.
        budget_s: time after which no further round starts.
        evaluates: whether to measure evaluation too.
        rss: whether to measure each column's peak memory in a process.
    """
    steppers = {column.name: column.build(setting) for column in columns}
    first = rows_of_round(split.lengths, size, turn=-1)
    memory = {}
    for column in columns:
        stepper, batcher = steppers[column.name], _batcher(column.packed)
        rows = _longest(split, first[column.batches])
        memory[column.name] = saved_mib(stepper, batcher(split, rows))
        stepper.step(batcher(split, rows[:WARMUP_TEXTS]))
    runners = {c.name: Runner(steppers[c.name].step, c.packed, c.batches) for c in columns}
    turns = rounds(runners, split, size, budget_s)
    result = _figures(turns, bars(columns), other_pairs(columns))
    for column in columns:
        result["columns"][column.name]["saved_mib"] = memory[column.name]
    if evaluates:
        result["evaluation"] = evaluation(steppers, columns, split, size, budget_s * EVALUATION_SHARE)
    del steppers, runners
    huggingface_model.cache_clear()
    gc.collect()  # free the models before those of the next configuration
    for column in columns if rss else ():
        lengths = split.lengths[_longest(split, first[column.batches])]
        result["columns"][column.name]["peak_rss_mib"] = peak_rss(column.name, setting, lengths)
    return {"shape": setting.shape, "batch": size, "dropout": setting.dropout, **result}


def evaluation(
    steppers: Mapping[str, Stepper], columns: tuple[Column, ...], split: EncodedSplit, size: int, budget_s: float
) -> dict[str, Any]:
    """Measure the columns with evaluation, each in its orders, against the baseline in random order."""
    runners, compared = {}, {}
    for column in columns:
        model = steppers[column.name].model.eval()
        for order in column.evaluation:
            name = f"{column.name}, {order}"
            runners[name] = Runner(torch.inference_mode()(model.forward), column.packed, order)
            compared[name] = f"{bars(columns)[column.name]}, random"
    return _figures(rounds(runners, split, size, budget_s), compared, []) if runners else {}


def rounds(runners: Mapping[str, Runner], split: EncodedSplit, size: int, budget_s: float) -> dict[str, list[Turn]]:
    """Alternate between all runners until the budget is spent."""
    turns: dict[str, list[Turn]] = {name: [] for name in runners}
    started = time.perf_counter()
    for turn in range(MOST_ROUNDS):
        if turn >= LEAST_ROUNDS and time.perf_counter() - started > budget_s:
            break
        rows = rows_of_round(split.lengths, size, turn)
        for name, runner in list(runners.items())[:: -1 if turn % 2 else 1]:
            batches = [_batcher(runner.packed)(split, each) for each in rows[runner.order]]
            turns[name].append(timed(runner.take, batches))
    return turns


def timed(take: Take, batches: Sequence[Batch]) -> Turn:
    """Time a few steps together."""
    started = time.perf_counter()
    for batch in batches:
        take(batch)
    seconds = time.perf_counter() - started
    return Turn(len(batches), sum(len(batch.labels) for batch in batches), sum(b.tokens for b in batches), seconds)


def spread(values: Sequence[float]) -> Spread:
    """Return median, quartiles and extremes."""
    low, q1, median, q3, high = (float(x) for x in np.percentile(values, (0, 25, 50, 75, 100)))
    return Spread(median, q1, q3, low, high)


def ratios(over: Sequence[Turn], under: Sequence[Turn]) -> Spread:
    """Return the ratio of examples per second of `over` to `under`, round by round."""
    pairs = zip(over, under, strict=True)
    return spread([(a.examples / a.seconds) / (b.examples / b.seconds) for a, b in pairs])


def _figures(
    turns: Mapping[str, Sequence[Turn]], bars: Mapping[str, str], others: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return all rates and ratios, as stored in the results."""
    columns = {
        name: {
            "steps_per_s": statistics.median(turn.steps / turn.seconds for turn in each),
            "examples_per_s": statistics.median(turn.examples / turn.seconds for turn in each),
            "tokens_per_s": statistics.median(turn.tokens / turn.seconds for turn in each),
            "bar": bars[name],
            "ratio": asdict(ratios(each, turns[bars[name]])),
        }
        for name, each in turns.items()
    }
    also = [{"column": a, "to": b, "ratio": asdict(ratios(turns[a], turns[b]))} for a, b in others]
    return {"rounds": max(len(each) for each in turns.values()), "columns": columns, "other_ratios": also}


def _batcher(packed: bool) -> Batcher:
    return Batcher(packed, 0, torch.device("cpu"))


def _longest(split: EncodedSplit, batches: Sequence[np.ndarray]) -> np.ndarray:
    return max(batches, key=lambda rows: int(split.lengths[rows].max()))
