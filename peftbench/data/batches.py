"""Batching: which rows form a batch, and the tensors built from them.

Padded batches are the input of the transformers runtime; packed batches, with the texts concatenated and sorted by
length, are the input of the native runtime. Both hold the same rows, and results come in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.data.tokenise import joined, offsets_of
from peftbench.kernels.attention import Layout, round_up

WINDOW_BATCHES = 50  # bucketed batching sorts by length within windows of this many batches


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Padded encoder inputs: three `[batch, length]` tensors. `mask` is 1 on real tokens. `means`: see `PackedText`."""

    ids: Tensor
    mask: Tensor
    types: Tensor
    means: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PackedText:
    """Concatenated texts, longest first: `ids`, `types` and `positions` are `[layout.rows]`, with padding at the end.

    `first_tokens` `[texts]` are the rows of the texts' first tokens; `inverse_order` `[texts]` is the packed position
    of each text of the batch.

    With texts in windows, each window is a text here. `means` `[texts, windows]` averages a text's windows: its row has
    1 / their number at each. None: no text of the batch has more than one.
    """

    ids: Tensor
    types: Tensor
    positions: Tensor
    first_tokens: Tensor
    inverse_order: Tensor
    layout: Layout
    means: Tensor | None = None

    @property
    def last_tokens(self) -> Tensor:
        """The rows of the texts' last tokens, `[texts]`."""
        return self.layout.offsets[1:].long() - 1

    def restore_order(self, x: Tensor) -> Tensor:
        """Reorder `[texts, ...]` from packed order to batch order."""
        return x[self.inverse_order]


@dataclass(frozen=True, slots=True)
class PrefixText:
    """Texts with precomputed activations of the frozen lower layers.

    `states` is the input of the first trained layer, `[tokens, hidden]` in the order of `packed`; with a fully frozen
    encoder it is each text's embedding, `[texts, hidden]` in batch order, and `packed` is None.
    """

    states: Tensor
    packed: PackedText | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of one task: the texts (two if encoded separately), labels and the number of non-padding tokens.

    `labels`: [batch], of several labels an example [batch, labels], of token tasks [words], the tag of each word that
    the model reads, sentence by sentence; `words` [words] is then the row of each in the matrix of all token states.
    `weights` [batch] or [words]: of the training loss; None where all are alike.
    """

    texts: tuple[TextBatch | PackedText | PrefixText, ...]
    labels: Tensor
    tokens: int
    words: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batcher:
    """Builds batches in the form that a model expects, on its device."""

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
        """Combine texts with the labels of their rows."""
        tokens = int(split.lengths[rows].sum())
        weights = None if split.weights is None else self._tensor(split.weights[rows])
        if split.words is None:
            return Batch(texts, self._tensor(split.labels[rows]), tokens, weights=weights)
        sentence, pieces, tags = split.words.read(rows)
        first = _first_rows(texts[0])[torch.from_numpy(sentence).to(self.device)]
        words = first + torch.from_numpy(pieces).to(self.device)
        of_words = None if weights is None else weights[torch.from_numpy(sentence).to(self.device)]
        return Batch(texts, self._tensor(tags), tokens, words, of_words)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)


def _first_rows(text: TextBatch | PackedText | PrefixText) -> Tensor:
    """Return the row of each text's first token in the matrix of all token states, `[texts]`, in batch order."""
    if isinstance(text, TextBatch):
        return torch.arange(len(text.ids), device=text.ids.device) * text.ids.shape[1]
    packed = text.packed if isinstance(text, PrefixText) else text
    assert packed is not None, "token tasks have no cached text embeddings"
    return packed.restore_order(packed.first_tokens)


MakeBatch = Callable[[EncodedSplit, np.ndarray], Batch]  # a Batcher, or a wrapper with cached states of its split


def random_batches(count: int, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of each batch of one epoch in a random order; the last batch may be smaller."""
    order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count, size):
        yield order[start : start + size]


def bucketed_batches(lengths: np.ndarray, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Yield batches of rows of similar length: rows shuffled, sorted by length within windows, then batches shuffled.

    Every row occurs once per epoch; the smaller remainder batch may come anywhere. Deterministic given the generator.
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
    """Yield batches of rows of similar length, longest first, to minimise padding in evaluation."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def pad(part: Ragged, rows: np.ndarray, pad_id: int, device: torch.device) -> TextBatch:
    """Return the rows as one batch, padded to the longest."""
    part, rows, counts = part.inputs(rows)
    lengths = part.lengths[rows]
    shape = (len(rows), int(lengths.max()))
    ids = np.full(shape, pad_id, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    mask = np.arange(shape[1]) < lengths[:, None]
    for line, row in enumerate(rows):
        span = slice(part.offsets[row], part.offsets[row + 1])
        ids[line, : lengths[line]] = part.ids[span]
        types[line, : lengths[line]] = part.types[span]
    padded = (torch.from_numpy(array).to(device) for array in (ids, mask.astype(np.int64), types))
    return replace(TextBatch(*padded), means=_means(counts, device))


def pack(part: Ragged, rows: np.ndarray, device: torch.device, segment: np.ndarray | None = None) -> PackedText:
    """Concatenate the rows, longest first; with `segment`, one number per row, sorted by segment before length."""
    part, rows, counts = part.inputs(rows)
    order = longest_first(part, rows)
    if segment is not None:
        segment = segment if counts is None else np.repeat(segment, counts)
        order = order[np.argsort(segment[order], kind="stable")]
    layout, offsets = layout_of(part.lengths[rows][order], device)
    tokens = part.indices(rows[order])
    positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], np.diff(offsets))
    inverse_order = np.empty(len(rows), dtype=np.int64)
    inverse_order[order] = np.arange(len(rows))
    padding = np.zeros(layout.rows - len(tokens), dtype=np.int64)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(device)

    of_tokens = (tensor(np.concatenate([x, padding])) for x in (part.ids[tokens], part.types[tokens], positions))
    ids, types, positions = of_tokens
    return PackedText(
        ids, types, positions, tensor(offsets[:-1]), tensor(inverse_order), layout, _means(counts, device)
    )


def _means(counts: np.ndarray | None, device: torch.device) -> Tensor | None:
    """Return the matrix that averages the windows of texts with so many: see `PackedText`."""
    if counts is None:
        return None
    weights = np.repeat(np.eye(len(counts), dtype=np.float32) / counts[:, None], counts, axis=1)
    return torch.from_numpy(weights.astype(np.float32)).to(device)


def averaged(windows: Tensor, text: TextBatch | PackedText) -> Tensor:
    """Return the texts' embeddings, `[texts, hidden]`: the mean of those of their windows, `[windows, hidden]`."""
    return windows if text.means is None else text.means @ windows


@dataclass(frozen=True, slots=True)
class TextSegment:
    """The inputs of one task within a packed multi-task batch: number of texts (or windows) and of tokens."""

    task: str
    texts: int
    tokens: int


def pack_mixed(
    groups: Sequence[tuple[str, Ragged, np.ndarray]], device: torch.device
) -> tuple[PackedText, tuple[TextSegment, ...]]:
    """Pack texts of several tasks, task after task, and return the segment of each task.

    Args:
        groups: per task its name, its texts and the rows to take.
        device: of the tensors.
    """
    chosen = [part.take(rows) for _, part, rows in groups]
    segment = np.repeat(np.arange(len(groups)), [len(rows) for _, _, rows in groups])
    packed = pack(joined(chosen), np.arange(len(segment)), device, segment)
    tokens = [len(each.ids) for each in chosen]
    tokens[-1] += packed.layout.rows - packed.layout.tokens  # the padding rows count towards the last segment
    segments = tuple(
        TextSegment(task, int(each.window_counts.sum()), count)
        for (task, _, _), each, count in zip(groups, chosen, tokens, strict=True)
    )
    return packed, segments


def longest_first(part: Ragged, rows: np.ndarray) -> np.ndarray:
    """Return the indices into `rows` sorted by length, longest first: the order of a packed batch."""
    return np.argsort(-part.lengths[rows], kind="stable")


def packed_tokens(part: Ragged, rows: np.ndarray) -> np.ndarray:
    """Return the token indices of the rows in the order of their packed batch, `[tokens]`."""
    part, rows, _ = part.inputs(rows)
    return part.indices(rows[longest_first(part, rows)])


def layout_of(lengths: np.ndarray, device: torch.device) -> tuple[Layout, np.ndarray]:
    """Return the layout of texts of these lengths (equal ones should be adjacent) and their offsets, `[texts + 1]`."""
    offsets = offsets_of(lengths)
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(starts, append=len(lengths))
    groups = tuple(
        (int(offsets[start]), int(count), int(lengths[start])) for start, count in zip(starts, counts, strict=True)
    )
    on_device = torch.from_numpy(offsets.astype(np.int32)).to(device)
    return Layout(groups, on_device, int(lengths.max()), int(lengths.min()), round_up(int(offsets[-1]))), offsets
