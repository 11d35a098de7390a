"""Decoders as encoders, tiny and random: pooling of the last token, held to transformers' own classifiers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from peftbench.data.batches import TextBatch
from peftbench.data.encode import encode_texts
from peftbench.encoder import (
    LoadedEncoder,
    attention_of,
    check_fits,
    find_encoder,
    load_tokenizer,
    load_with_facts,
    notes_of_decoder,
    padding_of,
)
from peftbench.encoder.layout import positions_of
from peftbench.errors import UsageError
from peftbench.families import FAMILIES, family_of
from peftbench.methods.targets import target_names
from peftbench.model import MultitaskModel, last_tokens
from peftbench.native import why_not_native
from peftbench.spec import EncoderSpec, resolve
from peftbench.spec.resolve import changed
from tests.encoder.decoders import DECODERS, bpe, save_decoder
from tests.encoder.families import save_family
from tests.tiny import tiny_overrides

FUSED = ("phi3", "gpt_neox")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
TEXTS = [("the film",), ("a",), ("the book was not very good and the film was fine",), ("no it is",)]
PAIRS = [("the film", "yes"), ("a very good book and a bad film", "no it is not"), ("a", "the")]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns a decoder's folder, created once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save_decoder(name, tmp_path_factory.mktemp(name) / name)
        return made[name]

    return folder


def spec_of(folder: Path, **given: object) -> EncoderSpec:
    return EncoderSpec.model_validate({"name": str(folder), "pooling": "last", "max_length": 64, **given})


def loaded_from(folder: Path, **given: object) -> tuple[LoadedEncoder, Any]:
    spec = spec_of(folder, **given)
    files = find_encoder(spec)
    return load_with_facts(spec, files), load_tokenizer(files)


def model_of(folder: Path, *overrides: str, preset: str = "last-layer") -> tuple[MultitaskModel, Any]:
    """Return a prepared model in evaluation mode, with its tokeniser."""
    given = [*tiny_overrides(folder), "encoder.max_length=64", "encoder.pooling=last", *overrides]
    spec = resolve(preset, overrides=given).spec
    files = find_encoder(spec.encoder)
    model = MultitaskModel(load_with_facts(spec.encoder, files).encoder, spec)
    return model.prepare(torch.device("cpu")).eval(), load_tokenizer(files)


def padded(texts: list[list[int]], pad: int, *, left: bool) -> TextBatch:
    length = max(map(len, texts))
    ids, mask = torch.full((len(texts), length), pad), torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(length - len(text), None) if left else slice(len(text))
        ids[row, place], mask[row, place] = torch.tensor(text), 1
    return TextBatch(ids, mask, torch.zeros_like(ids))


def ids_of(tokenizer: Any, texts: list[tuple[str, ...]]) -> list[list[int]]:
    return [tokenizer(*each)["input_ids"] for each in texts]


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_loaded_whole_and_known_as_causal(name: str, decoder: Callable[[str], Path]) -> None:
    loaded, tokenizer = loaded_from(decoder(name), dropout=0.0)
    encoder: Any = loaded.encoder
    known = family_of(encoder.config.model_type)
    assert known is not None and known.causal and loaded.causal
    assert type(encoder).__name__ == known.encoder_class
    assert loaded.attention == f"{known.attention} (causal)" and attention_of(encoder.config) == known.attention
    assert not loaded.missing and set(loaded.unused) <= {"lm_head.weight", "embed_out.weight"}
    assert why_not_native(encoder) is not None
    assert positions_of(encoder) == 130
    assert not [part for part in encoder.modules() if isinstance(part, nn.Dropout) and part.p]
    assert loaded.facts()["attention"].endswith("(causal)")
    files = find_encoder(spec_of(decoder(name)))
    notes = check_fits(tokenizer, encoder, files, "last", causal=True)
    assert any("no padding token" in note for note in notes) == (tokenizer.pad_token_id is None)


def test_every_known_decoder_is_tried() -> None:
    assert set(DECODERS) == {family.model_type for family in FAMILIES if family.causal}


@pytest.mark.parametrize("name", DECODERS)
def test_roles_are_the_linear_layers_of_a_decoder(name: str, decoder: Callable[[str], Path]) -> None:
    encoder = loaded_from(decoder(name))[0].encoder
    if name == "gpt2":
        with pytest.raises(UsageError, match="Conv1D") as caught:
            target_names(encoder, ["query"])
        assert "last-layer" in (caught.value.hint or "")
        return
    qkv, attention, mlp = (target_names(encoder, [word]) for word in ("qkv", "attention", "mlp"))
    assert len(qkv) == (2 if name in FUSED else 6) and len(attention) == len(qkv) + 2
    assert set(attention + mlp) == set(target_names(encoder, ["all-linear"]))
    assert not set(attention) & set(mlp) and len(mlp) >= 4


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("name", DECODERS)
def test_logits_are_those_of_transformers_classifier(name: str, left: bool, decoder: Callable[[str], Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = model_of(decoder(name), "head.bias=false")
    model.switch_mode("sst")
    reference = AutoModelForSequenceClassification.from_pretrained(
        decoder(name), num_labels=5, pad_token_id=padding_of(tokenizer), attn_implementation=attention_of_model(model)
    ).eval()
    score = reference.score.weight
    assert reference.score.bias is None
    with torch.no_grad():
        score.copy_(model.heads["sst"][-1].weight)
        for texts in (TEXTS, PAIRS):
            batch = padded(ids_of(tokenizer, texts), padding_of(tokenizer), left=left)
            ours = model.head(model.pooled(batch))
            theirs = reference(input_ids=batch.ids, attention_mask=batch.mask).logits
            assert ours.std() > 0.01
            torch.testing.assert_close(ours, theirs, **TOLERANCE)


def attention_of_model(model: MultitaskModel) -> str:
    return str(model.encoder.config._attn_implementation)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", DECODERS)
def test_no_state_sees_what_comes_after_it_or_padding(name: str, decoder: Callable[[str], Path]) -> None:
    model, tokenizer = model_of(decoder(name))
    pad = padding_of(tokenizer)
    long = tokenizer("the film was good and the book was not")["input_ids"]
    with torch.no_grad():
        alone = model.token_states(padded([long], pad, left=False))
        both = model.token_states(padded([long[:5], long], pad, left=False))
        pooled = model.pooled(padded([long[:5], long], pad, left=False))
    torch.testing.assert_close(both[: len(long)][:5], alone[:5], **TOLERANCE)
    torch.testing.assert_close(pooled, alone[[4, len(long) - 1]], **TOLERANCE)


def test_separate_texts_of_a_pair_are_computed_apart(decoder: Callable[[str], Path]) -> None:
    model, tokenizer = model_of(decoder("qwen2"), "encoder.pair_encoding=separate")
    model.switch_mode("sts")
    split = encode_texts(PAIRS, tokenizer, False, 64)
    batch = model.batcher(padding_of(tokenizer))(split, [0, 1, 2])
    with torch.no_grad():
        sides = [model.pooled(text) for text in batch.texts]
        one = model.pooled(padded([tokenizer("yes")["input_ids"]], 3, left=False))
        assert model(batch).shape == (3, 1)
    torch.testing.assert_close(sides[1][:1], one, **TOLERANCE)


def test_the_last_token_is_told_by_the_mask_and_not_by_its_id(tmp_path: Path) -> None:
    folder = save_decoder("llama", tmp_path / "llama", tokenizer=bpe(eos=True))
    model, tokenizer = model_of(folder)
    texts = ids_of(tokenizer, TEXTS)
    assert padding_of(tokenizer) == tokenizer.eos_token_id == 2 and all(text[-1] == 2 for text in texts)
    for left in (False, True):
        batch = padded(texts, 2, left=left)
        with torch.no_grad():
            states = model.token_states(batch).unflatten(0, batch.ids.shape)
            pooled = model.pooled(batch)
        ends = [-1 if left else len(text) - 1 for text in texts]
        assert torch.equal(pooled, torch.stack([states[row, end] for row, end in enumerate(ends)]))


def test_last_tokens_of_masks_padded_on_either_side() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]])
    assert last_tokens(mask).tolist() == [1, 3, 0, 3]


def test_an_empty_text_is_one_token(decoder: Callable[[str], Path]) -> None:
    model, tokenizer = model_of(decoder("gpt2"))
    assert tokenizer("")["input_ids"] == []
    split = encode_texts([("",), ("the film",)], tokenizer, True, 64)
    assert split.lengths.tolist() == [1, len(tokenizer("the film")["input_ids"])]
    with torch.no_grad():
        pooled = model.pooled(model.batcher(padding_of(tokenizer))(split, [0, 1]).texts[0])
    assert bool(pooled.isfinite().all())


@pytest.mark.parametrize("pooling", ["cls", "pooler"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_first_token_of_a_decoder_is_refused(name: str, pooling: str, decoder: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="is a decoder, whose first token sees nothing but itself") as caught:
        loaded_from(decoder(name), pooling=pooling)
    assert "--set encoder.pooling=last" in (caught.value.hint or "")


def test_a_decoder_of_an_unknown_family_is_found_out_by_its_states(tmp_path: Path) -> None:
    from transformers import StableLmConfig, StableLmModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    StableLmModel(StableLmConfig(vocab_size=320, intermediate_size=48, **sizes)).save_pretrained(tmp_path)
    bpe().save_pretrained(tmp_path)
    assert family_of("stablelm") is None
    assert loaded_from(tmp_path)[0].causal
    with pytest.raises(UsageError, match="is a decoder"):
        loaded_from(tmp_path, pooling="cls")


def test_a_gemma_that_sees_both_sides_is_no_decoder(tmp_path: Path) -> None:
    folder = save_decoder("gemma3_text", tmp_path / "gemma", use_bidirectional_attention=True)
    loaded, tokenizer = loaded_from(folder, pooling="cls")
    assert not loaded.causal and loaded.attention == "sdpa"
    files = find_encoder(spec_of(folder))
    with pytest.raises(UsageError, match="ends a text with a word, and this encoder sees both sides"):
        check_fits(tokenizer, loaded.encoder, files, "last")


@pytest.mark.parametrize("name", ["bert", "xlnet", "t5"])
def test_an_encoder_may_be_read_at_a_special_token_that_ends_each_text(name: str, tmp_path: Path) -> None:
    loaded, tokenizer = loaded_from(save_family(name, tmp_path / name))
    assert not loaded.causal
    check_fits(tokenizer, loaded.encoder, find_encoder(spec_of(tmp_path / name)), "last")


def test_the_native_runtime_reads_the_last_token_as_transformers_does(tmp_path: Path) -> None:
    folder = save_family("bert", tmp_path / "bert")
    states = []
    for runtime in ("native", "transformers"):
        model, tokenizer = model_of(folder, f"runtime={runtime}", preset="full")
        assert (model.native is not None) == (runtime == "native")
        split = encode_texts(PAIRS, tokenizer, True, 64)
        with torch.no_grad():
            states.append(model.pooled(model.batcher(0)(split, [0, 1, 2]).texts[0]))
    torch.testing.assert_close(*states, **TOLERANCE)


def test_a_run_keeps_no_cache_of_keys_and_values(decoder: Callable[[str], Path]) -> None:
    model, tokenizer = model_of(decoder("qwen3"), preset="full")
    batch = padded(ids_of(tokenizer, TEXTS), 3, left=False)
    for mode in (True, False):
        assert model.train(mode)._output(batch, False).past_key_values is None


def test_notes_say_what_a_decoder_does_not_see() -> None:
    assert "nothing between the texts" in notes_of_decoder(bpe(), joint_pairs=True, tokens=False)[0]
    assert not notes_of_decoder(bpe(bos=True), joint_pairs=True, tokens=False)
    assert not notes_of_decoder(bpe(), joint_pairs=False, tokens=False)
    assert "first piece of a word" in notes_of_decoder(bpe(bos=True), joint_pairs=True, tokens=True)[0]


class TestDefaultPooling:
    """Of a workload that states no pooling."""

    def workload(self, tmp_path: Path, encoder: Path | str, *lines: str) -> str:
        source = '[tasks.sst.source]\ntype = "quickstart"\n'
        (tmp_path / "own.toml").write_text(
            "\n".join(["[encoder]", f'name = "{encoder}"', *lines, source]), encoding="utf-8"
        )
        return str(tmp_path / "own.toml")

    def test_a_folder_with_a_decoder_is_read_at_its_last_token(
        self, tmp_path: Path, decoder: Callable[[str], Path]
    ) -> None:
        resolved = resolve("full", self.workload(tmp_path, decoder("qwen2")))
        assert resolved.spec.encoder.pooling == "last"
        assert resolved.origins["encoder.pooling"] == "a qwen2 is a decoder"

    def test_what_is_stated_stays(self, tmp_path: Path, decoder: Callable[[str], Path]) -> None:
        own = self.workload(tmp_path, decoder("qwen2"), 'pooling = "mean"')
        assert resolve("full", own).spec.encoder.pooling == "mean"
        assert resolve("full", own, overrides=["encoder.pooling=pooler"]).spec.encoder.pooling == "pooler"

    def test_encoders_and_the_hub_have_the_default(self, tmp_path: Path, tiny_encoder: Path) -> None:
        for name in (tiny_encoder, "Qwen/Qwen2.5-0.5B"):
            resolved = resolve("full", self.workload(tmp_path, name))
            assert resolved.spec.encoder.pooling == "pooler"
            assert resolved.origins["encoder.pooling"] == "default"

    def test_a_broken_configuration_is_left_to_loading(self, tmp_path: Path) -> None:
        for text in ("{", "[]", json.dumps({"model_type": ["qwen2"]})):
            (tmp_path / "config.json").write_text(text)
            assert resolve("full", self.workload(tmp_path, tmp_path)).spec.encoder.pooling == "pooler"

    def test_it_follows_the_encoder_when_a_stored_spec_is_changed(
        self, tmp_path: Path, decoder: Callable[[str], Path], tiny_encoder: Path
    ) -> None:
        first = resolve("full", self.workload(tmp_path, decoder("llama")))
        other = changed(first.spec.canonical_json(), first.origins, [f"encoder.name={tiny_encoder}"])
        assert (other.spec.encoder.pooling, other.origins["encoder.pooling"]) == ("pooler", "default")
        again = changed(other.spec.canonical_json(), other.origins, [f"encoder.name={decoder('llama')}"])
        assert again.spec.hash() == first.spec.hash() and again.origins["encoder.pooling"] == "a llama is a decoder"
        stated = resolve("full", self.workload(tmp_path, tiny_encoder, 'pooling = "mean"'))
        assert changed(stated.spec.canonical_json(), {}, []).spec.encoder.pooling == "mean"
