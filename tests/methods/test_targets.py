"""Adapter targets by role in every family of encoders: which linear layers they are, and why there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from peftbench.encoder import find_encoder, load_encoder
from peftbench.errors import EXIT_USAGE, UsageError
from peftbench.families import FAMILIES as KNOWN
from peftbench.families import family_of
from peftbench.methods.as_peft import AsPeft
from peftbench.methods.options import LoraOptions
from peftbench.methods.targets import target_names
from peftbench.model import MultitaskModel
from peftbench.spec import EncoderSpec, Resolved, resolve
from tests.encoder.families import FAMILIES, save_family

QKV = ("query", "key", "value")
FUSED = ("deberta", "modernbert")  # query, key and value in one matrix
WITHOUT = ("xlnet", "fnet", "squeezebert")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], nn.Module]:
    """Return a function that returns a family's encoder, created once and not to be changed."""
    made: dict[str, nn.Module] = {}

    def loaded(name: str) -> nn.Module:
        if name not in made:
            folder = save_family(name, tmp_path_factory.mktemp(name) / name)
            spec = EncoderSpec(name=str(folder), pooling="mean", max_length=64)
            made[name] = load_encoder(spec, find_encoder(spec))
        return made[name]

    return loaded


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT])
def test_every_layer_of_a_family_has_each_role(name: str, encoder: Callable[[str], nn.Module]) -> None:
    parts = encoder(name)
    layers = {"albert": 1, "funnel": 3}.get(name, 2)
    qkv = target_names(parts, QKV)
    assert len(qkv) == (1 if name in FUSED else 3) * layers
    assert target_names(parts, ["qkv"]) == qkv
    attention, mlp = target_names(parts, ["attention"]), target_names(parts, ["mlp"])
    assert len(attention) == len(qkv) + layers and set(qkv) < set(attention)
    assert len(mlp) >= 2 * layers and not set(mlp) & set(attention)
    every = target_names(parts, ["all-linear"])
    assert set(attention + mlp) <= set(every)
    if name not in ("longformer", "mobilebert", "convbert"):  # these have layers of other roles too
        assert set(attention + mlp) == set(every)
    assert not any("pooler" in each or "embedding" in each for each in every)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_role_without_linear_layers_is_refused_with_the_reason_and_what_to_do(
    name: str, encoder: Callable[[str], nn.Module]
) -> None:
    family = family_of(name)
    assert family is not None and family.lacks
    for targets in (QKV, ["attention"]):
        with pytest.raises(UsageError, match="matches no linear layer of this") as caught:
            target_names(encoder(name), targets)
        assert family.lacks in caught.value.message and caught.value.exit_code == EXIT_USAGE
        wanted = "--set method.targets=mlp" if family.roles.ffn else "--preset full"
        assert wanted in (caught.value.hint or "")
    if family.roles.ffn:
        assert target_names(encoder(name), ["mlp"]) == target_names(encoder(name), ["all-linear"])


def test_only_families_with_a_reason_lack_a_role() -> None:
    assert {family.model_type for family in KNOWN if not all(family.roles)} == {*WITHOUT, "gpt2"}
    assert {family.model_type for family in KNOWN if family.lacks} == {*WITHOUT, "gpt2"}


@pytest.mark.parametrize("name", ["bert", "distilbert", "nomic_bert", "funnel", "flaubert"])
def test_the_layers_of_an_unknown_family_are_found_by_known_spellings(name: str, tmp_path: Path) -> None:
    folder = save_family(name, tmp_path / name)
    spec = EncoderSpec(name=str(folder), pooling="mean", max_length=64)
    parts: Any = load_encoder(spec, find_encoder(spec))
    words = ("qkv", "attention", "mlp")
    before = [target_names(parts, [word]) for word in words]
    parts.config.model_type = "unheard-of"
    assert [target_names(parts, [word]) for word in words] == before


def test_a_linear_layer_of_that_name_comes_before_the_word(encoder: Callable[[str], nn.Module]) -> None:
    assert [name.rpartition(".")[2] for name in target_names(encoder("albert"), ["ffn"])] == ["ffn"]
    with pytest.raises(UsageError, match="'output' matches no linear layer of this bert"):
        target_names(encoder("bert"), ["output"])


@pytest.mark.parametrize(
    ("name", "number"), [("t5", "encoder.block.1."), ("flaubert", "attentions.1."), ("modernbert", "layers.1.")]
)
def test_layers_are_counted_in_every_family(name: str, number: str, encoder: Callable[[str], nn.Module]) -> None:
    names = target_names(encoder(name), QKV, "1")
    assert names and all(each.startswith(number) for each in names)


@pytest.mark.parametrize("name", ["albert", "funnel"])
def test_layers_without_a_number_are_told(name: str, encoder: Callable[[str], nn.Module]) -> None:
    with pytest.raises(UsageError, match="has no layer 0") as caught:
        target_names(encoder(name), QKV, "0")
    assert caught.value.hint == "its layers are not numbered"


class TestInASpec:
    def test_qkv_is_the_default_with_the_same_hash(self) -> None:
        default, named, other = (
            resolve("lora-r12", overrides=overrides).spec
            for overrides in ([], ["method.targets=qkv"], ["method.targets=attention"])
        )
        assert default.hash() == named.hash() != other.hash()
        assert isinstance(other.method, LoraOptions) and other.method.targets == ("attention",)
        assert '"targets":["attention"]' in other.canonical_json()

    def test_another_word_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(ValidationError, match="qkv, attention, mlp, all-linear"):
            LoraOptions.model_validate({"name": "lora", "rank": 2, "targets": "everything"})


@pytest.mark.parametrize("name", ["bert", "longformer", "modernbert", "t5"])
@pytest.mark.parametrize("word", ["qkv", "attention", "mlp", "all-linear"])
def test_an_export_names_the_same_layers_to_peft(name: str, word: str, tmp_path: Path) -> None:
    from peft.tuners.tuners_utils import check_target_module_exists

    folder = save_family(name, tmp_path / name)
    overrides = [f"encoder.name={folder}", "encoder.max_length=64", "encoder.pooling=mean", f"method.targets={word}"]
    spec = resolve("lora-r12", overrides=overrides).spec
    parts = load_encoder(spec.encoder, find_encoder(spec.encoder))
    modules = [each for each, _ in parts.named_modules()]
    model = MultitaskModel(parts, spec)
    config = AsPeft(model.method, model.encoder, ["sst"]).adapter("sst").config
    assert {each for each in modules if check_target_module_exists(config, each)} == set(model.method.adapted)
    assert len(config.target_modules) == 3 or word != "qkv" or name == "modernbert"


def test_both_runtimes_count_the_modules_with_adapters(tiny: Callable[..., Resolved]) -> None:
    for preset, count in (("lora-r12", 6), ("lora-r12-peft", 6), ("full", 0)):
        spec = tiny(preset).spec
        assert len(MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec).method.adapted) == count


@pytest.mark.parametrize("preset", ["lora-r12-all", "houlsby-m48"])
def test_adapters_on_the_layers_whose_weight_t5_reads(preset: str, tmp_path: Path) -> None:
    folder = save_family("t5", tmp_path / "t5")
    overrides = [f"encoder.name={folder}", "encoder.max_length=64", "runtime=transformers"]
    spec = resolve(preset, overrides=overrides).spec
    model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)
    assert any(name.endswith("DenseReluDense.wo") for name in model.method.adapted)
    assert model.encoder(torch.ones(1, 3, dtype=torch.long)).last_hidden_state.isfinite().all()
