"""Tokenisers that do not match their encoder or the texts: errors and notes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftbench.data.content import Content, check_content, content_of
from peftbench.data.encode import encode_texts
from peftbench.encoder import check_fits, find_encoder, find_without_weights, load_tokenizer, load_with_facts
from peftbench.encoder.tokenizer import behaviour_sha256
from peftbench.errors import DataError, MissingError, UsageError
from peftbench.spec import EncoderSpec, Resolved
from tests.encoder.families import FAMILIES, byte_level, save_family, unigram, wordpiece
from tests.recorders import train


def copied(tiny_encoder: Path, folder: Path) -> Path:
    return shutil.copytree(tiny_encoder, folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_with_weights_and_no_vocabulary_is_refused_in_every_family(name: str, tmp_path: Path) -> None:
    folder = save_family(name, tmp_path / name, 40)
    (folder / "tokenizer.json").unlink()
    for find in (find_encoder, find_without_weights):
        with pytest.raises(MissingError, match="has no tokeniser vocabulary") as caught:
            find(EncoderSpec(name=str(folder), pooling="mean"))
        assert "to the folder" in (caught.value.hint or "")


def test_a_vocabulary_that_transformers_does_not_read_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    """It builds a tokeniser of five special tokens, and every text becomes [UNK]."""
    folder = copied(tiny_encoder, tmp_path / "encoder")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").rename(folder / "vocabulary.txt")
    with pytest.raises(MissingError, match="has no words: 5 pieces, all of them special tokens"):
        load_tokenizer(find_encoder(EncoderSpec(name=str(folder))))


def test_a_byte_level_vocabulary_without_its_merges_is_refused(tmp_path: Path) -> None:
    folder = save_family("roberta", tmp_path / "roberta", 40)
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    spec = EncoderSpec(name=str(folder), pooling="mean")
    with pytest.raises(MissingError, match=r"vocab\.json without merges\.txt"):
        load_tokenizer(find_encoder(spec))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
    assert load_tokenizer(find_encoder(spec))("the")["input_ids"] == [0, vocab["the"], 2]


def fits(folder: Path, pooling: str = "mean") -> list[str]:
    spec = EncoderSpec(name=str(folder), pooling=pooling, max_length=32)
    files = find_encoder(spec)
    return check_fits(load_tokenizer(files), load_with_facts(spec, files).encoder, files, pooling)


@pytest.mark.slow
@pytest.mark.parametrize("added", [1, 40, 5000])
def test_more_pieces_than_embedding_rows_are_refused_with_both_numbers(
    added: int, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_encoder, tmp_path / "encoder")
    assert fits(folder) == []
    tokenizer = load_tokenizer(find_encoder(EncoderSpec(name=str(folder))))
    tokenizer.add_tokens([f"new{number}word" for number in range(added)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UsageError, match=f"{30522 + added:,} pieces, its embedding 30,522 rows: {added:,} pieces have"):
        fits(folder)


def test_fewer_pieces_than_rows_are_fine(tmp_path: Path) -> None:
    assert fits(save_family("bert", tmp_path / "bert", 40)) == []


@pytest.mark.parametrize("name", ["roberta", "data2vec-text", "mpnet", "xlm-roberta-xl", "longformer"])
def test_another_padding_id_is_refused_where_positions_are_counted_by_it(name: str, tmp_path: Path) -> None:
    folder = save_family(name, tmp_path / name, 66)
    wordpiece().save_pretrained(folder)
    with pytest.raises(
        UsageError, match=r"pads with id 0, its configuration says 1, and positions of a .* depend on it"
    ):
        fits(folder)


def test_other_special_ids_are_told(tmp_path: Path) -> None:
    folder = save_family("bert", tmp_path / "bert", 66)
    wordpiece(pad=2).save_pretrained(folder)
    (message,) = fits(folder)
    assert message.startswith("pad_token_id: 2 in the tokeniser, 0 in the configuration of ")


class TestControlTokensInTexts:
    """Special tokens in texts are treated as text."""

    @pytest.mark.parametrize("make", [wordpiece, byte_level])
    def test_they_are_cut_into_pieces_as_other_words_are(self, make: Callable[[], Any], tmp_path: Path) -> None:
        folder = save_family("bert", tmp_path / "bert", 66)
        make().save_pretrained(folder)
        tokenizer = load_tokenizer(find_encoder(EncoderSpec(name=str(folder))))
        for token in tokenizer.all_special_tokens:
            texts = [(f"the {token} film", "one"), ("two", f"{token}{token}")]
            (part,) = encode_texts(texts, tokenizer, True, 64).parts
            counts = content_of([part], tokenizer, True)
            assert (counts.controlled, counts.unknown) == (0, 0)
            assert tokenizer.decode(part.ids[: part.offsets[1]]).count(token) >= 1 or make is wordpiece

    def test_texts_without_any_have_the_tokens_they_had(self, tiny_encoder: Path) -> None:
        from transformers import AutoTokenizer

        texts = ["a plain film", "[ SEP ] and [un finished", "naïve café, 东京!", "<pad", ""]
        ours = load_tokenizer(find_encoder(EncoderSpec(name=str(tiny_encoder))))
        assert ours(texts)["input_ids"] == AutoTokenizer.from_pretrained(tiny_encoder)(texts)["input_ids"]

    def test_where_a_vocabulary_knows_one_as_a_word_it_is_counted(self, tmp_path: Path) -> None:
        folder = save_family("xlm-roberta", tmp_path / "xlmr", 66)
        tokenizer = load_tokenizer(find_encoder(EncoderSpec(name=str(folder))))
        split = encode_texts([("the <pad> film",), ("the film",), ("</s>",)], tokenizer, True, 64)
        counts = content_of(split.parts, tokenizer, False)
        assert (counts.inputs, counts.controlled) == (3, 2)
        assert (
            "2 inputs contain text that the tokeniser reads as a special token"
            in check_content(counts, "a", "dev", "e")[-1]
        )

    @pytest.mark.slow
    def test_the_record_says_so(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        told = train(tiny("last-layer", ["train.epochs=1"]).spec, tmp_path)
        facts = told.facts["conditions"]["tokenizer"]
        assert (facts["special_tokens_in_texts"], facts["pieces"]) == ("text", 30522)
        assert len(facts["behaviour_sha256"]) == 64

    def test_a_saved_tokeniser_goes_on_with_it(self, tiny_encoder: Path, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        load_tokenizer(find_encoder(EncoderSpec(name=str(tiny_encoder)))).save_pretrained(tmp_path)
        again = AutoTokenizer.from_pretrained(tmp_path)
        assert again("[SEP]")["input_ids"].count(again.sep_token_id) == 1


class TestContent:
    @pytest.mark.parametrize(
        ("unknown", "outcome"), [(0, ""), (19, ""), (20, "told"), (89, "told"), (90, "refused"), (100, "refused")]
    )
    def test_unknown_pieces_are_told_from_a_fifth_and_refused_from_nine_tenths(
        self, unknown: int, outcome: str
    ) -> None:
        content = Content(10, 100, unknown, 0, 0)
        if outcome == "refused":
            with pytest.raises(
                DataError, match=f"sst train: {unknown}% of the pieces are unknown to the tokeniser of e"
            ):
                check_content(content, "sst", "train", "e")
            assert len(check_content(content, "sst", "dev", "e")) == 1
        else:
            notes = check_content(content, "sst", "train", "e")
            assert len(notes) == (1 if outcome == "told" else 0)

    @pytest.mark.parametrize(("empty", "refused"), [(1, False), (8, False), (9, True), (10, True)])
    def test_inputs_that_come_out_empty_are_told_and_nearly_all_refused(self, empty: int, refused: bool) -> None:
        content = Content(10, 100 - 10 * empty, 0, empty, 0)
        if refused:
            with pytest.raises(DataError, match=f"{empty} of 10 inputs have no content"):
                check_content(content, "sst", "train", "e")
        else:
            assert check_content(content, "sst", "train", "e") == [
                f"sst train: {empty} of 10 inputs have no content after the tokeniser of e"
            ]

    def test_they_are_counted_without_the_template(self, tiny_encoder: Path) -> None:
        tokenizer = load_tokenizer(find_encoder(EncoderSpec(name=str(tiny_encoder))))
        texts = [("a film", "東"), ("", ""), ("𝔘𝔘 𓀀", "𓀀"), ("one", "")]
        joint = content_of(encode_texts(texts, tokenizer, True, 64).parts, tokenizer, True)
        assert (joint.inputs, joint.empty, joint.controlled) == (4, 1, 0)
        assert (joint.unknown, joint.pieces) == (3, 7)
        apart = content_of(encode_texts(texts, tokenizer, False, 64).parts, tokenizer, False)
        assert (apart.inputs, apart.empty, apart.unknown) == (8, 3, 3)

    def test_a_tokeniser_of_another_language_ends_the_run_before_it_trains(
        self, tiny: Callable[..., Resolved], tmp_path: Path
    ) -> None:
        folder = save_family("bert", tmp_path / "bert")
        content = json.loads((folder / "tokenizer.json").read_text())
        vocab = content["model"]["vocab"]
        content["model"]["vocab"] = {piece if place < 5 else f"ж{place}": place for piece, place in vocab.items()}
        (folder / "tokenizer.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match=r"sst train: 100% of the pieces are unknown"):
            train(tiny("full", [f"encoder.name={folder}", "encoder.max_length=64"]).spec, tmp_path)


class TestBehaviour:
    """The token cache key depends on everything that changes ids, and on nothing from earlier calls."""

    def test_each_change_of_what_a_tokeniser_does_changes_it(self) -> None:
        from tokenizers import AddedToken, normalizers, pre_tokenizers, processors

        def added(t: Any) -> None:
            t.add_tokens(["film book"])

        def special(t: Any) -> None:
            t.add_special_tokens({"additional_special_tokens": [AddedToken("<e>")]})

        def cased(t: Any) -> None:
            t.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)

        def split(t: Any) -> None:
            t.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

        def template(t: Any) -> None:
            t.backend_tokenizer.post_processor = processors.TemplateProcessing("$A", "$A $B:1", [])

        def left(t: Any) -> None:
            t.truncation_side = "left"

        def padded(t: Any) -> None:
            t.pad_token = "[MASK]"

        def controls(t: Any) -> None:
            t.split_special_tokens = True

        found = {behaviour_sha256(wordpiece())}
        for change in (added, special, cased, split, template, left, padded, controls):
            tokenizer = wordpiece()
            change(tokenizer)
            found.add(behaviour_sha256(tokenizer))
        assert len(found) == 9
        assert len({behaviour_sha256(make()) for make in (wordpiece, byte_level, unigram)}) == 3

    def test_a_call_before_leaves_it(self) -> None:
        tokenizer = wordpiece()
        before = behaviour_sha256(tokenizer)
        tokenizer(["the film", "a"], truncation=True, max_length=3, padding=True)
        assert behaviour_sha256(tokenizer) == before == behaviour_sha256(wordpiece())


def test_counting_is_the_same_as_by_hand() -> None:
    tokenizer = wordpiece()
    rng = np.random.default_rng(0)
    texts = [(" ".join(rng.choice(["the", "film", "東", "<x>"], int(n))),) for n in rng.integers(0, 9, 60)]
    (part,) = encode_texts(texts, tokenizer, True, 64).parts
    rows = [part.ids[part.offsets[i] : part.offsets[i + 1]].tolist() for i in range(60)]
    content = content_of([part], tokenizer, False)
    assert content.pieces == sum(len(row) - 2 for row in rows)
    assert content.unknown == sum(row.count(tokenizer.unk_token_id) for row in rows)
    assert content.empty == sum(len(row) == 2 for row in rows)
