"""Encoders whose frozen weights alone torchao has in 8 bits: what is computed, counted, exported, and refused."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertModel

from peftbench.analysis.comparability import settings
from peftbench.analysis.groups import group_of
from peftbench.errors import MissingError, UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.interchange.transformers_format import export_transformers
from peftbench.jobs.execute import execute
from peftbench.kernels.quantized import dense, is_quantized, make_dense, plain, product, quantize
from peftbench.kernels.weight_only import WeightOnlyLinear, components
from peftbench.memory.parts import score
from peftbench.memory.predict import predict_for
from peftbench.memory.storages import SavedBytes, bytes_of
from peftbench.methods.adapted import AdaptedLinear
from peftbench.spec import Resolved, resolve
from tests.factories import comparable_record
from tests.interchange.random_weights import trained_run
from tests.memory.live import BATCHES, live_anatomy, prepared, small_config
from tests.recorders import Kept, stopped_anywhere, train

pytestmark = pytest.mark.usefixtures("no_prediction")

Tiny = Callable[..., Resolved]
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
BOTH = ("int8", "fp8")
STEPS = {"int8": 1 / 254, "fp8": 1 / 28}  # half of the coarsest step, of a row's largest absolute value
ZERO_POINTS = {"int8": 1, "fp8": 0}  # bytes a row: torchao keeps int8's, all 0


def by_torchao(precision: str, runtime: str = "transformers") -> list[str]:
    return [f"precision={precision}", "quantization.library=torchao", f"runtime={runtime}"]


def quantized(precision: str) -> tuple[nn.Module, nn.Module]:
    """Return a small encoder, and the same one quantized."""
    torch.manual_seed(0)
    first = BertModel(small_config(**WIDE)).eval()
    second = BertModel(small_config(**WIDE)).eval()
    second.load_state_dict(first.state_dict())
    done = quantize(second, precision, double_quant=True, compute_dtype=torch.float32, library="torchao")
    assert done == 18
    return first, second


def a_layer(precision: str) -> WeightOnlyLinear:
    layer = quantized(precision)[1].encoder.layer[1].output.dense  # type: ignore[union-attr]
    assert isinstance(layer, WeightOnlyLinear)
    nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize("precision", BOTH)
def test_rows_are_rounded_by_their_largest_weight_and_nothing_else_is(precision: str) -> None:
    first, second = quantized(precision)
    kinds = {name: is_quantized(module) for name, module in second.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, yes in kinds.items() if not yes} == {"pooler.dense"}
    make_dense(second)
    assert not any(map(is_quantized, second.modules()))
    for (name, weight), (same, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert name == same
        if ".layer." not in name or weight.ndim != 2:
            assert torch.equal(weight, other), name
            continue
        largest = weight.abs().amax(dim=1, keepdim=True)
        assert ((weight - other).abs() <= 1.01 * STEPS[precision] * largest).all(), name
        assert not torch.equal(weight, other), name


@pytest.mark.parametrize("precision", BOTH)
def test_a_weight_is_one_byte_and_a_row_has_its_scale(precision: str) -> None:
    layer = a_layer(precision)
    assert bytes_of(components(layer.weight)) == 64 * 128 + 64 * (4 + ZERO_POINTS[precision])


@pytest.mark.parametrize("precision", BOTH)
def test_outputs_and_gradients_are_those_of_the_dense_weight(precision: str) -> None:
    layer, x = a_layer(precision), torch.randn(3, 5, 128, requires_grad=True)
    ordinary = plain(layer)
    assert type(ordinary) is nn.Linear and torch.equal(ordinary.weight, dense(layer))
    gy = torch.randn(3, 5, 64)
    for ours, theirs in (
        (layer(x), ordinary(x)),
        (product(x, layer), F.linear(x, dense(layer))),
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(out, x, gy)[0] for out in (ours, theirs)]
        torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", BOTH)
def test_under_autocast_it_multiplies_in_bf16_as_an_ordinary_layer(precision: str) -> None:
    layer, x = a_layer(precision), torch.randn(5, 128, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = layer(x), plain(layer)(x)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0.02)
    gradients = [torch.autograd.grad(out.float().sum(), x)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("precision", BOTH)
def test_no_restored_weight_is_kept_for_the_backward_pass(precision: str) -> None:
    layer, x = a_layer(precision), torch.randn(5, 128, requires_grad=True)
    with SavedBytes([x]) as saved:
        y = layer(x)
    assert y.requires_grad and saved.total == 0


@pytest.mark.parametrize("precision", BOTH)
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "loraplus-r12"])
def test_an_adapter_computes_its_equation_of_the_dense_weight(preset: str, precision: str) -> None:
    spec = resolve(preset, overrides=["method.targets=all-linear", *by_torchao(precision)]).spec
    model = prepared(small_config(**WIDE), spec)
    layers = [module for module in model.modules() if isinstance(module, AdaptedLinear)]
    assert len(layers) == 18 and all(is_quantized(layer.base) for layer in layers)
    for layer in layers:
        nn.init.normal_(layer.active.B, std=0.1)
        x = torch.randn(3, layer.base.in_features)
        expected = x @ layer.active.weight(layer.base).t() + layer.base.bias
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("preset", "runtime"),
    [("last-layer", "transformers"), ("lora-r12", "transformers"), ("dora-r12", "transformers"), ("dora-r12", "peft")],
)
@pytest.mark.parametrize("precision", BOTH)
def test_memory_is_predicted_to_the_byte(preset: str, runtime: str, precision: str) -> None:
    overrides = [*by_torchao(precision, runtime), "train.cache_frozen_features=false"]
    spec = resolve(preset, "paper", overrides=overrides).spec
    live = live_anatomy(small_config(**WIDE), spec)
    errors = score(predict_for(small_config(**WIDE), spec, BATCHES, "cpu"), live)
    exact = ("weights", "trainable", "gradients", "optimizer", "activations")
    assert {name: errors[name] for name in exact} == dict.fromkeys(exact, 0.0)
    # what it saves: of 3 bytes a weight, the scales
    in_fp32 = live_anatomy(small_config(**WIDE), resolve(preset, "paper", overrides=[f"runtime={runtime}"]).spec)
    weights, rows = 3 * (4 * 64 * 64 + 2 * 64 * 128), 3 * (5 * 64 + 128)
    assert in_fp32.weights - live.weights == 3 * weights - rows * (4 + ZERO_POINTS[precision])


@pytest.mark.parametrize(
    ("preset", "runtime"),
    [
        *(("last-layer", "transformers"), ("lora-r12", "transformers"), ("dora-r12", "transformers")),
        *(("loraplus-r12", "transformers"), ("lora-r12", "peft"), ("dora-r12", "peft")),
        *(("rslora-r12", "peft"), ("ia3", "peft")),
    ],
)
@pytest.mark.parametrize("precision", BOTH)
def test_it_trains_in_both_runtimes(preset: str, runtime: str, precision: str, tiny: Tiny, tmp_path: Path) -> None:
    spec = tiny(preset, [*by_torchao(precision, runtime), "train.lr=0.01", "train.epochs=1"]).spec
    memory = train(spec, tmp_path / "run")
    assert np.isfinite([loss for _, _, loss in memory.loss_points]).all()
    conditions = memory.facts["conditions"]
    assert conditions["path"] == f"{runtime}, 12 linear layers in {precision} (torchao, weight-only)"
    assert conditions["torchao"] and "bitsandbytes" not in conditions


@pytest.mark.parametrize("precision", BOTH)
def test_bf16_products_train_too(precision: str, tiny: Tiny, tmp_path: Path) -> None:
    overrides = [*by_torchao(precision), "quantization.compute_dtype=bf16", "train.epochs=1"]
    memory = train(tiny("dora-r12", overrides).spec, tmp_path / "run")
    assert np.isfinite([loss for _, _, loss in memory.loss_points]).all()


@pytest.mark.parametrize(("preset", "precision"), [("dora-r12", "int8"), ("lora-r12", "fp8")])
def test_stopped_anywhere_it_ends_as_one_that_was_not(preset: str, precision: str, tiny: Tiny, tmp_path: Path) -> None:
    spec = tiny(preset, by_torchao(precision)).spec
    execute(spec, whole := Kept(), tmp_path / "whole")
    assert stopped_anywhere(spec, tmp_path / "parts", "weight-only").rows == whole.rows


@pytest.mark.parametrize(
    ("preset", "runtime"),
    [("lora-r12", "transformers"), ("dora-r12", "transformers"), ("dora-r12", "peft"), ("ia3", "peft")],
)
@pytest.mark.parametrize("precision", BOTH)
def test_exported_adapters_compute_the_same_on_the_same_quantized_encoder(
    preset: str, runtime: str, precision: str, tiny: Tiny, tmp_path: Path
) -> None:
    source = trained_run(tiny(preset, by_torchao(precision, runtime)).spec, tmp_path / "run")
    done = export_peft(source, tmp_path / "out")
    assert max(row.logits_within for row in done) < 1e-5
    head = json.loads((tmp_path / "out" / "sst" / "head.json").read_text())
    assert head["quantization"] == {"precision": precision, "library": "torchao", "compute_dtype": "fp32"}


@pytest.mark.parametrize("precision", BOTH)
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "last-layer"])
def test_both_are_merged_into_the_weights_that_they_stand_for(
    preset: str, precision: str, tiny: Tiny, tmp_path: Path
) -> None:
    source = trained_run(tiny(preset, by_torchao(precision)).spec, tmp_path / "run")
    done = export_merged(source, tmp_path / "out")
    assert max(row.logits_within for row in done) < 1e-5
    head = json.loads((tmp_path / "out" / "sst" / "head.json").read_text())
    assert (head["quantization"]["precision"], head["quantization"]["library"]) == (precision, "torchao")


@pytest.mark.parametrize("export", [export_merged, export_transformers])
def test_pefts_own_merge_would_quantize_again(export: Callable[..., object], tiny: Tiny, tmp_path: Path) -> None:
    source = trained_run(tiny("lora-r12", by_torchao("int8", "peft")).spec, tmp_path / "run")
    with pytest.raises(UsageError, match="PEFT quantizes merged weights again"):
        export(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("lora-r12", by_torchao("nf4"), "'torchao', which is for int8 and fp8: .*quantization.library=bitsandbytes"),
        ("lora-r12", ["precision=fp8", "runtime=transformers"], "for nf4 and int8: .*quantization.library=torchao"),
        ("lora-r12", ["quantization.library=torchao"], "no meaning with precision = 'fp32': use nf4, int8 or fp8"),
        ("lora-r12", [*by_torchao("int8"), "quantization.double_quant=false"], "double_quant is of nf4"),
        ("lora-r12", by_torchao("fp8", "native"), "no quantized products: use --set runtime=transformers"),
        ("full", by_torchao("fp8"), "method full changes or needs them"),
        ("lora-r12", [*by_torchao("int8"), "quantization.library=ao"], "quantization.library"),
    ],
)
def test_what_cannot_be_meant_is_refused(preset: str, overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(preset, overrides=overrides)


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name == "torchao":
            raise ImportError("No module named 'torchao'")
        return real(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError, match="needs torchao") as caught:
        prepared(small_config(**WIDE), resolve("lora-r12", overrides=by_torchao("int8")).spec)
    assert "peftbench[quant]" in str(caught.value.hint)


def test_an_older_torchao_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftbench.kernels.weight_only.version", lambda _: "0.17.0+cpu")
    with pytest.raises(MissingError, match=r"torchao 0.18 or newer, which cannot be used: 0.17.0\+cpu is installed"):
        quantized("int8")


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("quantize_", "precision = 'fp8': torchao cannot quantize to it: no kernel"),
        ("Float8Tensor.dequantize", "precision = 'fp8': weights cannot be restored on the device 'cpu': no kernel"),
    ],
)
def test_where_fp8_cannot_be_computed_the_reason_is_given(
    at: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotImplementedError("no kernel")

    monkeypatch.setattr(f"torchao.quantization.{at}", fail)
    with pytest.raises(UsageError, match=message) as caught:
        prepared(small_config(**WIDE), resolve("lora-r12", overrides=by_torchao("fp8")).spec)
    assert "precision=int8" in str(caught.value.hint)


def test_it_leaves_how_torch_multiplies_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", changes.append)
    quantized("int8")
    quantized("fp8")
    assert changes == []


def test_the_hash_of_other_runs_stays_and_a_comparison_names_the_library() -> None:
    theirs, ours = ["precision=int8", "runtime=transformers"], by_torchao("int8")
    specs = [resolve("lora-r12", overrides=overrides).spec for overrides in (theirs, ours)]
    assert "quantization" not in specs[0].determinants() and specs[0].hash() != specs[1].hash()
    groups = [
        group_of(name, [comparable_record("lora-r12", tuple(overrides), conditions={name: "1"})])
        for name, overrides in (("bitsandbytes", theirs), ("torchao", ours))
    ]
    confounding = {each.key: each.values for each in settings(groups) if each.confounding}
    assert confounding == {"quantization.library": ("bitsandbytes", "torchao")}


@pytest.mark.slow
def test_importing_the_libraries_logs_nothing() -> None:
    program = "from peftbench.library_logs import quieten; quieten(); import torchao, bitsandbytes"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
