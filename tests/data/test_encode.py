"""Token cache keys, and minimal padding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.data import tokenise
from peftbench.data.batches import WINDOW_BATCHES, Batcher, bucketed_batches, pack, random_batches, sorted_batches
from peftbench.data.cache_files import read_checked
from peftbench.data.encode import EncodedSplit, Ragged, encode_split, encode_texts
from peftbench.data.examples import Example, fingerprint
from peftbench.data.load import Split
from peftbench.data.rows import RowCount
from peftbench.encoder import find_encoder, load_tokenizer
from peftbench.errors import Interrupted
from peftbench.kernels.attention import round_up
from peftbench.seeds import generator
from peftbench.spec import EncoderSpec
from tests.encoder.families import byte_level, unigram, wordpiece

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


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_seen_and_the_file_made_anew(tokenizer: object, cache: Path) -> None:
    fresh = encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << place % 8
        file.write_bytes(spoilt)
        assert read_checked(file) is None
    again = encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    assert not again.from_cache
    assert again.parts[0].ids.tolist() == fresh.parts[0].ids.tolist()
    assert file.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"peftbench cache 1\n", b"x" * 500])
def test_what_was_not_written_by_it_is_not_read(content: bytes, tokenizer: object, cache: Path) -> None:
    encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert not encode_split(split_of(PAIRS), tokenizer, "t", True, 64).from_cache
    assert encode_split(split_of(PAIRS), tokenizer, "t", True, 64).from_cache


def test_files_of_earlier_versions_are_left_alone(tokenizer: object, cache: Path) -> None:
    """They had no checksum, and similar names in the same folder."""
    from safetensors.numpy import save_file

    encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    (file,) = cache.iterdir()
    old = file.with_suffix(".safetensors")
    wrong = {"cut": np.array([0, 0]), "ids0": np.zeros(3, np.int32), "types0": np.zeros(3, np.int32)}
    save_file({**wrong, "offsets0": np.arange(4)}, old)
    file.unlink()
    again = encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    assert not again.from_cache
    assert again.lengths.sum() > 3
    assert old.is_file()


def test_another_behaviour_of_the_same_files_is_another_key(tokenizer: object, cache: Path) -> None:
    from peftbench.encoder.tokenizer import load_tokenizer as load

    encode_split(split_of(PAIRS), tokenizer, "t", True, 64)
    files = find_encoder(EncoderSpec(name=tokenizer.name_or_path))
    other = load(files)
    assert encode_split(split_of(PAIRS), other, "t", True, 64).from_cache
    other.truncation_side = "left"
    assert not encode_split(split_of(PAIRS), other, "t", True, 64).from_cache
    other = load(files)
    other.add_tokens(["longer sentence"])
    assert not encode_split(split_of(PAIRS), other, "t", True, 64).from_cache


def in_two_passes(texts: list[tuple[str, ...]], tokenizer: object, joint: bool, longest: int) -> list[object]:
    """Reference for `tokenise`: all texts in one call, and all again with truncation."""
    sides = [list(side) for side in zip(*texts, strict=True)]
    found, lost = [], []
    for column in [sides] if joint or len(sides) == 1 else [[side] for side in sides]:
        whole = tokenizer(*column, return_token_type_ids=True, truncation=False, verbose=False)
        cut = tokenizer(*column, return_token_type_ids=True, truncation=True, max_length=longest)
        lost += [len(a) - len(b) for a, b in zip(whole["input_ids"], cut["input_ids"], strict=True) if len(a) > len(b)]
        found.append((cut["input_ids"], cut["token_type_ids"]))
    return [found, (len(lost), sum(lost))]


class TestBatchesOfTexts:
    TOKENIZERS = (wordpiece(), byte_level(), unigram())

    @pytest.mark.slow
    @settings(max_examples=150)
    @given(data=st.data())
    def test_the_tokens_are_those_of_one_call(self, data: st.DataObject) -> None:
        tokenizer = data.draw(st.sampled_from(self.TOKENIZERS))
        tokenizer.truncation_side = data.draw(st.sampled_from(["right", "left"]))
        words = st.sampled_from(["the", "film", "very bad", "東京", "<pad>", "[SEP]", "e\u0301", "\u200b", "x" * 30])
        text = st.lists(words, max_size=12).map(" ".join) | st.text(max_size=20)
        texts = data.draw(st.lists(st.tuples(*[text] * data.draw(st.integers(1, 2))), min_size=1, max_size=12))
        joint, longest = data.draw(st.booleans()), data.draw(st.integers(8, 40))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tokenise, "BATCH", data.draw(st.integers(1, 13)))
            parts, cut = tokenise.tokenise(texts, tokenizer, joint, longest)
        expected, lost = in_two_passes(texts, tokenizer, joint, longest)
        assert cut == lost
        assert len(parts) == len(expected)
        for part, (ids, types) in zip(parts, expected, strict=True):
            assert (part.ids.dtype, part.types.dtype, part.offsets.dtype) == (np.int32, np.int32, np.int64)
            rows = range(len(texts))
            assert [part.ids[part.offsets[i] : part.offsets[i + 1]].tolist() for i in rows] == ids
            assert [part.types[part.offsets[i] : part.offsets[i + 1]].tolist() for i in rows] == types

    def test_each_batch_is_told_and_what_is_raised_ends_it(
        self, tokenizer: object, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokenise, "BATCH", 2)
        split, told = split_of([*PAIRS, *PAIRS]), []

        def stop(done: int, total: int) -> None:
            told.append((done, total))
            if done == 4:
                raise Interrupted("asked to stop")

        with pytest.raises(Interrupted):
            encode_split(split, tokenizer, "t", True, 64, stop)
        assert told == [(2, 6), (4, 6)]
        assert not cache.exists()  # partial results are not cached
        told.clear()
        encode_split(split, tokenizer, "t", True, 64, lambda done, total: told.append((done, total)))
        assert told == [(2, 6), (4, 6), (6, 6)]
        told.clear()
        assert encode_split(split, tokenizer, "t", True, 64, stop).from_cache
        assert told == []


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
