"""Bottleneck adapters and BitFit against their papers' equations; where they can be, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from peftbench.encoder import find_encoder, load_encoder
from peftbench.errors import UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.memory.predict import predict_for
from peftbench.methods.base import Method
from peftbench.methods.options import HoulsbyOptions, PfeifferOptions
from peftbench.methods.registry import method_info
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved, resolve
from tests.encoder.families import save_family
from tests.interchange.random_weights import trained_run
from tests.memory.live import BATCHES, small_config
from tests.memory.live import live_anatomy as live
from tests.models import PACKED, TOLERANCE, texts
from tests.models import model_with_adapters as build

HIDDEN, INNER, WIDTH = 32, 48, 6
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}
PRESETS = ("bitfit", "houlsby-m48", "pfeiffer-m48")


def plain_encoder(layers: int = 1) -> BertModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "num_attention_heads": 2, "intermediate_size": INNER, "vocab_size": 99}
    return BertModel(BertConfig(num_hidden_layers=layers, **sizes), add_pooling_layer=False).eval()


def attached(name: str, encoder: nn.Module, **given: object) -> Method:
    """Attach a method, for two tasks, with weights that are not those it starts with."""
    info = method_info(name)
    method = info.load("transformers")(info.options.model_validate({"name": name, **given}))
    method.attach(encoder, ("a", "b"), seed=0)
    for weight in encoder.parameters():
        if weight.requires_grad:
            weight.data.add_(0.2 * torch.randn(weight.shape))
    method.switch_mode("a")
    return method


def bottleneck(adapter: nn.Module, h: Tensor, activation: str) -> Tensor:
    return ACTIVATIONS[activation](h @ adapter.D.T + adapter.d) @ adapter.U.T + adapter.u


def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return weight * centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() + bias


def own_norm(module: nn.Module, task: str) -> Callable[[Tensor], Tensor]:
    copies = module.adapters[task]
    return lambda x: norm(x, copies.weight, copies.bias, module.eps)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_houlsby_adapts_both_sublayers_before_the_residual(activation: str) -> None:
    encoder = plain_encoder()
    attached("houlsby", encoder, bottleneck=WIDTH, activation=activation)
    layer, x = encoder.encoder.layer[0], torch.randn(2, 5, HIDDEN)
    attended = layer.attention.self(x)[0]
    projection, down = layer.attention.output.dense, layer.output.dense
    o = attended @ projection.base.weight.T + projection.base.bias
    middle = own_norm(layer.attention.output.LayerNorm, "a")(
        o + bottleneck(projection.adapters["a"], o, activation) + x
    )
    o = layer.intermediate(middle) @ down.base.weight.T + down.base.bias
    y = own_norm(layer.output.LayerNorm, "a")(o + bottleneck(down.adapters["a"], o, activation) + middle)
    out = layer(x)
    torch.testing.assert_close(out[0] if isinstance(out, tuple) else out, y, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pfeiffer_adapts_the_feed_forward_parts_norm_with_the_sum_as_residual(activation: str) -> None:
    encoder = plain_encoder()
    attached("pfeiffer", encoder, bottleneck=WIDTH, activation=activation)
    layer, x = encoder.encoder.layer[0], torch.randn(2, 5, HIDDEN)
    middle = layer.attention(x)[0]
    s = layer.intermediate(middle) @ layer.output.dense.weight.T + layer.output.dense.bias + middle
    base = layer.output.LayerNorm.base
    h = norm(s, base.weight, base.bias, base.eps)
    y = norm(bottleneck(layer.output.LayerNorm.adapters["a"], h, activation) + s, base.weight, base.bias, base.eps)
    out = layer(x)
    torch.testing.assert_close(out[0] if isinstance(out, tuple) else out, y, atol=TOLERANCE, rtol=TOLERANCE)


def test_bitfit_replaces_every_bias_and_nothing_else() -> None:
    encoder, reference = plain_encoder(2), plain_encoder(2)
    method = attached("bitfit", encoder)
    for task in ("a", "b", "a"):
        method.switch_mode(task)
        for name, weight in reference.named_parameters():
            if name.endswith("bias"):
                module, _, last = name.rpartition(".")
                weight.data.copy_(encoder.get_parameter(f"{module}.adapters.{task}.{last}"))
        ids = torch.randint(0, 99, (3, 7))
        torch.testing.assert_close(encoder(ids)[0], reference(ids)[0], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "given", "count"),
    [
        ("bitfit", {}, 2 * (7 * HIDDEN + INNER) + HIDDEN),
        ("houlsby", {"bottleneck": WIDTH}, 4 * (2 * WIDTH * HIDDEN + WIDTH + HIDDEN) + 5 * 2 * HIDDEN),
        ("houlsby", {"bottleneck": WIDTH, "train_norms": False}, 4 * (2 * WIDTH * HIDDEN + WIDTH + HIDDEN)),
        ("houlsby", {"layers": "1", "bottleneck": 1}, 2 * (3 * HIDDEN + 1) + 2 * 2 * HIDDEN),
        ("pfeiffer", {"bottleneck": WIDTH}, 2 * (2 * WIDTH * HIDDEN + WIDTH + HIDDEN)),
        ("pfeiffer", {}, 2 * (2 * 2 * HIDDEN + 2 + HIDDEN)),
        ("pfeiffer", {"reduction_factor": 4, "layers": "0"}, 2 * 8 * HIDDEN + 8 + HIDDEN),
        ("pfeiffer", {"reduction_factor": 999}, 2 * (2 * HIDDEN + 1 + HIDDEN)),
    ],
)
def test_weights_of_a_task_are_the_formulas(name: str, given: dict[str, object], count: int) -> None:
    encoder = plain_encoder(2)
    method = attached(name, encoder, **given)
    for task in ("a", "b"):
        own = [w for each, w in encoder.named_parameters() if method.mark(task) in f".{each}." and w.requires_grad]
        assert sum(weight.numel() for weight in own) == count
    assert sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad) == 2 * count


def test_d_and_u_start_as_a_normal_distribution_truncated_at_two_deviations() -> None:
    encoder = BertModel(BertConfig(num_hidden_layers=1, vocab_size=9), add_pooling_layer=False)
    options = HoulsbyOptions(name="houlsby", bottleneck=64, init_std=0.05)
    method_info("houlsby").load()(options).attach(encoder, ("a",), seed=0)
    adapter = encoder.encoder.layer[0].output.dense.adapters["a"]
    for weight in (adapter.D, adapter.U):
        assert weight.abs().max() <= 0.1
        assert float(weight.std()) == pytest.approx(0.05 * 0.88, rel=0.02)  # of the truncated distribution
    assert not adapter.d.any() and not adapter.u.any()


def test_the_width_is_given_in_one_way() -> None:
    assert [PfeifferOptions(name="pfeiffer", **given).width(768) for given in ({}, {"bottleneck": 5})] == [48, 5]
    with pytest.raises(ValidationError, match="choose one"):
        PfeifferOptions(name="pfeiffer", bottleneck=5, reduction_factor=2)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_merge_is_the_same_function_or_refused(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny(preset).spec
    source = trained_run(spec.model_copy(update={"tasks": spec.tasks[:2]}), tmp_path / "run")
    with pytest.raises(UsageError, match="HF PEFT has no such adapters") as caught:
        export_peft(source, tmp_path / "peft")
    if preset == "bitfit":
        assert "--format merged" in (caught.value.hint or "")
        assert max(row.logits_within for row in export_merged(source, tmp_path / "merged")) < TOLERANCE
        return
    assert "--format bundle" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="cannot be merged: bottleneck adapters are not linear"):
        export_merged(source, tmp_path / "merged")
    with pytest.raises(UsageError, match="not linear"):
        build(tiny(preset), spec.runtime).merge("sst")


def test_pfeiffer_is_not_native_and_says_why(tiny: Callable[..., Resolved]) -> None:
    with pytest.raises(UsageError, match=r"'native' \(its adapter takes the place of a norm.*runtime=transformers"):
        tiny("pfeiffer-m48", ["runtime=native"])


def test_a_mixed_batch_needs_adapters_on_linear_layers_only(tiny: Callable[..., Resolved]) -> None:
    for preset, overrides in (("bitfit", []), ("houlsby-m48", []), ("houlsby-m48", ["method.train_norms=false"])):
        model, split = build(tiny(preset, overrides), "native").eval(), texts([4, 9])
        rows = {"sst": (split, [0, 1]), "sts": (split, [1])}
        if not overrides:
            with pytest.raises(UsageError, match=r"no mixed-task batches: each task has its own embeddings\.LayerNorm"):
                model.forward_multitask(rows)
            continue
        together = model.forward_multitask(rows)
        model.switch_mode("sst")
        with torch.no_grad():
            torch.testing.assert_close(together["sst"], model(PACKED(split, [0, 1])), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("preset", "name", "message"),
    [
        ("bitfit", "modernbert", "ModernBertModel has no bias terms"),
        ("houlsby-m48", "fnet", "attention of FNetModel does not end in a linear layer"),
        ("pfeiffer-m48", "t5", "do not end in a norm of output and residual"),
        ("pfeiffer-m48", "squeezebert", "no known feed-forward part to adapt: its projections are grouped"),
    ],
)
def test_an_encoder_without_such_layers_is_refused(preset: str, name: str, message: str, tmp_path: Path) -> None:
    folder = save_family(name, tmp_path / name)
    overrides = [f"encoder.name={folder}", "encoder.max_length=64", "encoder.pooling=mean"]
    spec = resolve(preset, overrides=overrides).spec
    with pytest.raises(UsageError, match=message):
        MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_memory_is_predicted(preset: str) -> None:
    config, spec = small_config(0.1), resolve(preset, "paper").spec
    predicted, real = predict_for(config, spec, BATCHES, "cpu"), live(config, spec)
    for part in ("weights", "trainable", "gradients", "optimizer", "activations"):
        assert getattr(predicted, part) == pytest.approx(getattr(real, part), rel=0.02), part
