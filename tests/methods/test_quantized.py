"""Encoders with frozen weights in 4 or 8 bits: what is computed, counted, exported, and refused."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertModel

from peftbench.analysis.comparability import settings
from peftbench.analysis.groups import group_of
from peftbench.errors import MissingError, UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.interchange.transformers_format import export_transformers
from peftbench.jobs.execute import execute
from peftbench.kernels.quantized import dense, is_quantized, make_dense, product, quantize, scales
from peftbench.memory.parts import score
from peftbench.memory.predict import predict_for
from peftbench.methods.adapted import AdaptedLinear
from peftbench.spec import Resolved, resolve
from tests.factories import comparable_record
from tests.interchange.random_weights import trained_run
from tests.memory.live import BATCHES, live_anatomy, prepared, small_config
from tests.recorders import Kept, stopped_anywhere, train

pytestmark = pytest.mark.usefixtures("no_prediction")

Tiny = Callable[..., Resolved]
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}


def quantized(precision: str = "nf4", double: bool = True) -> tuple[nn.Module, nn.Module]:
    """Return a small encoder, and the same one quantized."""
    torch.manual_seed(0)
    first = BertModel(small_config(**WIDE)).eval()
    second = BertModel(small_config(**WIDE)).eval()
    second.load_state_dict(first.state_dict())
    assert quantize(second, precision, double_quant=double, compute_dtype=torch.float32) == 18
    return first, second


@pytest.mark.parametrize(("precision", "bits"), [("nf4", 4), ("int8", 8)])
def test_the_layers_are_quantized_and_nothing_else(precision: str, bits: int) -> None:
    plain, small = quantized(precision)
    kinds = {name: is_quantized(module) for name, module in small.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, yes in kinds.items() if not yes} == {"pooler.dense"}
    for (name, weight), (same, other) in zip(
        plain.state_dict().items(), make_plain(small).state_dict().items(), strict=True
    ):
        assert name == same
        quantized_weight = ".layer." in name and weight.ndim == 2
        step = weight.abs().max() / (4 if bits == 4 else 100)
        assert torch.allclose(weight, other, atol=float(step) if quantized_weight else 0.0), name
        assert not (quantized_weight and torch.equal(weight, other)), name


def make_plain(encoder: nn.Module) -> nn.Module:
    make_dense(encoder)
    assert not any(map(is_quantized, encoder.modules()))
    return encoder


@pytest.mark.parametrize("double", [True, False])
def test_four_bits_are_half_a_byte_a_weight_and_its_blocks_scales(double: bool) -> None:
    _, small = quantized(double=double)
    module = small.encoder.layer[0].intermediate.dense  # type: ignore[union-attr]
    weights = 64 * 128
    assert module.weight.numel() == weights // 2 and module.weight.element_size() == 1
    blocks = next(each for each in scales(module) if each.numel() == weights // 64)
    assert blocks.dtype == (torch.uint8 if double else torch.float32)


def test_a_product_is_that_of_the_dense_weight() -> None:
    _, small = quantized()
    module, x = small.encoder.layer[1].output.dense, torch.randn(5, 128, requires_grad=True)  # type: ignore[union-attr]
    expected = x @ dense(module).t()
    torch.testing.assert_close(product(x, module), expected, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(product(x, module).sum(), x)
    torch.testing.assert_close(gradient, dense(module).sum(dim=0).expand(5, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preset", ["qlora-r12", "qdora-r12"])
def test_an_adapter_computes_its_equation_of_the_dense_weight(preset: str) -> None:
    spec = resolve(preset, overrides=["method.targets=all-linear"]).spec
    model = prepared(small_config(**WIDE), spec)
    layers = [module for module in model.modules() if isinstance(module, AdaptedLinear)]
    assert len(layers) == 18 and all(is_quantized(layer.base) for layer in layers)
    for layer in layers:
        nn.init.normal_(layer.active.B, std=0.1)
        x = torch.randn(3, layer.base.in_features)
        expected = x @ layer.active.weight(layer.base).t() + layer.base.bias
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("preset", "precision"),
    [("qlora-r12", "nf4"), ("qdora-r12", "nf4"), ("qlora-r12", "int8"), ("last-layer", "nf4")],
)
def test_memory_is_predicted_to_the_byte(preset: str, precision: str) -> None:
    overrides = ["runtime=transformers", f"precision={precision}", "train.cache_frozen_features=false"]
    spec = resolve(preset, "paper", overrides=overrides).spec
    errors = score(predict_for(small_config(**WIDE), spec, BATCHES, "cpu"), live_anatomy(small_config(**WIDE), spec))
    assert {name: errors[name] for name in ("weights", "trainable", "gradients", "optimizer", "activations")} == (
        dict.fromkeys(("weights", "trainable", "gradients", "optimizer", "activations"), 0.0)
    )


IN_BOTH = [
    (preset, precision, runtime)
    for preset in ("qlora-r12", "qdora-r12")
    for precision in ("nf4", "int8")
    for runtime in ("transformers", "peft")
]


def test_pefts_dora_of_eight_bits_is_refused_on_a_cpu(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it loses their scales"):
        train(tiny("qdora-r12", ["precision=int8", "runtime=peft"]).spec, tmp_path / "run")


@pytest.mark.parametrize(
    ("preset", "precision", "runtime"), [each for each in IN_BOTH if each[0] == "qlora-r12"] + IN_BOTH[4:7]
)
def test_it_trains_in_both_runtimes(preset: str, precision: str, runtime: str, tiny: Tiny, tmp_path: Path) -> None:
    spec = tiny(preset, [f"precision={precision}", f"runtime={runtime}", "train.lr=0.01"]).spec
    memory = train(spec, tmp_path / "run")
    losses = [loss for _, _, loss in memory.loss_points]
    assert np.isfinite(losses).all()
    conditions = memory.facts["conditions"]
    assert conditions["path"] == f"{runtime}, 12 linear layers in {precision}"
    assert conditions["bitsandbytes"]


def test_bf16_products_train_too(tiny: Tiny, tmp_path: Path) -> None:
    memory = train(tiny("qlora-r12", ["quantization.compute_dtype=bf16", "train.epochs=1"]).spec, tmp_path / "run")
    assert np.isfinite([loss for _, _, loss in memory.loss_points]).all()


def test_stopped_anywhere_it_ends_as_one_that_was_not(tiny: Tiny, tmp_path: Path) -> None:
    spec = tiny("qdora-r12").spec
    execute(spec, whole := Kept(), tmp_path / "whole")
    assert stopped_anywhere(spec, tmp_path / "parts", "quantized").rows == whole.rows


@pytest.mark.parametrize(("preset", "runtime"), [("qlora-r12", "transformers"), ("qdora-r12", "peft")])
def test_exported_adapters_compute_the_same_on_the_same_quantized_encoder(
    preset: str, runtime: str, tiny: Tiny, tmp_path: Path
) -> None:
    source = trained_run(tiny(preset, [f"runtime={runtime}"]).spec, tmp_path / "run")
    done = export_peft(source, tmp_path / "out")
    assert max(row.logits_within for row in done) < 1e-5
    head = json.loads((tmp_path / "out" / "sst" / "head.json").read_text())
    assert head["quantization"] == {
        "precision": "nf4",
        "library": "bitsandbytes",
        "double_quant": True,
        "compute_dtype": "fp32",
    }


@pytest.mark.parametrize(("preset", "precision"), [("qlora-r12", "nf4"), ("qdora-r12", "nf4"), ("last-layer", "nf4")])
def test_a_merged_export_is_of_the_dense_weights(preset: str, precision: str, tiny: Tiny, tmp_path: Path) -> None:
    source = trained_run(tiny(preset, [f"precision={precision}", "runtime=transformers"]).spec, tmp_path / "run")
    done = export_merged(source, tmp_path / "out")
    assert max(row.logits_within for row in done) < 1e-5
    assert json.loads((tmp_path / "out" / "sst" / "head.json").read_text())["quantization"]["precision"] == precision


@pytest.mark.parametrize("export", [export_merged, export_transformers])
@pytest.mark.parametrize(
    ("override", "message"),
    [("precision=int8", "rounds the inputs of layers too"), ("runtime=peft", "PEFT quantizes merged weights again")],
)
def test_what_no_dense_weight_computes_is_not_merged(
    override: str, message: str, export: Callable[..., object], tiny: Tiny, tmp_path: Path
) -> None:
    source = trained_run(tiny("qlora-r12", [override]).spec, tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        export(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("full", ["precision=nf4", "runtime=transformers"], "method full changes or needs them"),
        ("lora-r12", ["precision=nf4"], "native runtime has no quantized products: use --set runtime=transformers"),
        ("pissa-r12", ["precision=int8"], "method pissa changes or needs them"),
        ("lora-r12", ["quantization.double_quant=false"], "no meaning with precision = 'fp32'"),
        ("qlora-r12", ["quantization.compute_dtype=fp16"], "quantization.compute_dtype"),
    ],
)
def test_what_cannot_be_meant_is_refused(preset: str, overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(preset, overrides=overrides)


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name == "bitsandbytes":
            raise ImportError("No module named 'bitsandbytes'")
        return real(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError, match="needs bitsandbytes") as caught:
        prepared(small_config(**WIDE), resolve("qlora-r12").spec)
    assert "peftbench[quant]" in str(caught.value.hint)


def test_the_hash_of_other_runs_stays_and_a_comparison_names_it() -> None:
    assert "quantization" not in resolve("lora-r12").spec.determinants()
    specs = [resolve("qlora-r12", overrides=more).spec for more in ([], ["quantization.double_quant=false"])]
    assert specs[0].hash() != specs[1].hash()
    groups = [group_of(name, [comparable_record(name)]) for name in ("lora-r12", "qlora-r12")]
    named = {each.key: each.values for each in settings(groups) if each.confounding}
    assert named["precision"] == ("fp32", "nf4")


def test_a_preset_may_say_how_it_is_quantized(tmp_path: Path) -> None:
    preset = tmp_path / "own.toml"
    preset.write_text(
        'runtime = "transformers"\nprecision = "nf4"\n[quantization]\ndouble_quant = false\n'
        '[method]\nname = "lora"\nrank = 4\n[train]\nlr = 1e-4\n'
    )
    assert resolve(str(preset)).spec.quantization.double_quant is False
