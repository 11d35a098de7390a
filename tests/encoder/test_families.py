"""Encoder families, tiny and random: supported attention, training, and limits on positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftbench.data.batches import Batcher
from peftbench.data.encode import encode_texts
from peftbench.encoder import attention_of, check_fits, find_encoder, load_tokenizer, load_with_facts
from peftbench.encoder.layout import counts_from_padding, positions_of
from peftbench.errors import UsageError
from peftbench.spec import EncoderSpec, resolve
from tests.encoder.families import FAMILIES, save_family
from tests.marks import soaked_but
from tests.recorders import train
from tests.tiny import tiny_overrides

EAGER = ("mpnet", "deberta", "deberta-v2", "deberta-v3", "big_bird", "longformer", "nystromformer", "xlnet")


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
    spec = spec_of(family(name))
    files = find_encoder(spec)
    loaded = load_with_facts(spec, files)
    assert loaded.attention.partition(" ")[0] == ("eager" if name in EAGER else "sdpa")
    assert loaded.encoder.config._attn_implementation == attention_of(loaded.encoder.config)
    assert loaded.unused == loaded.missing == ()
    check_fits(load_tokenizer(files), loaded.encoder, files, "mean")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "xlnet"])
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
        if name != "deberta-v3":  # relative positions: longer inputs than the configured 130 would work
            longer = torch.full((1, 131 - unreached), 50)
            with pytest.raises((IndexError, RuntimeError)):
                encoder(input_ids=longer, attention_mask=torch.ones_like(longer))
    longer_spec = spec.model_copy(update={"max_length": 131 - unreached})
    with pytest.raises(UsageError, match=rf"max_length = {131 - unreached}: .* has {130 - unreached} positions"):
        load_with_facts(longer_spec, find_encoder(longer_spec))


def test_relative_positions_without_a_stated_bound_are_free(family: Callable[[str], Path]) -> None:
    spec = spec_of(family("xlnet"), max_length=4096)
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
    if name == "nystromformer":  # its landmarks include the padding in their means
        return
    torch.testing.assert_close(*states, atol=2e-5, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, "lora-r12") for name in EAGER]
    + soaked_but([("mpnet", "full"), ("xlnet", "full")], [(name, "full") for name in EAGER]),
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
    if name == "longformer":
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
