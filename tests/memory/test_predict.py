"""Predictions compared with calculations and with real training steps on the CPU."""

from __future__ import annotations

import sys

import pytest
import torch
from transformers import BertConfig

from peftbench.data.batches import Batch
from peftbench.errors import PeftbenchError, UsageError
from peftbench.memory.measure import activation_bytes
from peftbench.memory.parts import Anatomy, BatchShape, score
from peftbench.memory.predict import predict_for
from peftbench.spec import resolve
from peftbench.spec.model import RunSpec
from tests.marks import soaked_but
from tests.memory.live import BATCHES, live_anatomy, prepared, small_config, small_deberta, texts

WITHIN = 0.02
COLUMNS = [
    ("last-layer-dropout", "native"),
    ("lora-r12", "native"),
    ("lora-r12", "transformers"),
    ("lora-r12", "peft"),
    ("dora-r12", "native"),
    ("dora-r12", "transformers"),
    ("full", "native"),
    ("full", "transformers"),
]


def spec_of(preset: str, *overrides: str) -> RunSpec:
    return resolve(preset, "paper", overrides=overrides).spec


def agree(predicted: Anatomy, live: Anatomy) -> None:
    """Compare all parts except the workspace, which is compared through the total."""
    wrong = {name: error for name, error in score(predicted, live).items() if error is None or abs(error) > WITHIN}
    wrong.pop("workspace", None)
    assert not wrong, f"{wrong}\n{predicted}\n{live}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "runtime", "dropout"),
    soaked_but(
        [(*column, 0.1) for column in COLUMNS if column != ("lora-r12", "transformers")],
        [(*column, 0.1) for column in COLUMNS],
    )
    + soaked_but([("lora-r12", "native", 0.0), ("full", "transformers", 0.0)], [(*column, 0.0) for column in COLUMNS]),
)
def test_the_prediction_is_what_a_real_run_on_the_cpu_keeps(preset: str, runtime: str, dropout: float) -> None:
    config, spec = small_config(dropout), spec_of(preset, f"runtime={runtime}", "train.cache_frozen_features=false")
    agree(predict_for(config, spec, BATCHES, "cpu"), live_anatomy(config, spec))


@pytest.mark.slow
@pytest.mark.parametrize("column", [("lora-r12", "native"), ("lora-r12", "transformers"), ("last-layer", "native")])
def test_also_of_texts_in_windows(column: tuple[str, str]) -> None:
    preset, runtime = column
    overrides = ("encoder.pair_encoding=separate", "encoder.max_length=64", "encoder.stride=16")
    cached = "train.cache_frozen_features=false"
    config, spec = small_config(), spec_of(preset, f"runtime={runtime}", cached, *overrides)
    batches = {
        "sst": BatchShape(((150, 64, 9, 70),), window=64),
        "sts": BatchShape(((300, 12), (5, 129)), window=64),
    }
    agree(predict_for(config, spec, batches, "cpu"), live_anatomy(config, spec, batches))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "runtime", "dropout"),
    soaked_but(
        [("lora-r12", "native", 0.1), ("full", "native", 0.0), ("dora-r12", "transformers", 0.1)],
        [(*column, dropout) for column in COLUMNS for dropout in (0.0, 0.1)],
    ),
)
def test_attention_by_distances_too(preset: str, runtime: str, dropout: float) -> None:
    """With texts within the distances that have an embedding of their own, and beyond."""
    given = [f"runtime={runtime}", "train.cache_frozen_features=false", "encoder.pooling=mean"]
    config, spec = small_deberta(dropout), spec_of(preset, *given)
    agree(predict_for(config, spec, BATCHES, "cpu"), live_anatomy(config, spec))


@pytest.mark.slow
def test_on_a_gpu_attention_by_distances_is_padded() -> None:
    config, spec = small_deberta(), spec_of("lora-r12", "encoder.pooling=mean")
    shape = {"sst": BatchShape(((30, 3, 3, 3),))}
    on_gpu, on_cpu = (predict_for(config, spec, shape, device).activations for device in ("cuda", "cpu"))
    padded = 3 * 3 * 4 * 30 * 48 * 4  # of each layer the query, key and value of four texts of 30 tokens, in bytes
    assert on_gpu - on_cpu == pytest.approx(padded, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", soaked_but(["delta-lora-r12", "oft-b32"], ["delta-lora-r12", "ia3", "oft-b32", "loha-r8", "ln-tuning"])
)
def test_other_methods_too(preset: str) -> None:
    config, spec = small_config(hidden_size=64, num_attention_heads=4, intermediate_size=128), spec_of(preset)
    agree(predict_for(config, spec, BATCHES, "cpu"), live_anatomy(config, spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "precision"),
    soaked_but(
        [("native", "bf16"), ("transformers", "autocast")],
        [(runtime, precision) for runtime in ("native", "transformers") for precision in ("bf16", "autocast")],
    ),
)
def test_half_precision_too(runtime: str, precision: str) -> None:
    config, spec = small_config(0.1), spec_of("lora-r12", f"runtime={runtime}", f"precision={precision}")
    agree(predict_for(config, spec, BATCHES, "cpu"), live_anatomy(config, spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "runtime"),
    soaked_but(
        [("full", "native")],
        [("full", "native"), ("full", "transformers"), ("lora-r12", "native"), ("dora-r12", "transformers")],
    ),
)
def test_layers_computed_anew_in_backward_keep_less_as_predicted(preset: str, runtime: str) -> None:
    config = small_config(0.1, num_hidden_layers=6)
    usual, anew = (
        spec_of(preset, f"runtime={runtime}", f"train.gradient_checkpointing={on}", "train.cache_frozen_features=false")
        for on in ("false", "true")
    )
    live = live_anatomy(config, anew)
    agree(predict_for(config, anew, BATCHES, "cpu"), live)
    kept = live_anatomy(config, usual)
    assert live.activations < 0.4 * kept.activations
    assert live.total is not None and kept.total is not None and live.total < kept.total
    on_gpu = [predict_for(config, spec, BATCHES, "cuda").activations for spec in (anew, usual)]
    assert on_gpu[0] < 0.5 * on_gpu[1]


@pytest.mark.slow
@pytest.mark.parametrize("preset", soaked_but(["lora-r12"], ["full", "lora-r12"]))
def test_gradients_of_several_batches_add_up_in_one_place(preset: str) -> None:
    config, one = small_config(0.1), spec_of(preset)
    more = spec_of(preset, "train.accumulation_steps=3")
    predicted = predict_for(config, more, BATCHES, "cpu")
    agree(predicted, live_anatomy(config, more))
    alone = predict_for(config, one, BATCHES, "cpu")
    assert (predicted.gradients, predicted.activations) == (alone.gradients, alone.activations)
    assert predicted.workspace >= alone.workspace


@pytest.mark.slow
def test_fp16_is_a_gpus() -> None:
    config = small_config(0.1)
    half, whole = (spec_of("full", f"precision={precision}") for precision in ("fp16", "fp32"))
    assert (
        predict_for(config, half, BATCHES, "cuda").activations < predict_for(config, whole, BATCHES, "cuda").activations
    )
    with pytest.raises(UsageError, match="'fp16' needs a GPU"):
        predict_for(config, half, BATCHES, "cpu")


@pytest.mark.slow
def test_pairs_encoded_separately() -> None:
    config, spec = small_config(0.1), spec_of("lora-r12", "encoder.pair_encoding=separate")
    batches = {"sts": BatchShape(((12, 9, 5), (20, 3, 3)))}
    agree(predict_for(config, spec, batches, "cpu"), live_anatomy(config, spec, batches))


@pytest.mark.slow
def test_adapters_on_the_upper_layers_keep_less() -> None:
    config, lower = small_config(0.1), spec_of("lora-r12")
    upper = spec_of("lora-r12", "method.layers=2")
    agree(predict_for(config, upper, BATCHES, "cpu"), live_anatomy(config, upper))
    assert (
        predict_for(config, upper, BATCHES, "cpu").activations < predict_for(config, lower, BATCHES, "cpu").activations
    )


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["native", "transformers"])
def test_the_largest_of_the_tasks_counts_whichever_it_is(runtime: str) -> None:
    """One long text and many short ones: the tasks are predicted together and separately."""
    config, spec = small_config(0.1), spec_of("lora-r12", f"runtime={runtime}", "method.rank=1", "method.alpha=1")
    batches = {"sst": BatchShape(((80,),)), "paraphrase": BatchShape(((11,) * 8,)), "sts": BatchShape(((40, 10),))}
    alone = [predict_for(config, spec, {name: shape}, "cuda") for name, shape in batches.items()]
    together = predict_for(config, spec, batches, "cuda")
    assert together.activations == max(parts.activations for parts in alone)
    assert together.optimizer == sum(parts.optimizer for parts in alone)


def bert_base_weights() -> int:
    embeddings = (30522 + 512 + 2) * 768 + 2 * 768
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    return embeddings + 12 * layer + 768 * 768 + 768


HEADS = 768 * (5 + 1 + 1) + 5 + 1 + 1
BUFFERS = 2 * 512 * 8  # position_ids and token_type_ids


@pytest.mark.slow
def test_bert_base_by_arithmetic() -> None:
    """Weights, gradients and Adam of full fine-tuning: 16 bytes per trained weight, and one step count per tensor."""
    found = predict_for(BertConfig(), spec_of("full"), {"sst": BatchShape(((20,) * 8,))}, "cuda")
    weights = bert_base_weights()
    assert weights == 109_482_240
    assert found.weights == 4 * (weights + HEADS) + BUFFERS
    assert found.trainable == 4 * (weights + HEADS)
    used = weights + 768 * 5 + 5  # the other tasks' heads are not trained here
    tensors = 5 + 12 * 16 + 2 + 2
    assert found.gradients == 4 * used
    assert found.optimizer == 8 * used + 4 * tensors


@pytest.mark.slow
@pytest.mark.parametrize("rank", soaked_but([12], [1, 12]))
def test_adapters_by_arithmetic(rank: int) -> None:
    """Adapters of all three tasks are in memory; a step has gradients for one, the optimiser state for all."""
    config = BertConfig()
    spec = spec_of("lora-r12", f"method.rank={rank}", f"method.alpha={rank}", "runtime=transformers")
    found = predict_for(config, spec, BATCHES, "cuda")
    adapter = 55_296 * rank
    assert found.trainable == 4 * (3 * adapter + HEADS)
    assert found.weights == 4 * (bert_base_weights() + 3 * adapter + HEADS) + BUFFERS
    assert found.gradients == 4 * (adapter + 768 + 1)  # paraphrase has the largest batch
    assert found.optimizer == 8 * (3 * adapter + HEADS) + 4 * (3 * 72 + 6)


@pytest.mark.slow
def test_tasks_that_are_not_trained_have_no_state() -> None:
    config, spec = small_config(), spec_of("dora-r4")
    one = predict_for(config, spec, {"sst": BATCHES["sst"]}, "cuda")
    all_ = predict_for(config, spec, BATCHES, "cuda")
    assert one.weights == all_.weights
    assert 2.9 < all_.optimizer / one.optimizer < 3.1


@pytest.mark.slow
def test_on_the_cpu_frozen_weights_are_there_in_two_packings() -> None:
    config = small_config()
    on_gpu, on_cpu = (predict_for(config, spec_of("lora-r12"), BATCHES, device) for device in ("cuda", "cpu"))
    linear = 4 * 3 * (4 * 48 * 48 + 2 * 48 * 100) + 4 * 48 * 48  # of the layers, and the pooler
    unused_backward = 4 * 3 * 48 * 48  # first layer's query, key and value: nothing below is trained
    released = on_gpu.weights - linear
    assert on_cpu.weights == released + 2 * linear - unused_backward + 4 * 19  # one number per weight remains


@pytest.mark.slow
def test_a_cached_prefix_leaves_the_lower_layers_out() -> None:
    config = small_config(0.0)
    whole, cached = (
        predict_for(config, spec_of("last-layer", f"train.cache_frozen_features={on}"), BATCHES, "cuda")
        for on in ("false", "true")
    )
    assert cached.weights == whole.weights
    assert cached.total is not None and whole.total is not None and cached.total < whole.total
    with_dropout = small_config(0.1)
    assert predict_for(with_dropout, spec_of("last-layer"), BATCHES, "cuda") == predict_for(
        with_dropout, spec_of("last-layer", "train.cache_frozen_features=false"), BATCHES, "cuda"
    )


@pytest.mark.slow
def test_a_gpu_keeps_no_attention_weights_and_one_byte_of_a_dropout_mask() -> None:
    """Transformers' forward, per layer and padded token: calculated by hand for LoRA with frozen weights."""
    width, inner, layers = 48, 100, 3
    config, spec = small_config(0.1), spec_of("lora-r12", "runtime=transformers", "head.dropout=0")
    shape = BatchShape(((32, 32, 32, 32),))
    eager, fused = (
        predict_for(config, spec, {"sst": shape}, "cuda", attention=kind).activations for kind in ("eager", "sdpa")
    )
    tokens, squares, heads = shape.padded, 4 * 3 * 32 * 32, 3
    weights = layers * squares * (4 + 4 + 1)  # softmax, what dropout left of it, and its mask
    assert (
        eager > fused and abs((eager - fused) - (weights - extra_of_fused(layers, tokens, width, heads))) < 0.02 * eager
    )
    per_token = width * (1 + 3 + 2) * 4 + inner * 4 + 2 * width  # x; q, k, v; two sums; GELU's input; two masks
    assert abs(eager - weights - layers * tokens * per_token) < 0.15 * eager


def extra_of_fused(layers: int, tokens: int, width: int, heads: int) -> int:
    """Data saved by the fused kernel but not by eager attention: output, log-sum-exp and a float mask."""
    return layers * (4 * tokens * width + 4 * tokens * heads + 4 * tokens * 32)


@pytest.mark.slow
def test_nothing_is_left_behind() -> None:
    """A prediction changes neither the random state nor the behaviour of kernels on real tensors."""
    from peftbench.kernels.device import is_fake

    config, spec = small_config(0.1), spec_of("dora-r12-peft")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    found = predict_for(config, spec, BATCHES, "cuda")
    assert torch.equal(torch.get_rng_state(), before) and not is_fake()
    assert predict_for(config, spec, BATCHES, "cuda") == found
    assert type(torch.empty(2)) is torch.Tensor


@pytest.mark.slow
def test_deterministic_algorithms_change_nothing() -> None:
    config, spec = small_config(0.1), spec_of("full")
    usual = predict_for(config, spec, BATCHES, "cuda")
    torch.use_deterministic_algorithms(True)
    try:
        assert predict_for(config, spec, BATCHES, "cuda") == usual
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_a_live_models_activations_can_be_asked_for_without_a_trace() -> None:
    config, spec = small_config(0.1), spec_of("lora-r12")
    model = prepared(config, spec)
    task = spec.tasks[0]
    model.switch_mode(task.name)
    model.eval()
    batch: Batch = model.batcher(0)(texts(BATCHES["sst"]), range(4))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = activation_bytes(model, task, batch)
    assert torch.equal(torch.get_rng_state(), before) and not model.training
    assert all(weight.grad is None for weight in model.parameters())
    predicted = predict_for(config, spec, {"sst": BATCHES["sst"]}, "cpu")
    assert abs(predicted.activations - found) <= WITHIN * found


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ({}, "no batch to predict for"),
        ({"imdb": BATCHES["sst"]}, "task 'imdb'"),
        ({"sts": BatchShape(((3,), (3,)))}, "task sts: a batch with 2 texts per example, expected 1"),
    ],
)
def test_batches_are_of_the_specs_tasks_and_in_its_form(batches: dict[str, BatchShape], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        predict_for(small_config(), spec_of("full"), batches, "cuda")


def test_a_method_that_looks_at_values_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from peftbench.methods.lora import LoraAdapter

    def looks(self: LoraAdapter, x: torch.Tensor, base: torch.nn.Linear) -> torch.Tensor:
        return base(x) if float(x.sum()) > 0 else x

    monkeypatch.setattr(LoraAdapter, "forward", looks)
    with pytest.raises(PeftbenchError, match=r"method lora .*cannot be predicted.*values"):
        predict_for(small_config(), spec_of("lora-r12", "runtime=transformers"), BATCHES, "cuda")


@pytest.mark.slow
@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger slows it")
def test_bert_base_takes_about_a_second() -> None:
    import time

    predict_for(small_config(), spec_of("dora-r12"), BATCHES, "cuda")  # imports, once
    started = time.process_time()
    predict_for(BertConfig(), spec_of("dora-r12"), BATCHES, "cuda")
    assert time.process_time() - started < 20  # CPU time, independent of load: 0.7 s on an idle core
