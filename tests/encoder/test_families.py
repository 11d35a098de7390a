"""Encoder families, tiny and random: supported attention, training, and limits on positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from peftbench.data.batches import Batcher
from peftbench.data.encode import encode_texts
from peftbench.encoder import attention_of, check_fits, find_encoder, load_tokenizer, load_with_facts
from peftbench.encoder.layout import counts_from_padding, positions_of
from peftbench.errors import EXIT_MISSING, MissingError, UsageError
from peftbench.families import FAMILIES as KNOWN
from peftbench.families import family_of
from peftbench.native import why_not_native
from peftbench.spec import EncoderSpec, resolve
from tests.encoder.families import FAMILIES, save_family
from tests.marks import soaked_but
from tests.recorders import train
from tests.tiny import tiny_overrides

EAGER = ("mpnet", "deberta", "deberta-v2", "deberta-v3", "big_bird", "longformer", "nystromformer", "xlnet")
ALSO_EAGER = ("funnel", "flaubert", "xlm", "rembert", "roformer", "convbert", "fnet", "squeezebert")
UNBOUNDED = ("xlnet", "t5", "mt5", "umt5", "funnel")
# Without a table of positions: inputs longer than the configuration says would work.
ROTARY = ("deberta-v3", "modernbert", "nomic_bert", "eurobert", "gte")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns a family's folder, created once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save_family(name, tmp_path_factory.mktemp(name) / name)
        return made[name]

    return folder


def spec_of(folder: Path, **given: object) -> EncoderSpec:
    return EncoderSpec.model_validate({"name": str(folder), "pooling": "mean", "max_length": 64, **given})


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_loaded_whole_with_the_attention_it_supports(name: str, family: Callable[[str], Path]) -> None:
    spec = spec_of(family(name), dropout=0.0)
    files = find_encoder(spec)
    loaded = load_with_facts(spec, files)
    encoder: Any = loaded.encoder
    known = family_of(encoder.config.model_type)
    assert known is not None and type(encoder).__name__ == known.encoder_class
    assert loaded.attention.partition(" ")[0] == encoder.config._attn_implementation == known.attention
    assert attention_of(encoder.config) == known.attention
    assert all(weight.startswith("decoder.") for weight in loaded.unused) and not loaded.missing
    assert (getattr(encoder, "pooler", None) is not None) == ("pooler" in known.poolings)
    assert (why_not_native(encoder) is None) == known.native
    assert not [part for part in encoder.modules() if isinstance(part, torch.nn.Dropout) and part.p]
    if "pooler" in known.poolings:
        with torch.no_grad():
            assert encoder.eval()(input_ids=torch.full((2, 8), 50)).pooler_output.shape == (2, 32)
    tokenizer = load_tokenizer(files)
    check_fits(tokenizer, encoder, files, "mean")
    if "cls" in known.poolings:
        check_fits(tokenizer, encoder, files, "cls")
    else:
        with pytest.raises(UsageError, match="the first token is a word"):
            check_fits(tokenizer, encoder, files, "cls")


def test_every_known_family_is_tried() -> None:
    assert {build(130).model_type for build, _, _ in FAMILIES.values()} == {
        family.model_type for family in KNOWN if not family.causal
    }


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in (*EAGER, *ALSO_EAGER)])
def test_both_attentions_of_a_family_compute_the_same(name: str, family: Callable[[str], Path]) -> None:
    spec = spec_of(family(name))
    encoder: Any = load_with_facts(spec, find_encoder(spec)).encoder.eval()
    assert encoder.config._attn_implementation == "sdpa"
    ids = torch.arange(40).reshape(2, 20) + 50
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    states = []
    for attention in ("sdpa", "eager"):
        encoder.set_attn_implementation(attention)
        with torch.no_grad():
            states.append(encoder(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()])
    torch.testing.assert_close(*states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in UNBOUNDED])
def test_an_encoder_takes_as_many_tokens_as_it_says_and_not_one_more(name: str, family: Callable[[str], Path]) -> None:
    unreached = FAMILIES[name][2]
    spec = spec_of(family(name), max_length=130 - unreached)
    encoder = load_with_facts(spec, find_encoder(spec)).encoder.eval()
    assert positions_of(encoder) == 130 - unreached
    assert counts_from_padding(encoder) == (unreached > 0)
    ids = torch.full((1, 130 - unreached), 50)
    with torch.no_grad():
        states = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        assert bool(states.isfinite().all())
        if name not in ROTARY:
            longer = torch.full((1, 131 - unreached), 50)
            with pytest.raises((IndexError, RuntimeError)):
                encoder(input_ids=longer, attention_mask=torch.ones_like(longer))
    longer_spec = spec.model_copy(update={"max_length": 131 - unreached})
    with pytest.raises(UsageError, match=rf"max_length = {131 - unreached}: .* has {130 - unreached} positions"):
        load_with_facts(longer_spec, find_encoder(longer_spec))


@pytest.mark.parametrize("name", UNBOUNDED)
def test_relative_positions_without_a_stated_bound_are_free(name: str, family: Callable[[str], Path]) -> None:
    spec = spec_of(family(name), max_length=4096)
    assert positions_of(load_with_facts(spec, find_encoder(spec)).encoder) is None


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_has_the_same_states_alone_and_padded_beside_a_longer_one(
    name: str, family: Callable[[str], Path]
) -> None:
    spec = spec_of(family(name))
    files = find_encoder(spec)
    tokenizer, encoder = load_tokenizer(files), load_with_facts(spec, files).encoder.eval()
    split = encode_texts(
        [("the film", "yes"), ("a very good book and a bad film", "no it is not")], tokenizer, True, 64
    )
    make = Batcher(False, tokenizer.pad_token_id, torch.device("cpu"))
    with torch.no_grad():
        (alone,), (both,) = (make(split, rows).texts for rows in ([0], [0, 1]))
        length = alone.ids.shape[1]
        states = [encoder(input_ids=x.ids, attention_mask=x.mask).last_hidden_state[0, :length] for x in (alone, both)]
    known = family_of(encoder.config.model_type)
    if known is not None and known.sees_padding:
        assert not torch.allclose(*states, atol=2e-5, rtol=2e-5)
        assert any("depend on the padding" in note for note in check_fits(tokenizer, encoder, files, "mean"))
    else:
        torch.testing.assert_close(*states, atol=2e-5, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, "lora-r12") for name in EAGER]
    + soaked_but([("mpnet", "full"), ("xlnet", "full")], [(name, "full") for name in (*EAGER, *ALSO_EAGER)]),
)
def test_an_epoch_is_trained_in_transformers_runtime_and_its_memory_predicted(
    name: str, preset: str, family: Callable[[str], Path], tmp_path: Path
) -> None:
    small = tiny_overrides(family(name), train=8, dev=8)
    overrides = [*small, "train.epochs=1", "encoder.max_length=64", "runtime=transformers"]
    if name == "xlnet" and preset != "full":
        overrides.append('method.targets=["layer_1"]')  # its attention has no linear layers
    told = train(resolve(preset, overrides=overrides).spec, tmp_path)
    conditions = told.facts["conditions"]
    assert conditions["attention"].startswith("eager")
    assert conditions["path"] == "transformers"
    assert len(told.epochs) == 1 and all(score.loss is None or score.loss < 100 for score in told.scores)
    assert told.facts["memory_measured"]["activations"] > 0
    if name in ("longformer", "flaubert", "xlm"):
        assert told.facts["memory_predicted"] is None
        assert any("memory: not predicted" in note and "depends on values" in note for note in told.notes)
    else:
        assert told.facts["memory_predicted"]["activations"] == told.facts["memory_measured"]["activations"]


@pytest.mark.slow
def test_the_native_runtime_falls_back_to_transformers_for_them(family: Callable[[str], Path], tmp_path: Path) -> None:
    overrides = [*tiny_overrides(family("mpnet")), "train.epochs=1", "encoder.max_length=64"]
    told = train(resolve("dora-r12", overrides=overrides).spec, tmp_path)
    assert told.facts["conditions"]["path"].startswith("transformers, not native: MPNetModel")


def test_big_bird_computes_the_same_whatever_batch_came_first(family: Callable[[str], Path]) -> None:
    spec = spec_of(family("big_bird"), max_length=130)
    encoder = load_with_facts(spec, find_encoder(spec)).encoder.eval()
    long, short = (torch.arange(length).remainder(90).add(60).unsqueeze(0) for length in (120, 12))
    with torch.no_grad():
        before = encoder(input_ids=long).last_hidden_state
        encoder(input_ids=short)
        after = encoder(input_ids=long).last_hidden_state
    assert torch.equal(before, after)


def test_xlnet_marks_the_second_text_of_a_pair(family: Callable[[str], Path], tmp_path: Path) -> None:
    from peftbench.model import MultitaskModel

    outputs = []
    for types in ("true", "false"):
        spec = resolve(
            "full", overrides=[*tiny_overrides(family("xlnet")), f"encoder.token_types={types}", "runtime=transformers"]
        ).spec
        files = find_encoder(spec.encoder)
        model = MultitaskModel(load_with_facts(spec.encoder, files).encoder, spec)
        for layer in model.encoder.layer:
            torch.nn.init.normal_(layer.rel_attn.seg_embed, generator=torch.Generator().manual_seed(0))
            torch.nn.init.normal_(layer.rel_attn.r_s_bias, generator=torch.Generator().manual_seed(1))
        model.prepare(torch.device("cpu")).eval()
        model.switch_mode("sts")
        assert model.takes_types == (types == "true")
        split = encode_texts([("the film", "the book")], load_tokenizer(files), True, 64)
        with torch.no_grad():
            outputs.append(model(model.batcher(1)(split, [0])))
    assert not torch.allclose(*outputs)


def test_the_first_token_of_xlnet_is_no_class_token(family: Callable[[str], Path]) -> None:
    spec = spec_of(family("xlnet"), pooling="cls")
    files = find_encoder(spec)
    with pytest.raises(UsageError, match=r"pooling = 'cls': the tokeniser .* at the end") as caught:
        check_fits(load_tokenizer(files), load_with_facts(spec, files).encoder, files, "cls")
    assert caught.value.hint == "use --set encoder.pooling=mean"


def test_a_t5_is_its_encoder_alone_and_what_is_saved_of_it_is_one_again(
    family: Callable[[str], Path], tmp_path: Path
) -> None:
    spec = spec_of(family("t5"))
    encoder: Any = load_with_facts(spec, find_encoder(spec)).encoder
    assert not any("decoder" in name for name in encoder.state_dict())
    encoder.save_pretrained(tmp_path)
    load_tokenizer(find_encoder(spec)).save_pretrained(tmp_path)
    again = load_with_facts(spec_of(tmp_path), find_encoder(spec_of(tmp_path)))
    assert type(again.encoder).__name__ == "T5EncoderModel" and not again.unused
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, again.encoder.state_dict()[name])


def test_a_text_of_t5_begins_with_a_word(family: Callable[[str], Path]) -> None:
    spec = spec_of(family("t5"), pooling="cls")
    files = find_encoder(spec)
    with pytest.raises(UsageError, match=r"adds no class token, and the first token is a word"):
        check_fits(load_tokenizer(files), load_with_facts(spec, files).encoder, files, "cls")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("flaubert", {"pre_norm": True}, r"FlaubertModel cannot compute a text's states: TypeError"),
        ("funnel", {"architectures": ["FunnelBaseModel"]}, r"FunnelBaseModel returns a tensor of 1 x 4 x 32"),
    ],
)
def test_what_transformers_cannot_compute_is_refused_with_its_reason(
    name: str, changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    spec = spec_of(save_family(name, tmp_path / name, **changes))
    with pytest.raises(MissingError, match=said) as caught:
        load_with_facts(spec, find_encoder(spec))
    assert caught.value.exit_code == EXIT_MISSING and caught.value.hint


def test_an_encoder_decoder_without_an_encoder_of_its_own_is_refused(tmp_path: Path) -> None:
    from transformers import BartConfig, BartModel

    from tests.encoder.families import byte_level

    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    config = BartConfig(vocab_size=320, d_model=8, encoder_attention_heads=1, decoder_attention_heads=1, **sizes)
    BartModel(config).save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    with pytest.raises(MissingError, match="a bart is an encoder with a decoder"):
        load_with_facts(spec_of(tmp_path), find_encoder(spec_of(tmp_path)))


def test_the_first_token_of_a_longformer_attends_to_all_where_it_stands_for_the_text(
    family: Callable[[str], Path],
) -> None:
    from peftbench.model import MultitaskModel

    changes = {}
    for pooling in ("cls", "mean"):
        overrides = [*tiny_overrides(family("longformer")), f"encoder.pooling={pooling}", "encoder.max_length=64"]
        spec = resolve("last-layer", overrides=overrides).spec
        files = find_encoder(spec.encoder)
        loaded = load_with_facts(spec.encoder, files)
        assert loaded.attention == ("eager (first token global)" if pooling == "cls" else "eager")
        model = MultitaskModel(loaded.encoder, spec).prepare(torch.device("cpu")).eval()
        tokenizer, states, of_tokens = load_tokenizer(files), [], []
        for last in ("yes", "no"):  # out of reach of two layers with windows of 8
            split = encode_texts([("the film was " * 4 + last,)], tokenizer, True, 64)
            with torch.no_grad():
                text = model.batcher(1)(split, [0]).texts[0]
                states.append(model._output(text, model.first_is_global).last_hidden_state[0, 0])
                of_tokens.append(model.token_states(text)[0])
        changes[pooling] = float((states[0] - states[1]).abs().max())
        assert torch.equal(*of_tokens), "in token tasks no token is global"
    assert changes["cls"] > 0 == changes["mean"]
