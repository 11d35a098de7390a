"""Tokenise texts in batches: each text once, and those over the maximum length again with truncation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

BATCH = 1000  # texts per call; stop requests are checked between calls

OnProgress = Callable[[int, int], None]
"""Called with the number of texts (or pairs) done and the total."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Concatenated token ids of n texts (or joint pairs) of different lengths.

    `ids` and `types` have one entry per token; text i is `[offsets[i], offsets[i + 1])`.
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.offsets)

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Return the concatenated token indices of the rows, `[tokens]`."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def take(self, rows: np.ndarray) -> Ragged:
        """Return these rows only, in their order."""
        positions = self.indices(rows)
        return Ragged(self.ids[positions], self.types[positions], np.concatenate([[0], np.cumsum(self.lengths[rows])]))


class Cut(NamedTuple):
    """Truncation counts: the texts truncated, and the tokens removed from them."""

    texts: int
    tokens: int


def tokenise(
    texts: Sequence[tuple[str, ...]],
    tokenizer: Any,
    joint: bool,
    max_length: int,
    on_progress: OnProgress = lambda done, total: None,
) -> tuple[tuple[Ragged, ...], Cut]:
    """Tokenise texts into one Ragged, or two if the texts of a pair are encoded separately.

    Args:
        texts: one or two texts per example.
        tokenizer: a fast tokeniser of transformers.
        joint: encode a pair as one text.
        max_length: maximum input length in tokens.
        on_progress: called after every batch; its exceptions propagate.
    """
    columns = 1 if joint else len(texts[0])
    growing = [_Growing([], [], [], []) for _ in range(columns)]
    for start in range(0, len(texts), BATCH):
        sides = [list(side) for side in zip(*texts[start : start + BATCH], strict=True)]
        for index, column in enumerate([sides] if columns == 1 else [[side] for side in sides]):
            growing[index].add(*_batch(tokenizer, column, max_length))
        on_progress(min(start + BATCH, len(texts)), len(texts))
    cuts = [cut for part in growing for cut in part.cuts]
    return tuple(part.joined() for part in growing), Cut(
        sum(cut.texts for cut in cuts), sum(cut.tokens for cut in cuts)
    )


class _Growing(NamedTuple):
    """Batches collected for a Ragged."""

    ids: list[np.ndarray]
    types: list[np.ndarray]
    lengths: list[np.ndarray]
    cuts: list[Cut]

    def add(self, ids: np.ndarray, types: np.ndarray, lengths: np.ndarray, cut: Cut) -> None:
        self.ids.append(ids)
        self.types.append(types)
        self.lengths.append(lengths)
        self.cuts.append(cut)

    def joined(self) -> Ragged:
        """Concatenate the batches, one array at a time, freeing each list before the next to limit peak memory."""
        ids, types, lengths = _joined(self.ids), _joined(self.types), _joined(self.lengths)
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return Ragged(ids, types, offsets)


def _batch(tokenizer: Any, column: list[list[str]], max_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Cut]:
    """Tokenise one or two lists of texts, and again, with the tokeniser's truncation, the rows that are too long."""
    options = {"return_token_type_ids": True, "return_attention_mask": False}
    full = tokenizer(*column, truncation=False, verbose=False, **options)
    ids, types = full["input_ids"], full["token_type_ids"]
    long = [row for row, tokens in enumerate(ids) if len(tokens) > max_length]
    lost = 0
    if long:
        chosen = [[side[row] for row in long] for side in column]
        short = tokenizer(*chosen, truncation=True, max_length=max_length, **options)
        for row, fewer, kinds in zip(long, short["input_ids"], short["token_type_ids"], strict=True):
            lost += len(ids[row]) - len(fewer)
            ids[row], types[row] = fewer, kinds
    for row, tokens in enumerate(ids):
        if not tokens:
            ids[row], types[row] = [_filler(tokenizer)], [0]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    total = int(lengths.sum())
    return _flat(ids, total), _flat(types, total), lengths, Cut(len(long), lost)


def _filler(tokenizer: Any) -> int:
    """Return the only token of an empty text, which has none where the tokeniser adds none, as those of decoders."""
    ids = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    return next((number for number in ids if number is not None), 0)


def _flat(rows: list[list[int]], total: int) -> np.ndarray:
    return np.fromiter(chain.from_iterable(rows), np.int32, total)


def _joined(batches: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(batches)
    batches.clear()
    return joined
