"""Tokenise examples once and cache the token ids on disk, keyed by everything that determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peftbench.data.cache_files import read_checked, write_checked
from peftbench.data.load import Split
from peftbench.data.tokenise import Cut, OnProgress, Ragged, tokenise
from peftbench.encoder.tokenizer import behaviour_sha256
from peftbench.paths import cache_folder

__all__ = ["EncodedSplit", "Ragged", "encode_split", "encode_texts"]

_CACHE_VERSION = 3  # increment when the stored content, or how it is computed, changes


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """A tokenised split: one Ragged, or two if the texts of a pair are encoded separately.

    truncated: number of texts (or joint pairs) truncated to the maximum input length.
    tokens_cut: total number of tokens removed by truncation.
    clusters: the cluster of each example; None if the task has no `group` column.
    """

    parts: tuple[Ragged, ...]
    labels: np.ndarray
    example_ids: tuple[str, ...]
    truncated: int
    from_cache: bool
    tokens_cut: int = 0
    clusters: tuple[str | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, rows: np.ndarray) -> EncodedSplit:
        """Return a split of these rows only, in their order."""
        ids = tuple(self.example_ids[row] for row in rows)
        parts = tuple(part.take(rows) for part in self.parts)
        clusters = None if self.clusters is None else tuple(self.clusters[row] for row in rows)
        return EncodedSplit(parts, self.labels[rows], ids, self.truncated, self.from_cache, self.tokens_cut, clusters)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per example, summed over both texts of a pair."""
        return np.asarray(sum(part.lengths for part in self.parts))


def encode_split(
    split: Split,
    tokenizer: Any,
    tokenizer_sha256: str,
    joint: bool,
    max_length: int,
    on_progress: OnProgress = lambda done, total: None,
) -> EncodedSplit:
    """Tokenise a split, or read it from the cache.

    Args:
        split: the examples.
        tokenizer: a fast tokeniser of transformers.
        tokenizer_sha256: hash of its files: part of the cache key, with a hash of the tokeniser's behaviour.
        joint: encode a pair as one text `[CLS] a [SEP] b [SEP]`.
        max_length: maximum input length in tokens; longer inputs are truncated and counted.
        on_progress: called after every tokenised batch; its exceptions propagate.
    """
    key = _cache_key(split.fingerprint, tokenizer, tokenizer_sha256, joint, max_length)
    path = cache_folder() / "tokens" / f"{key}.tokens"
    cached = _read_cache(path)
    if cached is None:
        texts = [example.texts for example in split.examples]
        parts, cut = tokenise(texts, tokenizer, joint, max_length, on_progress)
        _write_cache(path, parts, cut)
    else:
        parts, cut = cached
    labels = np.array([example.label for example in split.examples], dtype=np.float64)
    ids = tuple(example.id for example in split.examples)
    named = any(example.cluster is not None for example in split.examples)
    clusters = tuple(example.cluster for example in split.examples) if named else None
    return EncodedSplit(parts, labels, ids, cut.texts, cached is not None, cut.tokens, clusters)


def encode_texts(texts: Sequence[tuple[str, ...]], tokenizer: Any, joint: bool, max_length: int) -> EncodedSplit:
    """Tokenise texts without labels (set to NaN), without the cache."""
    parts, cut = tokenise(texts, tokenizer, joint, max_length)
    nothing = np.full(len(texts), np.nan)
    return EncodedSplit(parts, nothing, tuple(map(str, range(len(texts)))), cut.texts, False, cut.tokens)


def _cache_key(fingerprint: str, tokenizer: Any, tokenizer_sha256: str, joint: bool, max_length: int) -> str:
    behaviour = behaviour_sha256(tokenizer)
    determinants = [_CACHE_VERSION, behaviour, fingerprint, tokenizer_sha256, joint, max_length]
    return hashlib.sha256(json.dumps(determinants).encode()).hexdigest()


def _read_cache(path: Path) -> tuple[tuple[Ragged, ...], Cut] | None:
    """Read a cache file; None if it is missing or corrupt (it is then recomputed)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = read_checked(path)
    if content is None:
        return None
    try:
        arrays = load(content)
        cut = Cut(*map(int, arrays["cut"]))
        parts = tuple(
            Ragged(arrays[f"ids{i}"], arrays[f"types{i}"], arrays[f"offsets{i}"]) for i in range(len(arrays) // 3)
        )
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    return parts, cut


def _write_cache(path: Path, parts: tuple[Ragged, ...], cut: Cut) -> None:
    """Write the arrays in the safetensors format without copying: the library's own writer copies them twice."""
    arrays = {"cut": np.array(cut, dtype=np.int64)}
    for i, part in enumerate(parts):
        arrays |= {f"offsets{i}": part.offsets, f"ids{i}": part.ids, f"types{i}": part.types}
    header, end = {}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": f"I{8 * array.itemsize}", "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_checked(path, len(text).to_bytes(8, "little"), text, *(array.data for array in arrays.values()))
