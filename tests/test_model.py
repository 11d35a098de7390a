"""The model: one encoder, one head per task, and switching between tasks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
import torch

from peftbench.data.batches import Batcher
from peftbench.data.encode import encode_texts
from peftbench.encoder import find_encoder, load_encoder, load_tokenizer
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved

PADDED = Batcher(False, 0, torch.device("cpu"))
TEXTS = [("A fine film.", "A good film, and a long one at that."), ("No.", "Yes.")]


def build(resolved: Resolved) -> tuple[MultitaskModel, object]:
    spec = resolved.spec
    files = find_encoder(spec.encoder)
    return MultitaskModel(load_encoder(spec.encoder, files), spec), load_tokenizer(files)


def test_switching_the_task_switches_adapters_and_head_and_back(tiny: Callable[..., Resolved]) -> None:
    model, tokenizer = build(tiny("dora-r12"))
    model.eval()
    rng = torch.Generator().manual_seed(0)
    for name, weight in model.trainable().items():
        if name.endswith(".B"):
            weight.data.normal_(generator=rng)
    batch = PADDED(encode_texts(TEXTS, tokenizer, True, 64), [0, 1])
    outputs = {}
    for task in ("sst", "paraphrase", "sts", "sst", "paraphrase"):
        model.switch_mode(task)
        pooled = model.pooled(batch.texts[0])
        if task in outputs:
            assert torch.equal(outputs[task], pooled)
        outputs[task] = pooled
    assert not torch.allclose(outputs["paraphrase"], outputs["sts"])


def test_switching_allocates_nothing(tiny: Callable[..., Resolved]) -> None:
    model, _ = build(tiny("dora-r12"))
    weights = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    modules = {name: id(module) for name, module in model.named_modules()}
    for task in ("sst", "sts"):
        model.switch_mode(task)
    tracemalloc.start()
    for _ in range(50):
        model.switch_mode("sst")
        model.switch_mode("sts")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000
    assert weights == {name: weight.data_ptr() for name, weight in model.named_parameters()}
    assert modules == {name: id(module) for name, module in model.named_modules()}


def test_only_the_heads_train_on_a_frozen_encoder_and_no_graph_is_kept_below(tiny: Callable[..., Resolved]) -> None:
    model, tokenizer = build(tiny("last-layer"))
    assert {name.split(".")[0] for name in model.trainable()} == {"heads"}
    batch = PADDED(encode_texts(TEXTS, tokenizer, True, 64), [0, 1])
    model.train()
    with torch.no_grad():
        assert model.pooled(batch.texts[0]).grad_fn is None
    model(batch).sum().backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())


def test_full_trains_everything(tiny: Callable[..., Resolved]) -> None:
    model, _ = build(tiny("full"))
    assert len(model.trainable()) == len(list(model.parameters()))
    assert model.trainable_of("sst").keys() == {"heads.sst.1.weight", "heads.sst.1.bias"}


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_padding_does_not_reach_the_pooling(pooling: str, tiny: Callable[..., Resolved]) -> None:
    model, tokenizer = build(tiny("lora-r12", [f"encoder.pooling={pooling}"]))
    model.eval()
    split = encode_texts(TEXTS, tokenizer, True, 64)
    together = model(PADDED(split, [0, 1]))
    alone = model(PADDED(split, [1]))
    torch.testing.assert_close(together[1:], alone, atol=1e-6, rtol=1e-5)


def test_the_second_text_of_a_joint_pair_is_marked_unless_the_spec_says_no(tiny: Callable[..., Resolved]) -> None:
    model, tokenizer = build(tiny("lora-r12"))
    unmarked, _ = build(tiny("lora-r12", ["encoder.token_types=false"]))
    model.eval(), unmarked.eval()
    batch = PADDED(encode_texts(TEXTS, tokenizer, True, 64), [0, 1])
    (text,) = batch.texts
    expected = model.encoder(input_ids=text.ids, attention_mask=text.mask, token_type_ids=text.types).last_hidden_state
    mask = text.mask.unsqueeze(-1)
    torch.testing.assert_close(model.pooled(text), (expected * mask).sum(dim=1) / mask.sum(dim=1))
    assert not torch.allclose(model.pooled(text), unmarked.pooled(text), atol=1e-4)


def test_separate_pairs_join_two_poolings(tiny: Callable[..., Resolved]) -> None:
    model, tokenizer = build(tiny("lora-r12", ["encoder.pair_encoding=separate"]))
    model.eval()
    batch = PADDED(encode_texts(TEXTS, tokenizer, False, 64), [0, 1])
    model.switch_mode("sts")
    assert model.heads["sts"][1].in_features == 64
    assert model.heads["sst"][1].in_features == 32
    joined = torch.cat([model.pooled(text) for text in batch.texts], dim=-1)
    torch.testing.assert_close(model(batch), model.heads["sts"](joined))


def test_a_head_may_have_hidden_layers_and_each_task_its_own(tiny: Callable[..., Resolved]) -> None:
    overrides = ["head.kind=mlp", "head.layers=2", "head.width=7", "head.tasks.sts.dropout=0.5"]
    model, tokenizer = build(tiny("lora-r12", [*overrides, "head.tasks.paraphrase.kind=linear"]))
    shapes = [tuple(module.weight.shape) for module in model.heads["sst"] if isinstance(module, torch.nn.Linear)]
    assert shapes == [(7, 32), (7, 7), (5, 7)]
    dropouts = {task: {m.p for m in head if isinstance(m, torch.nn.Dropout)} for task, head in model.heads.items()}
    assert dropouts == {"sst": {0.2}, "paraphrase": {0.2}, "sts": {0.5}}
    model.eval()
    batch = PADDED(encode_texts(TEXTS, tokenizer, True, 64), [0, 1])
    (text,) = batch.texts
    x = model.pooled(text)
    hidden, more, last = (module for module in model.heads["sts"] if isinstance(module, torch.nn.Linear))
    gelu = torch.nn.functional.gelu
    model.switch_mode("sts")
    torch.testing.assert_close(model(batch), last(gelu(more(gelu(hidden(model.pooled(text)))))))
    model.switch_mode("sst")
    assert torch.equal(x, model.pooled(text))
    assert "heads.sst.1.weight" in model.trainable_of("sst") and "heads.sst.7.weight" in model.saved("sst")
    plain, _ = build(tiny("lora-r12"))
    assert torch.equal(plain.heads["paraphrase"][1].weight, model.heads["paraphrase"][1].weight)


def test_the_seed_decides_every_initial_weight(tiny: Callable[..., Resolved]) -> None:
    def start(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed + 100)  # torch's global stream must not matter
        return {
            name: weight.detach().clone() for name, weight in build(tiny("lora-r12", seed=seed))[0].trainable().items()
        }

    one, same, other = start(1), start(1), start(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one if name.startswith("heads"))
