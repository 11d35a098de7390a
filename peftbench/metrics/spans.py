"""Spans of tagged tokens, read as conlleval reads them (seqeval's default mode), and how many are right.

A tag is `O`, or a prefix `B`, `I`, `E` or `S` and a type: `B-PER` (a prefix alone has the type `_`). BIO and BIOES are
read by the same rules, leniently: a span begins at B or S, at I or E after O, E or S, and wherever the type changes; it
ends after E or S, before B, S or O, and before a change of type. Tags of parts of words that are not scored are left
out by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CORRECT, PREDICTED, TRUE, CORRECT_TOKENS, TOKENS = range(5)  # columns of `span_counts`
_PREFIXES = "OBIES"


class _Vocabulary:
    """The tags seen so far, numbered, with the prefix and type of each; types are numbered, too."""

    def __init__(self) -> None:
        self.tags: dict[str, int] = {}
        self.types: dict[str, int] = {}
        self.prefix: list[int] = []
        self.type: list[int] = []
        self.number("O")

    def number(self, tag: str) -> int:
        """Return a tag's number."""
        if tag not in self.tags:
            if tag != "O" and (not tag or tag[0] not in "BIES" or tag[1:2] not in ("", "-")):
                raise ValueError(f"'{tag}' is not a tag of BIO or BIOES: O, or B, I, E or S and '-TYPE'")
            self.tags[tag] = len(self.tags)
            self.prefix.append(_PREFIXES.index(tag[0]))
            self.type.append(self.types.setdefault(tag[2:] or "_", len(self.types)))
        return self.tags[tag]


@dataclass(frozen=True, slots=True)
class _Read:
    """Tags of all sentences in one row, an `O` after each sentence; of spans the first and last position, and type."""

    tags: np.ndarray  # [tokens + sentences]
    sentence: np.ndarray  # [tokens + sentences]
    is_token: np.ndarray  # [tokens + sentences]
    first: np.ndarray
    last: np.ndarray
    type: np.ndarray


def spans_of(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the spans of one sentence: type, index of the first token, and of the last, in order.

    Raises:
        ValueError: a tag is neither `O` nor begins with B, I, E or S.
    """
    vocabulary = _Vocabulary()
    read = _read([tags], vocabulary)
    names = list(vocabulary.types)
    return [(names[kind], int(a), int(b)) for kind, a, b in zip(read.type, read.first, read.last, strict=True)]


def span_counts(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> np.ndarray:
    """Count, in each sentence, the spans and tokens, [sentences, 5].

    Columns: spans predicted rightly (type, first and last token), spans predicted, spans of the labels, tokens with the
    right tag, tokens.

    Raises:
        ValueError: labels and predictions are not of the same tokens, or a tag is not of BIO or BIOES.
    """
    true, predicted, right, _ = _compared(labels, predictions)
    same = true.is_token & (true.tags == predicted.tags)
    columns = (predicted.first[right], predicted.first, true.first, np.flatnonzero(same), np.flatnonzero(true.is_token))
    counts = [np.bincount(true.sentence[each], minlength=len(labels)) for each in columns]
    return np.stack(counts, axis=1).astype(np.float64)


def spans_by_type(
    labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, tuple[int, int, int]]:
    """Count the spans of each type, in order of the types' names: predicted rightly, predicted, in the labels.

    Raises:
        ValueError: as `span_counts`.
    """
    true, predicted, right, names = _compared(labels, predictions)
    counts = [np.bincount(each, minlength=len(names)) for each in (predicted.type[right], predicted.type, true.type)]
    rows = {name: (int(counts[0][at]), int(counts[1][at]), int(counts[2][at])) for at, name in enumerate(names)}
    return {name: rows[name] for name in sorted(rows) if any(rows[name])}


def _compared(
    labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> tuple[_Read, _Read, np.ndarray, list[str]]:
    """Return labels and predictions as read, [spans predicted] which of these are right, and the types' names."""
    if [len(each) for each in labels] != [len(each) for each in predictions]:
        raise ValueError("labels and predictions must have the same sentences, with as many tags each")
    vocabulary = _Vocabulary()
    true, predicted = _read(labels, vocabulary), _read(predictions, vocabulary)
    last, kind = np.full(len(true.tags), -1), np.full(len(true.tags), -1)
    last[true.first], kind[true.first] = true.last, true.type
    right = (last[predicted.first] == predicted.last) & (kind[predicted.first] == predicted.type)
    return true, predicted, right, list(vocabulary.types)


def _read(sentences: Sequence[Sequence[str]], vocabulary: _Vocabulary) -> _Read:
    known = vocabulary.tags
    rows = [known[tag] if tag in known else vocabulary.number(tag) for tags in sentences for tag in (*tags, "O")]
    tags = np.asarray(rows, dtype=np.int64)
    prefix, kind = np.asarray(vocabulary.prefix)[tags], np.asarray(vocabulary.type)[tags]
    before, kind_before = np.roll(prefix, 1), np.roll(kind, 1)  # before the first one is the last one: an O
    inside, inside_before, changed = prefix != 0, before != 0, kind != kind_before
    begins, ended = (prefix == 1) | (prefix == 4), (before == 3) | (before == 4)
    starts = inside & (begins | ended | ~inside_before | changed)
    ends = inside_before & (begins | ended | ~inside | changed)  # as many: each ends the span that started last
    lengths = np.asarray([len(tags) + 1 for tags in sentences], dtype=np.int64)
    is_token = np.ones(len(tags), bool)
    is_token[np.cumsum(lengths) - 1] = False
    first = np.flatnonzero(starts)
    return _Read(
        tags, np.repeat(np.arange(len(lengths)), lengths), is_token, first, np.flatnonzero(ends) - 1, kind[first]
    )
