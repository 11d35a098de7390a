"""Texts with the lengths of real sentences and random tokens, and the rows of each round's batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from peftbench.data.batches import bucketed_batches, random_batches, sorted_batches
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.data.quickstart import generate
from peftbench.data.sources.files import read_rows
from peftbench.encoder import EMBEDDED_NAME, find_encoder, load_tokenizer
from peftbench.spec.encoder import EncoderSpec

CLASSES = 5
VOCABULARY = 30522
LONGEST = 512
QUICKSTART_TEXTS = 3200  # one full window of bucketed batching at batch 64
STRATA = 3  # minimum number of strata of an epoch's bucketed or sorted batches


def text_lengths(file: Path | None) -> np.ndarray:
    """Return the lengths in word pieces of a file's sentences, or of the quickstart workload's."""
    if file is None:
        sentences = [example.texts[0] for example in generate("sst", "train", QUICKSTART_TEXTS)]
    else:
        sentences = read_sentences(file)
    tokenizer = load_tokenizer(find_encoder(EncoderSpec(name=EMBEDDED_NAME)))
    ids = tokenizer(sentences, truncation=True, max_length=LONGEST)["input_ids"]
    return np.array([len(row) for row in ids])


def read_sentences(file: Path) -> list[str]:
    """Return the sentences of a table (the column `sentence`, or else the first that is text) or of plain lines."""
    if file.suffix.lower() == ".txt":
        return [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    with file.open(encoding="utf-8") as lines:
        separator = "tab" if "\t" in lines.readline() else None
    rows = [row.values for row in read_rows(file, separator)]
    column = "sentence" if "sentence" in rows[0] else next(name for name in rows[0] if _is_text(rows[0][name]))
    return [str(row[column]) for row in rows if str(row[column] or "").strip()]


def _is_text(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return True
    return False


def random_texts(lengths: Sequence[int] | np.ndarray) -> EncodedSplit:
    """Return texts of the given lengths with random tokens and labels, the same each time."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1000, VOCABULARY, offsets[-1]).astype(np.int32)
    labels = rng.integers(0, CLASSES, len(lengths)).astype(np.float64)
    names = tuple(map(str, range(len(lengths))))
    return EncodedSplit((Ragged(ids, np.zeros_like(ids), offsets),), labels, names, truncated=0, from_cache=False)


def rows_of_round(lengths: np.ndarray, size: int, turn: int) -> dict[str, list[np.ndarray]]:
    """Return the rows of each batch of one round, by order: random, bucketed or sorted."""
    steps = max(1, 16 // size)
    order = torch.Generator().manual_seed(turn)
    drawn = random_batches(len(lengths), size, order)
    strata = max(steps, STRATA)
    return {
        "random": [next(drawn) for _ in range(steps)],
        "bucketed": _middles(bucketed_batches(lengths, size, order), lengths, size, strata),
        "sorted": _middles(sorted_batches(lengths, size), lengths, size, strata),
    }


def _middles(batches: Iterable[np.ndarray], lengths: np.ndarray, size: int, strata: int) -> list[np.ndarray]:
    """Sort an epoch's full batches by their longest text and return the middle one of each stratum."""
    whole = sorted((rows for rows in batches if len(rows) == size), key=lambda rows: int(lengths[rows].max()))
    return [whole[int((stratum + 0.5) * len(whole) / strata)] for stratum in range(strata)]


def summary(lengths: np.ndarray) -> dict[str, float]:
    """Summarise the lengths, in word pieces."""
    p5, median, p95 = np.percentile(lengths, (5, 50, 95))
    found = {
        "texts": len(lengths),
        "mean": lengths.mean(),
        "p5": p5,
        "median": median,
        "p95": p95,
        "max": lengths.max(),
    }
    return {name: round(float(value), 1) for name, value in found.items()}
