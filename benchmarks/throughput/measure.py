"""Rounds in which every column takes its turn, and what follows from them."""

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
WARMUP_TEXTS = 8  # of a step that makes the optimiser's state
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
    """Of the values of all rounds."""

    median: float
    q1: float
    q3: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Runner:
    """What is timed under a name: what to do with a batch, the form of its batches and their order."""

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
        size: texts a batch.
        split: the texts.
        columns: what to compare.
        budget_s: when to begin no further round.
        evaluates: measure evaluation too.
        rss: start a process a column for its peak memory.
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
    gc.collect()  # before the next configuration's models
    for column in columns if rss else ():
        lengths = split.lengths[_longest(split, first[column.batches])]
        result["columns"][column.name]["peak_rss_mib"] = peak_rss(column.name, setting, lengths)
    return {"shape": setting.shape, "batch": size, "dropout": setting.dropout, **result}


def evaluation(
    steppers: Mapping[str, Stepper], columns: tuple[Column, ...], split: EncodedSplit, size: int, budget_s: float
) -> dict[str, Any]:
    """Measure the columns that take part in evaluation, each in its orders, against the bar in random order."""
    runners, compared = {}, {}
    for column in columns:
        model = steppers[column.name].model.eval()
        for order in column.evaluation:
            name = f"{column.name}, {order}"
            runners[name] = Runner(torch.inference_mode()(model.forward), column.packed, order)
            compared[name] = f"{bars(columns)[column.name]}, random"
    return _figures(rounds(runners, split, size, budget_s), compared, []) if runners else {}


def rounds(runners: Mapping[str, Runner], split: EncodedSplit, size: int, budget_s: float) -> dict[str, list[Turn]]:
    """Let everyone take turns until the budget is spent."""
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
    """Time a few steps as a whole."""
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
    """Return how many times as many examples a second the first takes, round by round."""
    pairs = zip(over, under, strict=True)
    return spread([(a.examples / a.seconds) / (b.examples / b.seconds) for a, b in pairs])


def _figures(
    turns: Mapping[str, Sequence[Turn]], bars: Mapping[str, str], others: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return rates and ratios of everyone, as they are written."""
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
