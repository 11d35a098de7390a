"""Tokens: cached by what determines them, padded no more than needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from peftbench.data.encode import encode_split, encode_texts, make_batch, random_batches, sorted_batches
from peftbench.data.examples import Example, fingerprint
from peftbench.data.load import Split
from peftbench.data.rows import RowCount
from peftbench.encoder import find_encoder, load_tokenizer
from peftbench.seeds import generator
from peftbench.spec import EncoderSpec

CPU = torch.device("cpu")
PAIRS = [("A short one.", "Another."), ("A somewhat longer sentence than that.", "Yes."), ("No.", "No, no, no!")]


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> object:
    return load_tokenizer(find_encoder(EncoderSpec(name=str(tiny_encoder))))


def split_of(pairs: list[tuple[str, ...]]) -> Split:
    examples = tuple(Example(f"e{i}", texts, float(i)) for i, texts in enumerate(pairs))
    return Split("sts", "dev", examples, RowCount(len(examples)), fingerprint(examples))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path))
    return tmp_path / "tokens"


def test_a_joint_pair_is_cls_a_sep_b_sep_with_types(tokenizer: object) -> None:
    (part,) = encode_texts(PAIRS[:1], tokenizer, True, 64).parts
    assert tokenizer.decode(part.ids) == "[CLS] a short one. [SEP] another. [SEP]"
    first = part.types.tolist().index(1)
    assert part.ids[first - 1] == tokenizer.sep_token_id
    assert set(part.types[first:]) == {1}


def test_separate_pairs_are_two_texts(tokenizer: object) -> None:
    first, second = encode_texts(PAIRS[:1], tokenizer, False, 64).parts
    assert tokenizer.decode(first.ids) == "[CLS] a short one. [SEP]"
    assert tokenizer.decode(second.ids) == "[CLS] another. [SEP]"


def test_the_second_time_comes_from_the_cache_and_is_the_same(tokenizer: object, cache: Path) -> None:
    fresh, cached = (encode_split(split_of(PAIRS), tokenizer, "t", True, 64) for _ in range(2))
    assert (fresh.from_cache, cached.from_cache) == (False, True)
    assert len(list(cache.iterdir())) == 1
    for a, b in zip(fresh.parts, cached.parts, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        assert a.types.tolist() == b.types.tolist()
        assert a.offsets.tolist() == b.offsets.tolist()


def test_whatever_determines_the_tokens_is_in_the_key(tokenizer: object, cache: Path) -> None:
    split = split_of(PAIRS)
    encode_split(split, tokenizer, "t", True, 64)
    others = [(split, "t", True, 32), (split, "t", False, 64), (split, "other", True, 64)]
    others.append((split_of([*PAIRS[:2], ("No.", "No, no!")]), "t", True, 64))
    assert not any(encode_split(s, tokenizer, h, joint, n).from_cache for s, h, joint, n in others)


def test_a_damaged_cache_file_is_made_anew(tokenizer: object, cache: Path) -> None:
    fresh = encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    again = encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    assert not again.from_cache
    assert again.parts[0].ids.tolist() == fresh.parts[0].ids.tolist()
    assert encode_split(split_of(PAIRS), tokenizer, "t", True, 64).from_cache


def test_long_inputs_are_cut_and_counted(tokenizer: object, cache: Path) -> None:
    cut = encode_split(split_of(PAIRS), tokenizer, "t", True, 11)
    assert cut.truncated == 1
    assert cut.lengths.max() == 11


def test_a_batch_is_padded_to_its_own_longest(tokenizer: object) -> None:
    split = replace(encode_texts(PAIRS, tokenizer, True, 64), labels=np.arange(3, dtype=np.float32))
    batch = make_batch(split, [2, 0], 0, CPU)
    (text,) = batch.texts
    assert text.ids.shape == (2, split.lengths[[2, 0]].max())
    assert text.mask.sum(dim=1).tolist() == split.lengths[[2, 0]].tolist()
    assert batch.tokens == split.lengths[[2, 0]].sum()
    assert batch.labels.tolist() == [2.0, 0.0]
    assert not text.ids[text.mask == 0].any()


def test_random_batches_visit_every_row_once_in_an_order_of_the_seed() -> None:
    def order(seed: int) -> list[int]:
        return [int(row) for batch in random_batches(21, 8, generator(seed, "order")) for row in batch]

    assert sorted(order(0)) == list(range(21))
    assert order(0) == order(0) != order(1)
    assert [len(batch) for batch in random_batches(21, 8, generator(0, "order"))] == [8, 8, 5]


def test_sorted_batches_visit_every_row_once_the_longest_first() -> None:
    lengths = np.array([3, 9, 4, 9, 1])
    batches = [batch.tolist() for batch in sorted_batches(lengths, 2)]
    assert batches == [[1, 3], [2, 0], [4]]
