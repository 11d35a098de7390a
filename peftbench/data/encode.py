"""Examples as token ids: tokenised once, cached on disk by all that determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from peftbench.data.cache_files import write_cache
from peftbench.data.load import Split
from peftbench.paths import cache_folder

_CACHE_VERSION = 2  # raise it when what is stored, or how it is made, changes


@dataclass(frozen=True, slots=True)
class Ragged:
    """Token ids of n texts (or joint pairs) of different lengths, end to end.

    `ids` and `types` hold one entry a token; text i is `[offsets[i], offsets[i + 1])`.
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return the places of the rows' tokens, end to end, `[tokens]`."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def take(self, rows: np.ndarray) -> Ragged:
        """Return these rows alone, in their order."""
        places = self.places(rows)
        return Ragged(self.ids[places], self.types[places], np.concatenate([[0], np.cumsum(self.lengths[rows])]))


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """A split ready to train on: one Ragged, or two where the texts of a pair are encoded separately.

    truncated: texts (or joint pairs) that were longer than the longest input, and cut.
    tokens_cut: tokens that they lost, all together.
    """

    parts: tuple[Ragged, ...]
    labels: np.ndarray
    example_ids: tuple[str, ...]
    truncated: int
    from_cache: bool
    tokens_cut: int = 0

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, rows: np.ndarray) -> EncodedSplit:
        """Return a split of these rows alone, in their order."""
        ids = tuple(self.example_ids[row] for row in rows)
        parts = tuple(part.take(rows) for part in self.parts)
        return EncodedSplit(parts, self.labels[rows], ids, self.truncated, self.from_cache, self.tokens_cut)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, both texts of a pair together."""
        return np.asarray(sum(part.lengths for part in self.parts))


def encode_split(split: Split, tokenizer: Any, tokenizer_sha256: str, joint: bool, max_length: int) -> EncodedSplit:
    """Tokenise a split, or take it from the cache.

    Args:
        split: the examples.
        tokenizer: a fast tokeniser of transformers.
        tokenizer_sha256: hash of its files: part of the cache's key.
        joint: encode a pair as one text `[CLS] a [SEP] b [SEP]`.
        max_length: longest input in tokens; longer ones are cut, and counted.
    """
    key = _cache_key(split.fingerprint, tokenizer_sha256, joint, max_length)
    path = cache_folder() / "tokens" / f"{key}.safetensors"
    cached = _read_cache(path)
    texts = [example.texts for example in split.examples]
    parts, cut = cached or _tokenise(texts, tokenizer, joint, max_length)
    if cached is None:
        _write_cache(path, parts, cut)
    labels = np.array([example.label for example in split.examples], dtype=np.float64)
    ids = tuple(example.id for example in split.examples)
    return EncodedSplit(parts, labels, ids, cut.texts, cached is not None, cut.tokens)


def encode_texts(texts: Sequence[tuple[str, ...]], tokenizer: Any, joint: bool, max_length: int) -> EncodedSplit:
    """Tokenise texts that have no labels (theirs are NaN) and are not cached."""
    parts, cut = _tokenise(texts, tokenizer, joint, max_length)
    nothing = np.full(len(texts), np.nan)
    return EncodedSplit(parts, nothing, tuple(map(str, range(len(texts)))), cut.texts, False, cut.tokens)


class _Cut(NamedTuple):
    """What was longer than the longest input."""

    texts: int
    tokens: int


def _tokenise(
    texts: Sequence[tuple[str, ...]], tokenizer: Any, joint: bool, max_length: int
) -> tuple[tuple[Ragged, ...], _Cut]:
    sides = [list(side) for side in zip(*texts, strict=True)]
    columns = [sides] if joint or len(sides) == 1 else [[side] for side in sides]
    parts, lost = [], []
    for column in columns:
        whole = tokenizer(*column, return_token_type_ids=True, truncation=False, verbose=False)
        cut = tokenizer(*column, return_token_type_ids=True, truncation=True, max_length=max_length)
        lost += [len(a) - len(b) for a, b in zip(whole["input_ids"], cut["input_ids"], strict=True) if len(a) > len(b)]
        parts.append(_ragged(cut["input_ids"], cut["token_type_ids"]))
    return tuple(parts), _Cut(len(lost), sum(lost))


def _ragged(ids: list[list[int]], types: list[list[int]]) -> Ragged:
    offsets = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in ids], out=offsets[1:])
    return Ragged(
        np.fromiter((token for row in ids for token in row), np.int32, offsets[-1]),
        np.fromiter((token for row in types for token in row), np.int32, offsets[-1]),
        offsets,
    )


def _cache_key(fingerprint: str, tokenizer_sha256: str, joint: bool, max_length: int) -> str:
    import tokenizers

    determinants = [_CACHE_VERSION, tokenizers.__version__, fingerprint, tokenizer_sha256, joint, max_length]
    return hashlib.sha256(json.dumps(determinants).encode()).hexdigest()


def _read_cache(path: Path) -> tuple[tuple[Ragged, ...], _Cut] | None:
    """Return what a cache file holds; None where it is absent or cannot be read (it is then made anew)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
        cut = _Cut(*map(int, arrays["cut"]))
        parts = tuple(
            Ragged(arrays[f"ids{i}"], arrays[f"types{i}"], arrays[f"offsets{i}"]) for i in range(len(arrays) // 3)
        )
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, OSError):
        return None
    return parts, cut


def _write_cache(path: Path, parts: tuple[Ragged, ...], cut: _Cut) -> None:
    from safetensors.numpy import save

    arrays = {"cut": np.array(cut)}
    for i, part in enumerate(parts):
        arrays |= {f"ids{i}": part.ids, f"types{i}": part.types, f"offsets{i}": part.offsets}
    write_cache(path, save(arrays))
