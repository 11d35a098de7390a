"""Tokens: cached by what determines them, padded no more than needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from peftbench.data.batches import WINDOW_BATCHES, Batcher, bucketed_batches, pack, random_batches, sorted_batches
from peftbench.data.encode import EncodedSplit, Ragged, encode_split, encode_texts
from peftbench.data.examples import Example, fingerprint
from peftbench.data.load import Split
from peftbench.data.rows import RowCount
from peftbench.encoder import find_encoder, load_tokenizer
from peftbench.kernels.attention import round_up
from peftbench.seeds import generator
from peftbench.spec import EncoderSpec

PADDED = Batcher(False, 0, torch.device("cpu"))
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
    assert cut.lengths.max() == 11
    whole = encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    for encoded in (cut, encode_split(split_of(PAIRS), tokenizer, "t", True, 11)):  # and from the cache
        assert encoded.truncated == 1
        assert encoded.tokens_cut == whole.lengths.sum() - 11 * 1 - whole.lengths[[0, 2]].sum()
    assert (whole.truncated, whole.tokens_cut) == (0, 0)


def test_a_batch_is_padded_to_its_own_longest(tokenizer: object) -> None:
    split = replace(encode_texts(PAIRS, tokenizer, True, 64), labels=np.arange(3, dtype=np.float32))
    batch = PADDED(split, [2, 0])
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


class TestBucketedBatches:
    LENGTHS = np.random.default_rng(0).integers(5, 60, 1003)

    def batches(self, seed: int) -> list[np.ndarray]:
        return list(bucketed_batches(self.LENGTHS, 8, torch.Generator().manual_seed(seed)))

    def test_every_row_once_in_batches_of_the_size(self) -> None:
        batches = self.batches(0)
        assert sorted(np.concatenate(batches)) == list(range(1003))
        assert sorted(map(len, batches)) == [3, *[8] * 125]

    def test_texts_of_a_batch_have_similar_lengths(self) -> None:
        waste = [self.LENGTHS[batch].max() * len(batch) / self.LENGTHS[batch].sum() for batch in self.batches(0)]
        assert np.mean(waste) < 1.05

    def test_the_order_is_random_by_the_seed_alone(self) -> None:
        one, same, other = self.batches(1), self.batches(1), self.batches(2)
        assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        means = [self.LENGTHS[batch].mean() for batch in one]
        assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.25

    def test_a_window_is_many_batches(self) -> None:
        assert WINDOW_BATCHES * 8 < 1003


def test_packed_rows_are_the_padded_ones_without_the_padding() -> None:
    lengths = [4, 9, 4, 1]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(100, 118, dtype=np.int32)
    part = Ragged(ids, (ids % 2).astype(np.int32), offsets)
    split = EncodedSplit((part,), np.zeros(4), tuple("abcd"), 0, False)
    packed = Batcher(True, 0, torch.device("cpu"))(split, [2, 1, 3])
    padded = PADDED(split, [2, 1, 3])
    text, wide = packed.texts[0], padded.texts[0]
    assert packed.tokens == padded.tokens == 14 == text.layout.tokens
    assert text.layout.groups == ((0, 1, 9), (9, 1, 4), (13, 1, 1))
    assert text.ids.tolist() == [*range(104, 113), *range(113, 117), 117]
    assert text.positions.tolist() == [*range(9), *range(4), 0]
    assert text.layout.rows == 14
    assert torch.equal(text.restore_order(text.ids[text.first_tokens]), wide.ids[:, 0])
    assert torch.equal(text.types, text.ids % 2)


@pytest.mark.parametrize("tokens", [1, 2, 31, 32, 33, 63, 64, 65, 170, 1350, 100_003])
def test_the_height_of_a_packed_batch_takes_few_values_and_little_room(tokens: int) -> None:
    rows = round_up(tokens)
    assert tokens <= rows <= tokens * (1 + 1 / 32) + 1
    assert round_up(rows) == rows
    assert len({round_up(each) for each in range(tokens, 2 * tokens)}) <= 65


def test_rows_of_nothing_follow_the_tokens() -> None:
    offsets = np.array([0, 60, 130])
    part = Ragged(np.arange(1, 131, dtype=np.int32), np.ones(130, dtype=np.int32), offsets)
    text = pack(part, np.array([0, 1]), torch.device("cpu"))
    assert (text.layout.tokens, text.layout.rows) == (130, 132)
    assert text.ids[130:].tolist() == text.types[130:].tolist() == text.positions[130:].tolist() == [0, 0]
