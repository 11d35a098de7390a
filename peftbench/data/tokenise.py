"""Tokenise texts in batches: each text once, and those over the maximum length again, truncated or in windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from peftbench.errors import DataError, UsageError
from peftbench.text import lone_surrogate

BATCH = 1000  # texts per call; stop requests are checked between calls

OnProgress = Callable[[int, int], None]
"""Called with the number of texts (or pairs) done and the total."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Concatenated token ids of n texts (or joint pairs) of different lengths.

    `ids` and `types` have one entry per token; text i is `[offsets[i], offsets[i + 1])`. `windows` is None where each
    text is one input of the encoder; else window j, of the text that it lies in, is `[windows[j], windows[j + 1])`.
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray
    windows: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, those of all its windows."""
        return np.diff(self.offsets)

    @property
    def window_counts(self) -> np.ndarray:
        """Number of windows of each text."""
        if self.windows is None:
            return np.ones(len(self.offsets) - 1, dtype=np.int64)
        return np.diff(np.searchsorted(self.windows, self.offsets))

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Return the concatenated token indices of the rows, `[tokens]`."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def take(self, rows: np.ndarray) -> Ragged:
        """Return these rows only, in their order."""
        positions = self.indices(rows)
        windows = None
        if self.windows is not None:
            inputs, chosen, _ = self.inputs(rows)
            windows = offsets_of(inputs.lengths[chosen])
        return Ragged(self.ids[positions], self.types[positions], offsets_of(self.lengths[rows]), windows)

    def inputs(self, rows: np.ndarray) -> tuple[Ragged, np.ndarray, np.ndarray | None]:
        """Return what the encoder reads for these rows: windows as texts of their own, and which are of the rows.

        Returns:
            The windows, those of the rows one row after another, and how many each row has; None: one each.
        """
        if self.windows is None:
            return self, rows, None
        first, end = (np.searchsorted(self.windows, self.offsets[rows + after]) for after in (0, 1))
        chosen = np.concatenate([np.arange(*span) for span in zip(first, end, strict=True)])
        counts = end - first
        return Ragged(self.ids, self.types, self.windows), chosen, None if len(chosen) == len(rows) else counts


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Return where texts of these lengths begin when they are concatenated, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def joined(parts: Sequence[Ragged]) -> Ragged:
    """Return the texts of several parts, one part after another."""
    windows = None
    if any(part.windows is not None for part in parts):
        starts = [part.offsets if part.windows is None else part.windows for part in parts]
        windows = offsets_of(np.concatenate([np.diff(each) for each in starts]))
    return Ragged(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.types for part in parts]),
        offsets_of(np.concatenate([part.lengths for part in parts])),
        windows,
    )


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
    stride: int | None = None,
) -> tuple[tuple[Ragged, ...], Cut]:
    """Tokenise texts into one Ragged, or two if the texts of a pair are encoded separately.

    Args:
        texts: one or two texts per example.
        tokenizer: a fast tokeniser of transformers.
        joint: encode a pair as one text.
        max_length: maximum input length in tokens.
        on_progress: called after every batch; its exceptions propagate.
        stride: overlap in tokens of the windows that a longer text is divided into; None: it is truncated. Joint pairs
            are not divided.

    Raises:
        UsageError: windows that overlap by so much would not advance.
        DataError: a text is not valid Unicode.
    """
    if stride is not None:
        _check_advance(tokenizer, max_length, stride)
    columns = 1 if joint else len(texts[0])
    growing = [_Growing([], [], [], [], []) for _ in range(columns)]
    for start in range(0, len(texts), BATCH):
        sides = [list(side) for side in zip(*texts[start : start + BATCH], strict=True)]
        for index, column in enumerate([sides] if columns == 1 else [[side] for side in sides]):
            try:
                growing[index].add(*_batch(tokenizer, column, max_length, stride))
            except TypeError:  # of tokenizers, which takes such a text for another type
                _check_unicode(column, start)
                raise
        on_progress(min(start + BATCH, len(texts)), len(texts))
    cuts = [cut for part in growing for cut in part.cuts]
    return tuple(part.joined() for part in growing), Cut(
        sum(cut.texts for cut in cuts), sum(cut.tokens for cut in cuts)
    )


class _Growing(NamedTuple):
    """Batches collected for a Ragged: `windows` has the length of each, `counts` those of each text."""

    ids: list[np.ndarray]
    types: list[np.ndarray]
    windows: list[np.ndarray]
    counts: list[np.ndarray]
    cuts: list[Cut]

    def add(self, ids: np.ndarray, types: np.ndarray, windows: np.ndarray, counts: np.ndarray, cut: Cut) -> None:
        self.ids.append(ids)
        self.types.append(types)
        self.windows.append(windows)
        self.counts.append(counts)
        self.cuts.append(cut)

    def joined(self) -> Ragged:
        """Concatenate the batches, one array at a time, freeing each list before the next to limit peak memory."""
        ids, types = _joined(self.ids), _joined(self.types)
        windows, counts = offsets_of(_joined(self.windows)), _joined(self.counts)
        if len(windows) == len(counts) + 1:
            return Ragged(ids, types, windows)
        return Ragged(ids, types, windows[offsets_of(counts)], windows)


def _batch(
    tokenizer: Any, column: list[list[str]], max_length: int, stride: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Cut]:
    """Tokenise one or two lists of texts, and again, truncated or divided by the tokeniser, those that are too long."""
    options: dict[str, Any] = {"return_token_type_ids": True, "return_attention_mask": False}
    full = tokenizer(*column, truncation=False, verbose=False, **options)
    ids, types = full["input_ids"], full["token_type_ids"]
    long = [row for row, tokens in enumerate(ids) if len(tokens) > max_length]
    counts, lost = np.ones(len(ids), dtype=np.int64), 0
    if long:
        chosen = [[side[row] for row in long] for side in column]
        options |= {"truncation": True, "max_length": max_length}
        if stride is None:
            short = tokenizer(*chosen, **options)
            for row, fewer, kinds in zip(long, short["input_ids"], short["token_type_ids"], strict=True):
                lost += len(ids[row]) - len(fewer)
                ids[row], types[row] = fewer, kinds
        else:
            windows = tokenizer(*chosen, stride=stride, return_overflowing_tokens=True, **options)
            owners = [long[number] for number in windows["overflow_to_sample_mapping"]]
            np.add.at(counts, owners, 1)
            counts[long] -= 1
            ids = _divided(ids, long, owners, windows["input_ids"])
            types = _divided(types, long, owners, windows["token_type_ids"])
    for row, tokens in enumerate(ids):
        if not tokens:
            ids[row], types[row] = [_filler(tokenizer)], [0]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    total = int(lengths.sum())
    cut = Cut(len(long), lost) if stride is None else Cut(0, 0)
    return _flat(ids, total), _flat(types, total), lengths, counts, cut


def _divided(rows: list[list[int]], long: list[int], owners: list[int], windows: list[list[int]]) -> list[list[int]]:
    """Return the rows with the long ones replaced by their windows; `owners` are the rows that these are of."""
    parts = [[row] for row in rows]
    for row in long:
        parts[row] = []
    for row, window in zip(owners, windows, strict=True):
        parts[row].append(window)
    return list(chain.from_iterable(parts))


def _check_unicode(column: list[list[str]], start: int) -> None:
    for side in column:
        for number, text in enumerate(side, start=start + 1):
            if (half := lone_surrogate(text)) is not None:
                raise DataError(
                    f"text {number} is not valid Unicode: {half}", "put both halves of its surrogate pair, or neither"
                )


def _check_advance(tokenizer: Any, max_length: int, stride: int) -> None:
    """Check that each window has words that the one before it does not have."""
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)
    if stride >= room:
        raise UsageError(
            f"encoder.stride = {stride}: windows of encoder.max_length = {max_length} tokens have {room} tokens of a "
            "text besides the special ones, and must overlap by fewer",
            f"use --set encoder.stride={max_length // 4}, or a longer encoder.max_length",
        )


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
