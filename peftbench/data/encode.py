"""Tokenise examples once and cache the token ids on disk, keyed by everything that determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from peftbench.data.cache_files import read_checked, write_checked
from peftbench.data.load import Split
from peftbench.data.tokenise import Cut, OnProgress, Ragged, tokenise
from peftbench.data.words import UNSEEN, Words, first_pieces, words_of
from peftbench.encoder.tokenizer import behaviour_sha256
from peftbench.paths import cache_folder
from peftbench.store.conditions import InputLengths

__all__ = ["EncodedSplit", "Ragged", "encode_split", "encode_texts"]

_CACHE_VERSION = 3  # increment when the stored content, or how it is computed, changes


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """A tokenised split: one Ragged, or two if the texts of a pair are encoded separately.

    labels: [n] class indices or numbers; of kind 'multilabel' [n, labels] 0/1; of kind 'tokens' zeros, see `words`.
    truncated: number of texts (or joint pairs) truncated to the maximum input length; with `encoder.stride` longer
        texts are divided instead.
    tokens_cut: total number of tokens removed by truncation.
    clusters: the cluster of each example; None if the task has no `group` column.
    words: of kind 'tokens', the words of each text and their tags.
    weights: [n] of the training loss, 1 on average; None where all are alike.
    unscaled: of standardised labels, those of the data.
    """

    parts: tuple[Ragged, ...]
    labels: np.ndarray
    example_ids: tuple[str, ...]
    truncated: int
    from_cache: bool
    tokens_cut: int = 0
    clusters: tuple[str | None, ...] | None = None
    words: Words | None = None
    weights: np.ndarray | None = None
    unscaled: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, rows: np.ndarray) -> EncodedSplit:
        """Return a split of these rows only, in their order."""
        ids = tuple(self.example_ids[row] for row in rows)
        parts = tuple(part.take(rows) for part in self.parts)
        clusters = None if self.clusters is None else tuple(self.clusters[row] for row in rows)
        return replace(
            self,
            parts=parts,
            labels=self.labels[rows],
            example_ids=ids,
            clusters=clusters,
            words=None if self.words is None else self.words.take(rows),
            weights=None if self.weights is None else self.weights[rows],
            unscaled=None if self.unscaled is None else self.unscaled[rows],
        )

    def stratum(self, row: int) -> tuple[float, ...]:
        """Return what examples are stratified by: label, combination of labels, or number of words in spans."""
        if self.words is not None:
            tags = self.words.tags[self.words.offsets[row] : self.words.offsets[row + 1]]
            return (float((tags != self.words.outside).sum()),)
        return tuple(map(float, np.atleast_1d(self.labels[row])))

    @property
    def trained_labels(self) -> np.ndarray:
        """The labels that a loss is computed from: `labels`, or of token tasks the tags of the words that are read."""
        return self.labels if self.words is None else self.words.tags[self.words.pieces != UNSEEN]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per example, summed over both texts of a pair and all windows."""
        return np.asarray(sum(part.lengths for part in self.parts))

    @property
    def input_lengths(self) -> InputLengths:
        """How many inputs are longer than the maximum; truncation is counted over all rows that were tokenised."""
        counts = np.concatenate([part.window_counts for part in self.parts])
        return InputLengths(
            inputs=len(counts),
            tokens=int(self.lengths.sum()),
            truncated=self.truncated,
            tokens_cut=self.tokens_cut,
            divided=int((counts > 1).sum()),
            windows=int(counts[counts > 1].sum()),
        )


def encode_split(
    split: Split,
    tokenizer: Any,
    tokenizer_sha256: str,
    joint: bool,
    max_length: int,
    on_progress: OnProgress = lambda done, total: None,
    stride: int | None = None,
) -> EncodedSplit:
    """Tokenise a split, or read it from the cache.

    Args:
        split: the examples.
        tokenizer: a fast tokeniser of transformers.
        tokenizer_sha256: hash of its files: part of the cache key, with a hash of the tokeniser's behaviour.
        joint: encode a pair as one text `[CLS] a [SEP] b [SEP]`.
        max_length: maximum input length in tokens; longer inputs are truncated and counted.
        on_progress: called after every tokenised batch; its exceptions propagate.
        stride: see `tokenise`; not of kind 'tokens'.

    Raises:
        UsageError: see `tokenise`.
    """
    tokens = split.kind == "tokens"
    key = _cache_key(split.fingerprint, tokenizer, tokenizer_sha256, joint, max_length, stride, tokens)
    path = cache_folder() / "tokens" / f"{key}.tokens"
    cached = _read_cache(path, tokens)
    if cached is None:
        texts = [example.texts for example in split.examples]
        parts, cut = tokenise(texts, tokenizer, joint, max_length, on_progress, stride)
        pieces = first_pieces([own[0] for own in texts], tokenizer, max_length, on_progress) if tokens else None
        _write_cache(path, parts, cut, pieces)
    else:
        parts, cut, pieces = cached
    ids = tuple(example.id for example in split.examples)
    named = any(example.cluster is not None for example in split.examples)
    clusters = tuple(example.cluster for example in split.examples) if named else None
    labels = _labels(split)
    words = None
    if pieces is not None:
        assert split.label_names is not None, "tags have names"
        tags = [example.label if isinstance(example.label, tuple) else None for example in split.examples]
        words = words_of([example.texts[0] for example in split.examples], tags, split.label_names, pieces)
    given = np.array([example.weight for example in split.examples])
    weights = None if (given == given[0]).all() else given / given.mean()
    return EncodedSplit(parts, labels, ids, cut.texts, cached is not None, cut.tokens, clusters, words, weights)


def encode_texts(
    texts: Sequence[tuple[str, ...]],
    tokenizer: Any,
    joint: bool,
    max_length: int,
    tags: tuple[str, ...] | None = None,
    stride: int | None = None,
) -> EncodedSplit:
    """Tokenise texts without labels (set to NaN), without the cache; `tags` are the names of a token task's."""
    parts, cut = tokenise(texts, tokenizer, joint, max_length, stride=stride)
    nothing = np.full(len(texts), np.nan)
    words = None
    if tags is not None:
        sentences = [own[0] for own in texts]
        words = words_of(sentences, [None] * len(texts), tags, first_pieces(sentences, tokenizer, max_length))
    ids = tuple(map(str, range(len(texts))))
    return EncodedSplit(parts, nothing, ids, cut.texts, False, cut.tokens, words=words)


def _labels(split: Split) -> np.ndarray:
    """Return the labels of a split, as `EncodedSplit` has them."""
    if split.kind == "tokens":
        return np.zeros(len(split.examples))
    if split.kind != "multilabel":
        return np.array([example.label for example in split.examples], dtype=np.float64)
    assert split.label_names is not None, "several labels have names"
    labels = np.zeros((len(split.examples), len(split.label_names)))
    for row, example in enumerate(split.examples):
        assert isinstance(example.label, tuple)
        labels[row, list(example.label)] = 1
    return labels


def _cache_key(
    fingerprint: str,
    tokenizer: Any,
    tokenizer_sha256: str,
    joint: bool,
    max_length: int,
    stride: int | None,
    tokens: bool,
) -> str:
    behaviour = behaviour_sha256(tokenizer)
    determinants = [_CACHE_VERSION, behaviour, fingerprint, tokenizer_sha256, joint, max_length]
    determinants += [] if stride is None else ["stride", stride]
    determinants += ["words"] if tokens else []
    return hashlib.sha256(json.dumps(determinants).encode()).hexdigest()


def _read_cache(path: Path, tokens: bool) -> tuple[tuple[Ragged, ...], Cut, np.ndarray | None] | None:
    """Read a cache file, of token tasks with the words' pieces; None if missing or corrupt (it is then recomputed)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = read_checked(path)
    if content is None:
        return None
    try:
        arrays = load(content)
        pieces = arrays.pop("pieces") if tokens else None
        cut = Cut(*map(int, arrays["cut"]))
        parts = tuple(
            Ragged(arrays[f"ids{i}"], arrays[f"types{i}"], arrays[f"offsets{i}"], arrays.get(f"windows{i}"))
            for i in range(sum(name.startswith("ids") for name in arrays))
        )
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    return parts, cut, pieces


def _write_cache(path: Path, parts: tuple[Ragged, ...], cut: Cut, pieces: np.ndarray | None) -> None:
    """Write the arrays in the safetensors format without copying: the library's own writer copies them twice."""
    arrays = {"cut": np.array(cut, dtype=np.int64)}
    if pieces is not None:
        arrays["pieces"] = np.ascontiguousarray(pieces, dtype=np.int64)
    for i, part in enumerate(parts):
        arrays |= {f"offsets{i}": part.offsets, f"ids{i}": part.ids, f"types{i}": part.types}
        arrays |= {} if part.windows is None else {f"windows{i}": part.windows}
    header, end = {}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": f"I{8 * array.itemsize}", "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_checked(path, len(text).to_bytes(8, "little"), text, *(array.data for array in arrays.values()))
