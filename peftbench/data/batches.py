"""Batches: which rows go together, and the tensors that they become.

A padded batch is what transformers takes; a packed one, its texts end to end and sorted by length, is what the
native path takes. Both hold the same rows, and their results come in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.kernels.attention import Layout, round_up

WINDOW_BATCHES = 50  # bucketed batching sorts by length within windows of so many batches


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Padded inputs of the encoder: three `[batch, length]` tensors. `mask` is 1 on real tokens."""

    ids: Tensor
    mask: Tensor
    types: Tensor


@dataclass(frozen=True, slots=True)
class PackedText:
    """Texts end to end, the longest first: `ids`, `types` and `positions` are `[layout.rows]`, the last few nothing.

    `first_tokens` `[texts]` are the rows of the texts' first tokens; `places` `[texts]` says where in this order
    each text of the batch went.
    """

    ids: Tensor
    types: Tensor
    positions: Tensor
    first_tokens: Tensor
    places: Tensor
    layout: Layout

    def restore_order(self, x: Tensor) -> Tensor:
        """Return `[texts, ...]` in the batch's order, from the packed one."""
        return x[self.places]


@dataclass(frozen=True, slots=True)
class PrefixText:
    """Texts of which a part of the encoder is computed already.

    `states` is the input of the first trained layer, `[tokens, hidden]` in the order of `packed`; or, with nothing
    trained in the encoder, each text's vector, `[texts, hidden]` in the batch's order, and `packed` None.
    """

    states: Tensor
    packed: PackedText | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of one task: the texts (two where encoded separately), labels, and its non-padding tokens."""

    texts: tuple[TextBatch | PackedText | PrefixText, ...]
    labels: Tensor
    tokens: int


@dataclass(frozen=True, slots=True)
class Batcher:
    """Makes batches in the form that a model takes, on its device."""

    packed: bool
    pad_id: int
    device: torch.device

    def __call__(self, split: EncodedSplit, rows: Sequence[int] | np.ndarray) -> Batch:
        """Gather rows of a split into one batch."""
        rows = np.asarray(rows)
        texts = tuple(
            pack(part, rows, self.device) if self.packed else pad(part, rows, self.pad_id, self.device)
            for part in split.parts
        )
        return self.batch(texts, split, rows)

    def batch(
        self, texts: tuple[TextBatch | PackedText | PrefixText, ...], split: EncodedSplit, rows: np.ndarray
    ) -> Batch:
        """Put the rows' labels to their texts."""
        labels = torch.from_numpy(split.labels[rows].astype(np.float32)).to(self.device)
        return Batch(texts, labels, int(split.lengths[rows].sum()))


MakeBatch = Callable[[EncodedSplit, np.ndarray], Batch]  # a Batcher, or one that knows more of its split


def random_batches(count: int, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of each batch of one epoch in a random order; the last batch may be smaller."""
    order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count, size):
        yield order[start : start + size]


def bucketed_batches(lengths: np.ndarray, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Yield batches of rows of similar length: a random order, sorted within windows, the batches shuffled.

    Every row once an epoch; the one smaller batch is among the others. The generator determines all of it.
    """
    order = torch.randperm(len(lengths), generator=generator).numpy()
    batches: list[np.ndarray] = []
    for start in range(0, len(order), size * WINDOW_BATCHES):
        window = order[start : start + size * WINDOW_BATCHES]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[first : first + size] for first in range(0, len(window), size)]
    for index in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[index]


def sorted_batches(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield batches of rows of similar length, the longest first: the least padding for evaluation."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def pad(part: Ragged, rows: np.ndarray, pad_id: int, device: torch.device) -> TextBatch:
    """Return the rows side by side, each padded to the longest of them."""
    lengths = part.lengths[rows]
    shape = (len(rows), int(lengths.max()))
    ids = np.full(shape, pad_id, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    mask = np.arange(shape[1]) < lengths[:, None]
    for line, row in enumerate(rows):
        span = slice(part.offsets[row], part.offsets[row + 1])
        ids[line, : lengths[line]] = part.ids[span]
        types[line, : lengths[line]] = part.types[span]
    return TextBatch(*(torch.from_numpy(array).to(device) for array in (ids, mask.astype(np.int64), types)))


def pack(part: Ragged, rows: np.ndarray, device: torch.device, segment: np.ndarray | None = None) -> PackedText:
    """Return the rows end to end, the longest first; with `segment`, a number for each row, by it before all else."""
    order = longest_first(part, rows)
    if segment is not None:
        order = order[np.argsort(segment[order], kind="stable")]
    layout, offsets = layout_of(part.lengths[rows][order], device)
    tokens = part.places(rows[order])
    positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], np.diff(offsets))
    places = np.empty(len(rows), dtype=np.int64)
    places[order] = np.arange(len(rows))
    nothing = np.zeros(layout.rows - len(tokens), dtype=np.int64)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(device)

    of_tokens = (tensor(np.concatenate([x, nothing])) for x in (part.ids[tokens], part.types[tokens], positions))
    ids, types, positions = of_tokens
    return PackedText(ids, types, positions, tensor(offsets[:-1]), tensor(places), layout)


@dataclass(frozen=True, slots=True)
class Segment:
    """Texts of one task within a packed batch of several: their number, and their tokens."""

    task: str
    texts: int
    tokens: int


def pack_mixed(
    groups: Sequence[tuple[str, Ragged, np.ndarray]], device: torch.device
) -> tuple[PackedText, tuple[Segment, ...]]:
    """Return texts of several tasks end to end, task after task, and where each task's are.

    Args:
        groups: a task's name, its texts, and which of them, each.
        device: where the tensors go.
    """
    chosen = [part.take(rows) for _, part, rows in groups]
    lengths = [part.lengths for part in chosen]
    whole = Ragged(
        np.concatenate([part.ids for part in chosen]),
        np.concatenate([part.types for part in chosen]),
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
    )
    segment = np.repeat(np.arange(len(groups)), [len(each) for each in lengths])
    packed = pack(whole, np.arange(len(segment)), device, segment)
    tokens = [int(each.sum()) for each in lengths]
    tokens[-1] += packed.layout.rows - packed.layout.tokens  # somebody must take the rows of nothing
    segments = tuple(
        Segment(task, len(each), count) for (task, _, _), each, count in zip(groups, lengths, tokens, strict=True)
    )
    return packed, segments


def longest_first(part: Ragged, rows: np.ndarray) -> np.ndarray:
    """Return where in `rows` the texts are, the longest first: the order of a packed batch."""
    return np.argsort(-part.lengths[rows], kind="stable")


def layout_of(lengths: np.ndarray, device: torch.device) -> tuple[Layout, np.ndarray]:
    """Return where texts of these lengths lie (equal ones should be together), and their offsets, `[texts + 1]`."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(starts, append=len(lengths))
    groups = tuple(
        (int(offsets[start]), int(count), int(lengths[start])) for start, count in zip(starts, counts, strict=True)
    )
    on_device = torch.from_numpy(offsets.astype(np.int32)).to(device)
    return Layout(groups, on_device, int(lengths.max()), int(lengths.min()), round_up(int(offsets[-1]))), offsets
