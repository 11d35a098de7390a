"""Token and multilabel data: every form of rows, and the piece of each word."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.data.encode import encode_split
from peftbench.data.load import load_split
from peftbench.data.token_rows import read_tokens
from peftbench.data.words import UNSEEN, _aligned, first_pieces, words_of
from peftbench.encoder import find_encoder, load_tokenizer
from peftbench.errors import DataError
from peftbench.spec.encoder import EncoderSpec
from peftbench.tasks import FilesSource, TaskSpec

EMBEDDED = EncoderSpec(name="all-MiniLM-L6-v2")
COLUMNS = ("tokens", "tags")


def task_of(folder: Path, file: str, kind: str = "tokens", **keys: object) -> TaskSpec:
    source = FilesSource(root=str(folder), train=file, dev=file)
    columns = {"text": ("tokens",), "label": "tags"} if kind == "tokens" else {"text": ("text",), "label": "labels"}
    return TaskSpec.model_validate({"name": "own", "kind": kind, **columns, "source": source, **keys})


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


class TestConll:
    def test_words_and_tags_of_each_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "a.conll").write_text(
            "-DOCSTART- -X- O O\n\n# id = 1\n"
            "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n# # O\n2 CD O O\n\n\nAnna\tB-PER\n"
        )
        split = load_split(task_of(tmp_path, "a.conll", labels=("O", "B-ORG", "B-PER")), "train")
        assert [example.texts for example in split.examples] == [("EU rejects",), ("# 2",), ("Anna",)]
        assert [example.label for example in split.examples] == [(1, 0), (0, 0), (2,)]
        assert [example.id for example in split.examples] == ["4", "7", "11"], "the line of the first word"

    def test_a_line_with_one_column_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.bio").write_text("Anna B-PER\nsleeps\n")
        with pytest.raises(DataError, match=r"a.bio, line 2: expected a word and its tag, found 'sleeps'"):
            load_split(task_of(tmp_path, "a.bio", classes=2), "train")

    def test_an_empty_file_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.conll").write_text("\n\n")
        with pytest.raises(DataError, match="empty"):
            load_split(task_of(tmp_path, "a.conll", classes=2), "train")


class TestForms:
    def test_lists_texts_and_spans_are_the_same(self, tmp_path: Path) -> None:
        rows: list[dict[str, object]] = [
            {"tokens": ["Anna", "left", "New", "York", "."], "tags": ["B-PER", "O", "B-LOC", "I-LOC", "O"]},
            {"tokens": "Anna left New York .", "tags": "B-PER O B-LOC I-LOC O"},
            {
                "tokens": "Anna left New York.",
                "tags": [{"start": 10, "end": 18, "label": "LOC"}, {"start": 0, "end": 4, "label": "PER"}],
            },
        ]
        write(tmp_path / "a.jsonl", rows)
        split = load_split(task_of(tmp_path, "a.jsonl", classes=4), "train")
        assert split.label_names == ("O", "B-LOC", "B-PER", "I-LOC"), "O first, then by name"
        assert {example.texts for example in split.examples} == {("Anna left New York .",)}
        assert {example.label for example in split.examples} == {(2, 0, 1, 3, 0)}

    def test_numbers_are_places_among_the_declared_tags(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"tokens": ["New", "York", "sleeps"], "tags": [1, 2, 0]}])
        split = load_split(task_of(tmp_path, "a.jsonl", labels=("O", "B-LOC", "I-LOC")), "train")
        assert [example.label for example in split.examples] == [(1, 2, 0)]
        with pytest.raises(DataError, match="is not a tag of BIO or BIOES"):
            load_split(task_of(tmp_path, "a.jsonl", classes=3), "train")

    @pytest.mark.parametrize(
        ("words", "tags", "message"),
        [
            (["a", "b"], ["O"], "2 words and 1 tags"),
            (["a b"], ["O"], "has the word 'a b'"),
            (["", "b"], ["O", "O"], "has the word ''"),
            ([1], ["O"], "has the word 1"),
            (["a"], [1.0], "'tags' must be a list of tags"),
            (["a"], [True], "'tags' must be a list of tags"),
            (["a"], 3, "'tags' must be a list of tags"),
            (3, ["O"], "'tokens' must be a list of words"),
            (["ab"], [{"start": 0, "end": 1, "label": "X"}], "need 'tokens' to be a text"),
            ("ab cd", [{"start": 0, "end": 1, "label": "X"}], "begins or ends within 'ab'"),
            ("ab cd", [{"start": 9, "end": 12, "label": "X"}], "there is no word in it"),
            ("ab cd", [{"start": 0, "end": 2}], "a span needs whole numbers"),
            ("ab", [{"start": 0, "end": 2, "label": "X"}, {"start": 0, "end": 2, "label": "Y"}], "overlaps another"),
        ],
    )
    def test_what_has_another_form_is_refused(self, words: object, tags: object, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_tokens(words, tags, "file, line 1", COLUMNS)

    @given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6), min_size=1, max_size=8))
    def test_spans_of_whole_words_give_their_tags(self, words: list[str]) -> None:
        text = " ".join(words)
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])]).tolist()
        spans = [{"start": s, "end": s + len(w), "label": "X"} for s, w in zip(starts, words, strict=True)]
        sentence, tags = read_tokens(text, spans[::2], "line 1", COLUMNS)
        assert sentence.split(" ") == words
        assert tags == ["B-X" if number % 2 == 0 else "O" for number in range(len(words))]

    def test_tags_that_are_not_declared_are_listed(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "tags": ["B-PER", "B-LOC"]}])
        with pytest.raises(DataError, match=r'has 2 different tags, not the 5 of task own: "B-LOC", "B-PER"'):
            load_split(task_of(tmp_path, "a.jsonl", classes=5), "train")
        with pytest.raises(DataError, match=r"line 1: tag 'B-LOC' is not one of task own's: O, B-PER"):
            load_split(task_of(tmp_path, "a.jsonl", labels=("O", "B-PER")), "train")
        with pytest.raises(DataError, match="the tags need 'O'"):
            load_split(task_of(tmp_path, "a.jsonl", classes=2), "train")

    def test_a_row_without_tags_is_skipped(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": None}])
        split = load_split(task_of(tmp_path, "a.jsonl", labels=("O", "B-X")), "train")
        assert (len(split.examples), split.count.skipped) == (1, {"no label": 1})


class TestSeveralLabels:
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            (["staff", "food"], (0, 1)),
            ([1, 0], (0, 1)),
            ("staff|food", (0, 1)),
            ("food; staff", (0, 1)),
            ("staff", (1,)),
            ("", ()),
            ([], ()),
            (1, (1,)),
        ],
    )
    def test_a_cell_lists_names_or_indices(self, tmp_path: Path, cell: object, expected: tuple[int, ...]) -> None:
        write(tmp_path / "a.jsonl", [{"text": "x", "labels": cell}])
        split = load_split(task_of(tmp_path, "a.jsonl", "multilabel", labels=("food", "staff")), "train")
        assert [example.label for example in split.examples] == [expected]

    def test_a_declared_name_may_have_a_separator(self, tmp_path: Path) -> None:
        write(
            tmp_path / "a.jsonl",
            [{"text": "x", "labels": "food, drinks"}, {"text": "y", "labels": "staff|food, drinks"}],
        )
        task = task_of(tmp_path, "a.jsonl", "multilabel", labels=("food, drinks", "staff"))
        assert [example.label for example in load_split(task, "train").examples] == [(0,), (0, 1)]

    def test_names_are_those_of_the_training_split(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"text": "x", "labels": ["b"]}, {"text": "y", "labels": ["a", "c"]}])
        task = task_of(tmp_path, "a.jsonl", "multilabel", classes=3)
        assert load_split(task, "train").label_names == ("a", "b", "c")
        write(tmp_path / "a.jsonl", [{"text": "x", "labels": ["d"]}])
        with pytest.raises(DataError, match=r"label 'd' is not one of task own's: a, b, c"):
            load_split(task, "dev", ("a", "b", "c"))

    @pytest.mark.parametrize("cell", [1.5, True, {"a": 1}, [None]])
    def test_what_is_no_label_is_refused(self, tmp_path: Path, cell: object) -> None:
        write(tmp_path / "a.jsonl", [{"text": "x", "labels": cell}])
        with pytest.raises(DataError, match="must be a list of labels"):
            load_split(task_of(tmp_path, "a.jsonl", "multilabel", labels=("a", "b")), "train")


class TestPieces:
    @given(st.data())
    def test_a_word_has_the_first_piece_that_stands_for_its_characters(self, data: st.DataObject) -> None:
        """Against the definition, on pieces cut at random and lost at random."""
        words = data.draw(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5))
        sentence = " ".join(words)
        cuts = sorted({0, len(sentence), *data.draw(st.lists(st.integers(0, len(sentence)), max_size=6))})
        spans = [(0, 0)]
        for start, end in itertools.pairwise(cuts):
            if sentence[start:end].strip() and data.draw(st.booleans()):
                spans.append((start, end))
        start, expected = 0, []
        for word in words:
            end = start + len(word)
            having = [n for n, (a, b) in enumerate(spans) if b > a and b > start and a < end]
            expected.append(having[0] if having else UNSEEN)
            start = end + 1
        assert _aligned(sentence, spans).tolist() == expected

    def test_of_the_embedded_tokeniser(self) -> None:
        tokenizer = load_tokenizer(find_encoder(EMBEDDED))
        sentence = "unhappily \u200b Anna 's ???"
        pieces = first_pieces([sentence], tokenizer, 64)
        ids = tokenizer(sentence)["input_ids"]
        words = sentence.split(" ")
        assert len(pieces) == len(words)
        read = [None if piece == UNSEEN else tokenizer.convert_ids_to_tokens(ids[piece]) for piece in pieces]
        assert read[0] is not None and words[0].startswith(read[0])
        assert read[1] is None, "a character that the tokeniser drops"
        assert read[2:] == ["anna", "'", "?"]
        assert first_pieces([sentence], tokenizer, 4)[-1] == UNSEEN, "beyond the maximum length"

    def test_rows_are_taken_with_their_words(self) -> None:
        words = words_of(
            ["a b", "c", "d e f"], [(0, 1), (1,), (0, 0, 1)], ("O", "B-X"), np.array([1, 2, UNSEEN, 1, 2, 3])
        )
        taken = words.take(np.array([2, 0]))
        assert taken.of(np.array([0, 1])) == [(0, 0, 1), (0, 1)]
        assert words.count_read(np.array([0, 1, 2])).tolist() == [2, 0, 3]
        assert [part.tolist() for part in words.read(np.array([1, 0]))] == [[1, 1], [1, 2], [0, 1]]
        assert words.tagged(np.array([1, 0]), np.array([1, 1])) == [(0,), (1, 1)], "an unseen word is outside"

    def test_the_cache_keeps_them(self, tmp_path: Path) -> None:
        (tmp_path / "a.conll").write_text("Anna B-PER\nsleeps O\n\nBen B-PER\n")
        files = find_encoder(EMBEDDED)
        tokenizer = load_tokenizer(files)
        split = load_split(task_of(tmp_path, "a.conll", labels=("O", "B-PER")), "train")
        first, second = (encode_split(split, tokenizer, files.tokenizer_sha256, True, 16) for _ in range(2))
        assert second.from_cache and first.words is not None and second.words is not None
        assert first.words.pieces.tolist() == second.words.pieces.tolist()
        assert first.trained_labels.tolist() == [1, 0, 1]
