"""The words of token tasks: their tags, and the piece of each that the model classifies.

A sentence is stored as its words joined by spaces. Each word is classified by the output of its first piece; a word
that the tokeniser drops, or that lies beyond `encoder.max_length`, has none: it is scored as `O`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peftbench.data.tokenise import BATCH, OnProgress
from peftbench.errors import DataError
from peftbench.store.conditions import label_names
from peftbench.tasks import TaskSpec

OUTSIDE = "O"  # the tag of words in no span
UNSEEN = -1  # the piece of a word that the model does not read
UNKNOWN = -1  # the tag of a word that has no label


@dataclass(frozen=True, slots=True)
class Words:
    """The words of n sentences; those of sentence i are `[offsets[i], offsets[i + 1])`.

    pieces: [words] index of the first piece within its sentence's tokens; UNSEEN where there is none.
    tags: [words] index of the tag; UNKNOWN without labels.
    names: the tags' names.
    """

    offsets: np.ndarray
    pieces: np.ndarray
    tags: np.ndarray
    names: tuple[str, ...]

    @property
    def outside(self) -> int:
        """The index of the tag `O`."""
        return self.names.index(OUTSIDE)

    @property
    def unseen(self) -> int:
        """The number of words that the model does not read."""
        return int((self.pieces == UNSEEN).sum())

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Return the concatenated word indices of the sentences, `[words]`."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of words of each of these sentences."""
        return np.asarray(self.offsets[rows + 1] - self.offsets[rows])

    def take(self, rows: np.ndarray) -> Words:
        """Return these sentences only, in their order."""
        chosen = self.indices(rows)
        offsets = np.concatenate([[0], np.cumsum(self.lengths(rows))])
        return Words(offsets, self.pieces[chosen], self.tags[chosen], self.names)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the words of these sentences that the model reads, `[read]` each.

        Returns:
            The sentence of each as an index of `rows`, its piece, and its tag.
        """
        chosen = self.indices(rows)
        sentence = np.repeat(np.arange(len(rows)), self.lengths(rows))
        is_read = self.pieces[chosen] != UNSEEN
        return sentence[is_read], self.pieces[chosen][is_read], self.tags[chosen][is_read]

    def count_read(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of words of each of these sentences that the model reads."""
        read = np.concatenate([[0], np.cumsum(self.pieces != UNSEEN)])
        return np.asarray(read[self.offsets[rows + 1]] - read[self.offsets[rows]])

    def tagged(self, rows: np.ndarray, tags: np.ndarray) -> list[tuple[int, ...]]:
        """Return the tags of all words of each sentence, from those of the words that the model reads, `[read]`."""
        chosen = self.indices(rows)
        full = np.full(len(chosen), self.outside)
        full[self.pieces[chosen] != UNSEEN] = tags
        return [tuple(map(int, part)) for part in np.split(full, np.cumsum(self.lengths(rows))[:-1])]

    def named(self, tags: Sequence[Sequence[int]]) -> list[list[str]]:
        """Return the tags' names."""
        return [[self.names[tag] for tag in own] for own in tags]

    def of(self, rows: np.ndarray) -> list[tuple[int, ...]]:
        """Return the tags of the labels of each sentence."""
        return [tuple(map(int, self.tags[self.offsets[row] : self.offsets[row + 1]])) for row in rows]


def recorded_tags(task: TaskSpec, conditions: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the tags of a token task, as a run recorded them in its conditions; None for other kinds.

    Raises:
        DataError: it recorded none.
    """
    if task.kind != "tokens":
        return None
    names = label_names(conditions, task.name, task.labels)
    if names is None:
        raise DataError(f"task {task.name}: the run has no record of its tags")
    return names


def words_of(
    sentences: Sequence[str], labels: Sequence[tuple[int, ...] | None], names: tuple[str, ...], pieces: np.ndarray
) -> Words:
    """Return the words of sentences whose words are joined by spaces, with their tags where there are labels."""
    counts = [sentence.count(" ") + 1 for sentence in sentences]
    tags = [
        np.full(count, UNKNOWN) if own is None else np.asarray(own) for count, own in zip(counts, labels, strict=True)
    ]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Words(offsets, pieces, np.concatenate(tags).astype(np.int64), names)


def first_pieces(
    sentences: Sequence[str], tokenizer: Any, max_length: int, on_progress: OnProgress = lambda done, total: None
) -> np.ndarray:
    """Return the index of the first piece of each word of all sentences, `[words]`; UNSEEN where it has none.

    Args:
        sentences: words joined by single spaces.
        tokenizer: a fast tokeniser of transformers: pieces are found by the characters that they stand for.
        max_length: maximum input length in tokens.
        on_progress: called after every batch; its exceptions propagate.
    """
    aligned: list[np.ndarray] = []
    for start in range(0, len(sentences), BATCH):
        chunk = list(sentences[start : start + BATCH])
        encoded = tokenizer(chunk, truncation=True, max_length=max_length, return_offsets_mapping=True)
        aligned += [_aligned(text, spans) for text, spans in zip(chunk, encoded["offset_mapping"], strict=True)]
        on_progress(min(start + BATCH, len(sentences)), len(sentences))
    return np.concatenate(aligned)


def _aligned(sentence: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the first piece of each word, from the characters `[start, end)` that each piece stands for."""
    lengths = np.asarray([len(word) for word in sentence.split(" ")])
    ends = np.cumsum(lengths + 1) - 1
    starts = ends - lengths
    of_pieces = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
    real = np.flatnonzero(of_pieces[:, 1] > of_pieces[:, 0])  # special tokens stand for no characters
    if not len(real):
        return np.full(len(lengths), UNSEEN)
    piece_starts, piece_ends = of_pieces[real, 0], of_pieces[real, 1]
    at = np.searchsorted(piece_ends, starts, side="right")
    inside = np.minimum(at, len(real) - 1)
    has_piece = (at < len(real)) & (piece_starts[inside] < ends)
    return np.where(has_piece, real[inside], UNSEEN)
