"""Norms, embeddings and the pooler trained beside LoRA's adapters: a copy for each task, in every runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from peftbench.encoder import load_encoder
from peftbench.errors import UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft, take_peft
from peftbench.methods.lora import Lora
from peftbench.methods.options import LoraOptions
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved, resolve
from peftbench.training.weights import load_weights, weights_path
from tests.interchange.random_weights import trained_run
from tests.models import PACKED, PADDED, TOLERANCE, gradients, texts
from tests.models import model_with_adapters as build

EVERYTHING = (
    *("method.train_norms=true", "method.train_embeddings=true", "method.train_pooler=true"),
    *("encoder.pooling=pooler", "encoder.dropout=0", "head.dropout=0"),
)
HIDDEN = 32


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12"])
def test_logits_and_gradients_agree_in_all_runtimes(preset: str, tiny: Callable[..., Resolved]) -> None:
    split, rows, results = texts([5, 17, 9]), [2, 0, 1], []
    for runtime in ("native", "transformers", "peft"):
        model = build(tiny(preset, [*EVERYTHING, f"runtime={runtime}"]), runtime)
        assert {name for task in model.heads for name in model.trainable_of(task)} == model.trainable().keys()
        for task in ("sst", "sts"):
            model.switch_mode(task)
            results.append(gradients(model, (PACKED if runtime == "native" else PADDED)(split, rows)))
    for number, (logits, grads) in enumerate(results[2:]):
        expected, their_grads = results[number % 2]
        torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=TOLERANCE)
        assert grads.keys() == their_grads.keys()
        assert any("word_embeddings" in name for name in grads) and any("pooler" in name for name in grads)
        for name, grad in grads.items():
            torch.testing.assert_close(grad, their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.parametrize(
    ("option", "count"),
    [
        ("norms", 5 * 2 * HIDDEN),
        ("embeddings", (30522 + 512 + 2) * HIDDEN),
        ("pooler", HIDDEN * HIDDEN + HIDDEN),
    ],
)
def test_a_task_has_a_copy_of_what_is_trained_and_only_it_moves(
    option: str, count: int, tiny: Callable[..., Resolved]
) -> None:
    overrides = [f"method.train_{option}=true", *EVERYTHING[3:]]
    model, plain = build(tiny("lora-r12", overrides), "native"), build(tiny("lora-r12", EVERYTHING[3:]), "native")
    of_task = [sum(w.numel() for w in each.trainable_of("sst").values()) for each in (model, plain)]
    assert of_task[0] - of_task[1] == count
    batch = PACKED(texts([5, 9]), [0, 1])

    def logits(task: str) -> torch.Tensor:
        model.switch_mode(task)
        return model(batch).detach()

    before = {task: logits(task) for task in ("sst", "sts")}
    model.switch_mode("sts")
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-2)
    model(batch).square().sum().backward()
    optimizer.step()
    assert torch.equal(logits("sst"), before["sst"]) and not torch.equal(logits("sts"), before["sts"])


def test_layers_restricts_the_norms() -> None:
    encoder = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=1))
    method = Lora(LoraOptions(name="lora", rank=1, train_norms=True, layers="1-2"))
    method.attach(encoder, ("a",), seed=0)
    assert len(method.weights.names) == 4 and all("layer.0" not in name for name in method.weights.names)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "lora-r12-peft"])
def test_they_are_exported_and_come_back(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny(preset, EVERYTHING).spec
    source = trained_run(spec.model_copy(update={"tasks": spec.tasks[:2]}), tmp_path / "run")
    for export in (export_peft, export_merged):
        assert max(row.logits_within for row in export(source, tmp_path / export.__name__)) < TOLERANCE
    there, here = (MultitaskModel(load_encoder(spec.encoder, source.files()), source.spec) for _ in range(2))
    load_weights(there, weights_path(source.folder, 2), source.spec.hash())
    for task in ("sst", "paraphrase"):
        take_peft(here, task, tmp_path / "export_peft" / task)
    for name, weight in there.saved().items():
        assert torch.equal(weight, here.saved()[name]), name


def test_without_them_a_spec_has_the_hash_that_it_had() -> None:
    pooler = ["encoder.pooling=pooler"]
    without, trained = (
        resolve("lora-r12", overrides=[*pooler, f"method.train_pooler={value}"]).spec for value in ("false", "true")
    )
    assert resolve("lora-r12", overrides=pooler).spec.hash() == without.hash() != trained.hash()
    plain = resolve("lora-r12").spec
    assert plain.hash() == resolve("lora-r12", overrides=["method.train_norms=false"]).spec.hash()
    assert plain.hash() != resolve("lora-r12", overrides=["method.train_norms=true"]).spec.hash()


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(UsageError, match=r"encoder\.pooling = .mean. does not use"):
        resolve("lora-r12", overrides=["method.train_pooler=true"])
    encoder = DistilBertModel(DistilBertConfig(vocab_size=9, dim=8, n_layers=1, n_heads=1, hidden_dim=8))
    with pytest.raises(UsageError, match="train_pooler: DistilBertModel has none"):
        Lora(LoraOptions(name="lora", rank=1, train_pooler=True)).attach(encoder, ("a",), seed=0)
    bert = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    options = LoraOptions(name="lora", rank=1, train_pooler=True, targets=("pooler.dense",))
    with pytest.raises(UsageError, match=r"pooler\.dense cannot have adapters and be trained as a whole"):
        Lora(options).attach(bert, ("a",), seed=0)
