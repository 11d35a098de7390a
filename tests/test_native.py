"""The native runtime compared with transformers' forward and HF PEFT: same weights, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.data.batches import Batcher
from peftbench.data.encode import EncodedSplit
from peftbench.encoder import find_encoder, load_encoder
from peftbench.errors import UsageError
from peftbench.methods.adapted import Adapter
from peftbench.methods.delta_lora import DeltaLoraAdapter
from peftbench.methods.dora import DoraAdapter
from peftbench.methods.lora import LoraAdapter
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved, resolve
from tests.marks import soaked_but
from tests.models import CPU, PACKED, PADDED, TOLERANCE, gradients, named, texts
from tests.models import model_with_adapters as build
from tests.tiny import TASKS, tiny_overrides

METHODS = ("last-layer", "full", "lora-r12", "dora-r12")


def agree(one: MultitaskModel, other: MultitaskModel, split: EncodedSplit, rows: list[int]) -> None:
    logits, grads = gradients(one, PACKED(split, rows))
    their_logits, their_grads = gradients(other, PADDED(split, rows))
    torch.testing.assert_close(logits, their_logits, atol=TOLERANCE, rtol=TOLERANCE)
    assert grads.keys() == their_grads.keys()
    for name in grads:
        torch.testing.assert_close(grads[name], their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
@pytest.mark.parametrize("preset", METHODS)
def test_logits_and_gradients_are_those_of_transformers(
    preset: str, pooling: str, tiny: Callable[..., Resolved]
) -> None:
    resolved = tiny(preset, [f"encoder.pooling={pooling}", "encoder.dropout=0", "head.dropout=0"])
    ours, theirs = build(resolved, "native"), build(resolved, "transformers")
    assert ours.path.startswith("native")
    for training in (False, True):
        ours.train(training), theirs.train(training)
        for task in TASKS:
            ours.switch_mode(task), theirs.switch_mode(task)
            agree(ours, theirs, texts([5, 17, 5, 1, 30, 9, 9]), [3, 1, 4, 0, 6, 5, 2])


@pytest.fixture(scope="module")
def runtimes(tiny_encoder: Path) -> dict[tuple[str, str], MultitaskModel]:
    """A model of each method in each runtime, without dropout."""
    models = {}
    for preset in ("lora-r12", "dora-r12", "full"):
        resolved = resolve(preset, overrides=[*tiny_overrides(tiny_encoder), "encoder.dropout=0", "head.dropout=0"])
        for runtime in ("native", "transformers", "peft"):
            if (preset, runtime) != ("full", "peft"):
                models[preset, runtime] = build(resolved, runtime)
    return models


class TestRaggedBatches:
    """For any lengths, order, task and mode."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(
        lengths=st.lists(st.integers(1, 60), min_size=1, max_size=9),
        pair=st.sampled_from(
            [("lora-r12", "peft"), ("dora-r12", "peft"), ("lora-r12", "transformers"), ("full", "transformers")]
        ),
        task=st.sampled_from(TASKS),
        training=st.booleans(),
    )
    def test_logits_and_gradients_agree(self, runtimes, lengths, pair, task: str, training: bool) -> None:
        preset, runtime = pair
        models = (runtimes[preset, "native"], runtimes[preset, runtime])
        for model in models:
            model.train(training)
            model.switch_mode(task)
        agree(*models, texts(lengths, seed=len(lengths)), list(range(len(lengths))))


@pytest.mark.slow
@pytest.mark.parametrize("preset", soaked_but(["dora-r12"], ["lora-r12", "dora-r12"]))
def test_after_100_steps_the_weights_are_those_of_peft(preset: str, tiny: Callable[..., Resolved]) -> None:
    resolved = tiny(preset, ["encoder.dropout=0", "head.dropout=0"])
    split = texts(np.random.default_rng(0).integers(3, 40, 64).tolist())
    found = []
    for runtime in ("native", "peft"):
        model = build(resolved, runtime)
        model.train()
        optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-3, eps=1e-6, weight_decay=0.0)
        batcher, rng = model.batcher(0), np.random.default_rng(1)
        for step in range(100):
            model.switch_mode(TASKS[step % 3])
            rows = rng.permutation(64)[:6]
            target = torch.from_numpy(split.labels[rows]).float().unsqueeze(1)
            optimizer.zero_grad()
            (model(batcher(split, rows)) - target).square().mean().backward()
            optimizer.step()
        found.append(named(model))
    mine, theirs = found
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("lora-r12", ['method.targets=["value", "output.dense", "intermediate.dense"]']),
        ("dora-r12", ['method.targets=["value", "output.dense"]']),
        ("dora-r12", ["method.norm_axis=input"]),
        ("bitfit", []),
        ("bitfit", ["encoder.pooling=pooler"]),
        ("houlsby-m48", []),
        ("houlsby-m48", ["method.train_norms=false", "encoder.pooling=cls"]),
        ("lora-r12-all", []),
        ("dora-r12-all", []),
        ("lora-r12", ["method.alpha=3"]),
        ("dora-r12", ["method.alpha=30", "method.norm_axis=input"]),
    ],
)
def test_other_targets_scales_and_the_literal_norm(preset: str, overrides, tiny: Callable[..., Resolved]) -> None:
    resolved = tiny(preset, [*overrides, "encoder.dropout=0", "head.dropout=0"])
    agree(build(resolved, "native"), build(resolved, "transformers"), texts([4, 8, 8]), [0, 1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], ["method.norm_axis=input"]])
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12"])
def test_the_adapters_own_dropout_is_that_of_the_plain_path(preset: str, overrides, tiny) -> None:
    """Drawn by the same function from the same seed, in batches where padding needs no draws."""
    if preset == "lora-r12" and overrides:
        return
    resolved = tiny(preset, [*overrides, "method.dropout=0.3", "encoder.dropout=0", "head.dropout=0"])
    found = []
    for runtime in ("native", "transformers"):
        model = build(resolved, runtime).train()
        torch.manual_seed(4)
        found.append(gradients(model, model.batcher(0)(texts([9]), [0])))
    torch.testing.assert_close(found[0][0], found[1][0], atol=TOLERANCE, rtol=TOLERANCE)
    for name, grad in found[0][1].items():
        torch.testing.assert_close(grad, found[1][1][name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


def test_an_adapter_that_claims_a_fast_path_without_one_is_refused() -> None:
    with pytest.raises(TypeError, match="Claims has is_fast = True without `fast` and `apply_inplace_`"):

        class Claims(Adapter):
            is_fast = True

            def forward(self, x: torch.Tensor, base: torch.nn.Linear) -> torch.Tensor:
                return base(x)

    class Plain(Adapter):
        def forward(self, x: torch.Tensor, base: torch.nn.Linear) -> torch.Tensor:
            return base(x)

    with pytest.raises(TypeError, match="weight"):
        Plain(torch.nn.Linear(2, 2), None, torch.Generator())


def test_an_adapter_that_gives_only_its_plain_forward_is_called_as_it_is(tiny: Callable[..., Resolved]) -> None:
    """A plug-in's subclass must not inherit a fast implementation of a different computation."""

    class Doubled(LoraAdapter):
        def forward(self, x: torch.Tensor, base: torch.nn.Linear) -> torch.Tensor:
            return 2 * super().forward(x, base)

    assert LoraAdapter.is_fast
    assert DoraAdapter.is_fast
    assert DeltaLoraAdapter.is_fast
    assert not Doubled.is_fast
    resolved = tiny("lora-r12", ["encoder.dropout=0", "head.dropout=0"])
    models = []
    for runtime in ("native", "transformers"):
        spec = resolved.spec.model_copy(update={"runtime": runtime})
        model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)
        for module in model.modules():
            if isinstance(module, LoraAdapter):
                module.__class__ = Doubled
        models.append(model.prepare(CPU).eval())
    assert "6 adapted layers as they are" in models[0].path
    agree(*models, texts([4, 8, 8]), [0, 1, 2])


def test_a_dora_magnitude_near_zero_has_its_exact_gradient(tiny: Callable[..., Resolved]) -> None:
    resolved = tiny("dora-r12", ["encoder.dropout=0", "head.dropout=0"])
    ours, theirs = build(resolved, "native"), build(resolved, "transformers")
    for model in (ours, theirs):
        for name, weight in model.trainable().items():
            if name.endswith(".m"):
                weight.data[3], weight.data[4] = 0.0, -1e-9
    agree(ours, theirs, texts([4, 8, 8]), [0, 1, 2])


def test_roberta_counts_its_positions_from_behind_the_padding(tmp_path: Path, tiny: Callable[..., Resolved]) -> None:
    from transformers import RobertaConfig, RobertaModel

    resolved = tiny("lora-r12", ["encoder.dropout=0", "head.dropout=0", "encoder.token_types=false"])
    config = RobertaConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
        pad_token_id=1,
    )
    models = {}
    for runtime in ("native", "transformers"):
        torch.manual_seed(0)
        spec = resolved.spec.model_copy(update={"runtime": runtime})
        models[runtime] = MultitaskModel(RobertaModel(config), spec).prepare(CPU)
    assert models["native"].path.startswith("native")
    split = texts([4, 8, 8, 2], types=False)
    with torch.no_grad():
        ours = models["native"](PACKED(split, [0, 1, 2, 3]))
        theirs = models["transformers"](Batcher(False, 1, CPU)(split, [0, 1, 2, 3]))
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_an_encoder_of_another_shape_falls_back_and_says_so(tiny: Callable[..., Resolved]) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    spec = tiny("lora-r12", ["encoder.token_types=false"]).spec
    encoder = DistilBertModel(DistilBertConfig(dim=32, n_heads=2, n_layers=1, hidden_dim=48))
    model = MultitaskModel(encoder, spec).prepare(CPU)
    assert model.path.startswith("transformers, not native: DistilBertModel")
    assert model.batcher(0).packed is False
    assert model(model.batcher(0)(texts([3, 4], types=False), [0, 1])).shape == (2, 5)


def test_frozen_weights_are_released_and_come_back_whole(tiny: Callable[..., Resolved]) -> None:
    resolved = tiny("lora-r12")
    model = build(resolved, "native")
    before = load_encoder(resolved.spec.encoder, find_encoder(resolved.spec.encoder)).state_dict()
    assert model.native is not None
    assert sum(w.numel() for w in model.parameters()) == sum(
        w.numel() for w in build(resolved, "transformers").parameters()
    )
    model.native.restore()
    after = {name.replace(".base.", "."): value for name, value in model.encoder.state_dict().items()}
    for name, value in before.items():
        assert torch.equal(after[name], value), name


class TestDropout:
    """Correct in distribution, and seeded."""

    def mean_logits(self, model: MultitaskModel, batch: object, times: int) -> tuple[torch.Tensor, torch.Tensor]:
        model.train()
        with torch.no_grad():
            each = torch.stack([model.pooled(batch.texts[0]) for _ in range(times)])
        return each.mean(dim=0), each.std(dim=0)

    @pytest.mark.slow
    def test_hidden_states_have_the_mean_and_spread_of_transformers_dropout(self, tiny) -> None:
        resolved = tiny("lora-r12", ["encoder.dropout=0.3", "encoder.pooling=cls"])
        split = texts([6, 9, 6])
        found = {}
        for runtime, batcher in (("native", PACKED), ("transformers", PADDED)):
            model = build(resolved, runtime)
            torch.manual_seed(5)
            found[runtime] = self.mean_logits(model, batcher(split, [0, 1, 2]), 600)
        mean, spread = found["native"]
        their_mean, their_spread = found["transformers"]
        error = (their_spread**2 / 300).sqrt()  # standard error of a difference of two means of 600
        assert ((mean - their_mean).abs() / error).mean() < 1.1  # 0.8 is expected for a normal distribution
        assert abs(float(spread.mean() / their_spread.mean()) - 1) < 0.04

    def test_the_seed_decides_the_masks(self, tiny) -> None:
        model = build(tiny("dora-r12", ["encoder.dropout=0.2"]), "native")
        model.train()
        batch = PACKED(texts([6, 9, 6]), [0, 1, 2])
        outputs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            outputs.append(gradients(model, batch))
        assert torch.equal(outputs[0][0], outputs[1][0])
        assert all(torch.equal(outputs[0][1][name], outputs[1][1][name]) for name in outputs[0][1])
        assert not torch.equal(outputs[0][0], outputs[2][0])

    @pytest.mark.parametrize("preset", ["lora-r12", "full"])  # not DoRA: its norm is constant only in backward
    def test_gradients_are_those_of_the_function_with_the_same_masks(self, preset: str, tiny) -> None:
        """Compared with a central difference in float32 along one direction: coarse, but independent of ours."""
        model = build(tiny(preset, ["encoder.dropout=0.2", "head.dropout=0"]), "native")
        model.train()
        batch = PACKED(texts([6, 9, 6, 12]), [0, 1, 2, 3])
        torch.manual_seed(3)
        _, grads = gradients(model, batch)
        rng = torch.Generator().manual_seed(0)
        direction = {name: torch.randn(grad.shape, generator=rng) for name, grad in grads.items()}
        slope = sum(float((direction[name].double() * grad.double()).sum()) for name, grad in grads.items())
        values, step = [], 1e-3
        for sign in (1, -1):
            with torch.no_grad():
                for name, weight in model.trainable().items():
                    if name in direction:
                        weight.add_(direction[name], alpha=sign * step)
                torch.manual_seed(3)
                logits = model(batch)
                values.append(float((logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum()))
                for name, weight in model.trainable().items():
                    if name in direction:
                        weight.sub_(direction[name], alpha=sign * step)
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=0.03, abs=0.02)


class TestNothingIsDoneForNothing:
    def test_no_graph_below_the_first_trained_layer(self, tiny) -> None:
        model = build(tiny("lora-r12", ['method.targets=["1.attention.self.query"]']), "native")
        model.train()
        text = PACKED(texts([6, 9, 6]), [0, 1, 2]).texts[0]
        native = model.native
        below = native.run(native.embed(text, True), 0, 1, text, True)
        assert not below.requires_grad
        assert native.run(below, 1, 2, text, True).requires_grad

    def test_nothing_is_saved_for_padding(self, tiny) -> None:
        """Saved activations scale with the tokens, not with the longest text."""

        def saved(lengths: list[int]) -> int:
            sizes = {}
            model = build(tiny("lora-r12", ["encoder.dropout=0"]), "native")
            model.train()
            batch = PACKED(texts(lengths), list(range(len(lengths))))

            def keep(tensor: torch.Tensor) -> torch.Tensor:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor.detach()  # a graph that references itself would never be freed

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                model(batch)
            return sum(sizes.values())

        assert saved([60, 4, 4, 4]) < 1.1 * saved([18, 18, 18, 18])


class TestPrecision:
    @pytest.mark.parametrize("runtime", ["native", "transformers"])
    @pytest.mark.parametrize(
        ("preset", "precision"),
        [
            ("lora-r12", "bf16"),
            ("dora-r12", "bf16"),
            ("last-layer", "bf16"),
            ("full", "autocast"),
            ("dora-r12", "autocast"),
        ],
    )
    def test_half_precision_is_near_fp32_and_not_the_same(self, preset, precision, runtime, tiny) -> None:
        resolved = tiny(preset, ["encoder.dropout=0", "head.dropout=0"])
        exact, half = build(resolved, runtime), build(resolved, runtime, precision=precision)
        split, rows = texts([5, 17, 5, 30]), [0, 1, 2, 3]
        batches = [model.batcher(0)(split, rows) for model in (exact, half)]
        logits, grads = gradients(exact, batches[0])
        half_logits, half_grads = gradients(half, batches[1])
        assert half_logits.dtype == torch.float32
        assert not torch.equal(logits, half_logits)
        torch.testing.assert_close(half_logits, logits, atol=0.03, rtol=0.03)
        for name in grads:
            assert half_grads[name].dtype == torch.float32
            assert (half_grads[name] - grads[name]).abs().max() <= 0.08 * grads[name].abs().max() + 1e-3, name

    def test_bf16_without_a_frozen_weight_is_refused(self, tiny) -> None:
        with pytest.raises(UsageError, match="and this method has none"):
            build(tiny("full"), "native", precision="bf16")
