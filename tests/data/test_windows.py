"""Texts longer than the maximum, divided into windows that overlap."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.analysis.input_lengths import described
from peftbench.data.content import content_of
from peftbench.data.encode import encode_split, encode_texts
from peftbench.data.examples import Example, fingerprint
from peftbench.data.load import Split
from peftbench.data.rows import RowCount
from peftbench.encoder.tokenizer import behaviour_sha256
from peftbench.errors import UsageError
from peftbench.memory.parts import windows_of
from tests.encoder.families import WORDS, byte_level, unigram, wordpiece

LONGEST, STRIDE = 16, 5
TOKENIZERS = {"wordpiece": wordpiece(), "byte level": byte_level(), "unigram": unigram(), "T5": unigram(t5=True)}
TEXTS = [("the film was good " * 9, "no"), ("one", "the book " * 20), ("yes", "two"), ("a " * 14, "a " * 15)]


def split_of(texts: list[tuple[str, ...]]) -> Split:
    examples = tuple(Example(f"e{i}", own, float(i)) for i, own in enumerate(texts))
    return Split("sts", "dev", examples, RowCount(len(examples)), fingerprint(examples))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path))
    return tmp_path / "tokens"


@given(
    st.sampled_from(sorted(TOKENIZERS)),
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join), min_size=1, max_size=4),
    st.integers(8, 20),
    st.integers(0, 5),
)
def test_windows_hold_all_of_a_text_and_overlap_by_the_stride(
    name: str, texts: list[str], max_length: int, stride: int
) -> None:
    tokenizer = TOKENIZERS[name]
    (part,) = encode_texts([(text,) for text in texts], tokenizer, True, max_length, stride=stride).parts
    (plain,) = encode_texts([(text,) for text in texts], tokenizer, True, 9999).parts
    around = tokenizer.num_special_tokens_to_add(pair=False)
    before = tokenizer("")["input_ids"][: around // 2]
    rows = np.arange(len(texts))
    inputs, chosen, _ = part.inputs(rows)
    windows = [inputs.ids[inputs.offsets[row] : inputs.offsets[row + 1]] for row in chosen]
    for row, count in zip(rows, part.window_counts, strict=True):
        own, windows = windows[:count], windows[count:]
        assert [len(each) for each in own] == windows_of(int(part.lengths[row]), max_length)
        pieces = [each[len(before) : len(each) - (around - len(before))] for each in own]
        full = plain.ids[plain.offsets[row] + len(before) : plain.offsets[row + 1] - (around - len(before))]
        merged = np.concatenate([pieces[0], *(each[stride:] for each in pieces[1:])])
        assert merged.tolist() == full.tolist()
        assert count == 1 or len(full) + around > max_length
    assert not windows


def test_rows_are_taken_with_their_windows() -> None:
    first, second = encode_texts(TEXTS, wordpiece(), False, LONGEST, stride=STRIDE).parts
    for part in (first, second):
        taken = part.take(np.array([1, 3, 1, 0]))
        assert taken.lengths.tolist() == part.lengths[[1, 3, 1, 0]].tolist()
        assert taken.window_counts.tolist() == part.window_counts[[1, 3, 1, 0]].tolist()
        inputs, chosen, _ = taken.inputs(np.array([3]))
        again, same, _ = part.inputs(np.array([0]))
        assert [inputs.ids[inputs.offsets[row]] for row in chosen] == [again.ids[again.offsets[row]] for row in same]
    assert (first.window_counts.tolist(), second.window_counts.tolist()) == ([4, 1, 1, 1], [1, 4, 1, 2])


def test_what_is_long_is_counted_in_texts_and_windows() -> None:
    divided = encode_texts(TEXTS, wordpiece(), False, LONGEST, stride=STRIDE).input_lengths
    assert (divided["inputs"], divided["divided"], divided["windows"], divided["truncated"]) == (8, 3, 10, 0)
    assert described(divided, LONGEST) == ("3 of 8 texts divided into 10 windows of at most 16 tokens (encoder.stride)")
    cut = encode_texts(TEXTS, wordpiece(), False, LONGEST).input_lengths
    assert (cut["inputs"], cut["truncated"], cut["divided"], cut["windows"]) == (8, 3, 0, 0)
    assert cut["tokens_cut"] == 38 + 42 + 17 - 3 * LONGEST
    share = 100 * cut["tokens_cut"] / (cut["tokens_cut"] + cut["tokens"])
    assert (
        described(cut, LONGEST) == f"3 of 8 inputs cut to 16 tokens (encoder.max_length), {share:.1f} % of all tokens"
    )
    assert described(encode_texts(TEXTS, wordpiece(), False, 512).input_lengths, 512) is None


def test_special_tokens_of_windows_are_not_taken_for_content_of_a_text() -> None:
    tokenizer = wordpiece()
    divided = content_of(encode_texts(TEXTS, tokenizer, False, LONGEST, stride=STRIDE).parts, tokenizer, False)
    assert (divided.controlled, divided.empty) == (0, 0)


def test_the_cache_keeps_windows_under_a_key_of_their_own(cache: Path) -> None:
    split, tokenizer = split_of(TEXTS), wordpiece()

    def read(stride: int | None) -> Any:
        return encode_split(split, tokenizer, "t", False, LONGEST, stride=stride)

    fresh, again, other, plain = read(STRIDE), read(STRIDE), read(STRIDE - 1), read(None)
    assert [each.from_cache for each in (fresh, again, other, plain)] == [False, True, False, False]
    assert again.input_lengths == fresh.input_lengths
    for one, two in zip(fresh.parts, again.parts, strict=True):
        assert one.windows is not None and two.windows is not None
        assert (one.windows.tolist(), one.ids.tolist()) == (two.windows.tolist(), two.ids.tolist())
    assert read(None).from_cache and all(part.windows is None for part in read(None).parts)


def test_the_key_of_texts_that_are_not_divided_is_what_it_was(cache: Path) -> None:
    split, tokenizer = split_of(TEXTS), wordpiece()
    encode_split(split, tokenizer, "t", False, LONGEST)
    key = json.dumps([3, behaviour_sha256(tokenizer), split.fingerprint, "t", False, LONGEST]).encode()
    assert [path.name for path in cache.iterdir()] == [f"{hashlib.sha256(key).hexdigest()}.tokens"]


@pytest.mark.parametrize("make", [wordpiece, byte_level, unigram])
def test_windows_that_would_not_advance_are_refused(make: Callable[[], Any]) -> None:
    encode_texts(TEXTS, make(), False, LONGEST, stride=13)
    with pytest.raises(UsageError, match=r"encoder\.stride = 14: windows of encoder\.max_length = 16 tokens have 14"):
        encode_texts(TEXTS, make(), False, LONGEST, stride=14)
