"""Ranks of single layers (`method.rank_pattern`): what each key names, in every runtime, and in PEFT's format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from peftbench.encoder import load_encoder
from peftbench.errors import UsageError
from peftbench.interchange.peft_format import export_peft, take_peft
from peftbench.methods.adapted import AdaptedLinear
from peftbench.methods.options import LARGEST_RANK, LoraOptions
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved, resolve
from tests.interchange.random_weights import trained_run
from tests.models import PACKED, PADDED, TOLERANCE, gradients, texts
from tests.models import model_with_adapters as build

Tiny = Callable[..., Resolved]
VALUE_OF_1 = "method.rank_pattern.1 value=5"


def ranks(model: MultitaskModel) -> dict[str, int]:
    """Return the rank of each adapted layer, by layer number and target."""
    found = {}
    for name, module in model.encoder.named_modules():
        if isinstance(module, AdaptedLinear):
            parts = name.split(".")
            adapters = [adapter.A.shape[0] for adapter in module.each()]
            assert len(set(adapters)) == 1
            assert {adapter.scale for adapter in module.each()} == {1.5}
            found[f"{parts[2]} {parts[-1]}"] = adapters[0]
    return found


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (["0=3"], {"0 query": 3, "0 key": 3, "0 value": 3}),
        (["value=3"], {"0 value": 3, "1 value": 3}),
        (["1 value=3", "0=7"], {"1 value": 3, "0 query": 7, "0 key": 7, "0 value": 7}),
        (["0-1=12"], {}),
        (["self.key=3"], {"0 key": 3, "1 key": 3}),
    ],
)
def test_a_key_gives_its_layers_their_rank_at_the_same_scale(
    pattern: list[str], expected: dict[str, int], tiny: Tiny
) -> None:
    spec = tiny("dora-r12", ["method.alpha=18", *(f"method.rank_pattern.{each}" for each in pattern)])
    found = ranks(build(spec, "native"))
    assert found == {f"{layer} {name}": 12 for layer in (0, 1) for name in ("query", "key", "value")} | expected


def test_a_preset_names_a_layer_in_full(tiny: Tiny, tmp_path: Path) -> None:
    preset = tmp_path / "own.toml"
    pattern = '"encoder.layer.1.attention.self.key" = 2'
    method = f'name = "lora"\nrank = 12\nalpha = 18\nrank_pattern = {{ {pattern} }}'
    preset.write_text(f"[method]\n{method}\n[train]\nlr = 1e-4\n")
    resolved = tiny(str(preset))
    assert resolved.origins["method.rank_pattern.encoder.layer.1.attention.self.key"] == "preset own"
    assert {name for name, rank in ranks(build(resolved, "native")).items() if rank == 2} == {"1 key"}


def test_a_run_of_before_has_none_and_the_hash_depends_on_it() -> None:
    plain, patterned = (resolve("dora-r12", overrides=more).spec for more in ([], ["method.rank_pattern.1=4"]))
    assert "rank_pattern" not in plain.determinants()["method"]
    assert patterned.determinants()["method"]["rank_pattern"] == {"1": 4}
    assert plain.group_hash() != patterned.group_hash()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12"])
def test_logits_and_gradients_agree_in_all_runtimes(preset: str, tiny: Tiny) -> None:
    split, results = texts([5, 17, 9]), []
    for runtime in ("native", "transformers", "peft"):
        overrides = [VALUE_OF_1, "method.rank_pattern.0=3", "method.alpha=18", f"runtime={runtime}"]
        model = build(tiny(preset, [*overrides, "encoder.dropout=0", "head.dropout=0"]), runtime)
        results.append(gradients(model, (PACKED if runtime == "native" else PADDED)(split, [2, 0, 1])))
    expected, their_grads = results[0]
    assert {grad.shape[0] for name, grad in their_grads.items() if ".A" in name} == {3, 5, 12}
    for logits, grads in results[1:]:
        torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=TOLERANCE)
        assert grads.keys() == their_grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "delta-lora-r12"])
def test_an_exported_adapter_states_them_and_computes_the_same(preset: str, tiny: Tiny, tmp_path: Path) -> None:
    source = trained_run(tiny(preset, [VALUE_OF_1, "method.alpha=18"]).spec, tmp_path / "run")
    done = export_peft(source, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "sst" / "adapter_config.json").read_text())
    factor = 2 if preset.startswith("delta") else 1
    value = "encoder.layer.1.attention.self.value"
    assert config["r"] == 12 * factor and config["rank_pattern"] == {value: 5 * factor}
    assert config["alpha_pattern"] == {value: 7.5 * factor}
    assert max(row.logits_within for row in done) < TOLERANCE
    if factor == 1:
        here = MultitaskModel(load_encoder(source.spec.encoder, source.files()), source.spec)
        take_peft(here, "sst", tmp_path / "out" / "sst")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (["3=4"], "'3' matches no layer with an adapter"),
        (["intermediate.dense=4"], "'intermediate.dense' matches no layer with an adapter"),
        (["valeu=4"], "'valeu' matches no linear layer"),
        (["0=4", "value=5"], r"gives encoder\.layer\.0\.attention\.self\.value the rank 4, and 'value' 5"),
    ],
)
def test_a_key_that_names_no_layer_or_two_that_disagree_are_refused(
    pattern: list[str], message: str, tiny: Tiny
) -> None:
    with pytest.raises(UsageError, match=message):
        build(tiny("lora-r12", [f"method.rank_pattern.{each}" for each in pattern]), "native")


@pytest.mark.parametrize("key", ["", "value 6-11", "6-11 value key", "6-", "11-6", "0 value key more"])
def test_a_key_that_cannot_be_read_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=r"expected layer"):
        LoraOptions(name="lora", rank=4, rank_pattern={key: 4})


@pytest.mark.parametrize("rank", [0, -1, LARGEST_RANK + 1])
def test_a_rank_out_of_range_is_refused(rank: int) -> None:
    with pytest.raises(UsageError, match=f"the rank of 'value' is {rank}, and must be from 1 to {LARGEST_RANK}"):
        resolve("lora-r12", overrides=[f"method.rank_pattern.value={rank}"])
