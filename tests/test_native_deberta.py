"""DeBERTa v2 and v3 on the native runtime, compared with transformers' forward: same weights, outputs and gradients."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peftbench.data.batches import layout_of
from peftbench.kernels.disentangled import Distances, disentangled_attention
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved
from tests.models import CPU, PACKED, PADDED, TOLERANCE, gradients, texts
from tests.models import model_with_adapters as build

LENGTHS = [5, 17, 5, 1, 30, 9, 30]
BOTH = ["p2c", "c2p"]
V3 = {
    "relative_attention": True, "position_biased_input": False, "pos_att_type": BOTH, "type_vocab_size": 0,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_buckets": 256,
}  # fmt: skip
# What a configuration has beyond v3's; with few buckets or positions distances of LENGTHS share embeddings.
KINDS: dict[str, dict[str, Any]] = {
    "v3": {},
    "log buckets": {"position_buckets": 16},
    "no buckets": {"position_buckets": -1},
    "few positions": {"position_buckets": -1, "max_relative_positions": 12},
    "own projections": {"share_att_key": False, "position_buckets": 16},
    "c2p": {"pos_att_type": ["c2p"], "norm_rel_ebd": "none"},
    "p2c": {"pos_att_type": ["p2c"], "share_att_key": False},
    "absolute": {"relative_attention": False, "position_biased_input": True, "type_vocab_size": 2},
    "narrow embeddings": {"embedding_size": 16, "position_biased_input": True, "type_vocab_size": 2},
}


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Callable[[str], Path]:
    """Return a function that returns the folder of a random DeBERTa of two layers of a kind, created once."""
    from transformers import DebertaV2Config, DebertaV2Model

    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("deberta") / "encoder"
            ignored = shutil.ignore_patterns("*.safetensors", "config.json")
            shutil.copytree(tiny_encoder, made[kind], ignore=ignored)
            torch.manual_seed(0)
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
            config = DebertaV2Config(vocab_size=30522, initializer_range=0.2, **sizes, **{**V3, **KINDS[kind]})
            DebertaV2Model(config).save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def pair(
    deberta: Callable[[str], Path], tiny: Callable[..., Resolved]
) -> Callable[..., tuple[MultitaskModel, MultitaskModel]]:
    """Return a function that builds the same model natively and in transformers."""

    def models(kind: str, preset: str, *overrides: str) -> tuple[MultitaskModel, MultitaskModel]:
        given = [f"encoder.name={deberta(kind)}", "encoder.dropout=0", "head.dropout=0", *overrides]
        resolved = tiny(preset, given)
        ours, theirs = build(resolved, "native"), build(resolved, "transformers")
        assert ours.path.startswith("native")
        return ours, theirs

    return models


def agree(ours: MultitaskModel, theirs: MultitaskModel) -> None:
    split, rows = texts(LENGTHS), list(reversed(range(len(LENGTHS))))
    for training, task in ((False, "sst"), (True, "paraphrase")):
        ours.train(training), theirs.train(training)
        ours.switch_mode(task), theirs.switch_mode(task)
        logits, grads = gradients(ours, PACKED(split, rows))
        their_logits, their_grads = gradients(theirs, PADDED(split, rows))
        torch.testing.assert_close(logits, their_logits, atol=TOLERANCE, rtol=TOLERANCE)
        assert grads.keys() == their_grads.keys() and grads
        for name in grads:
            torch.testing.assert_close(grads[name], their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("preset", ["last-layer", "full", "lora-r12", "dora-r12", "lora-r12-all"])
@pytest.mark.parametrize("kind", ["v3", "log buckets", "own projections"])
def test_logits_and_gradients_are_those_of_transformers(kind: str, preset: str, pooling: str, pair: Any) -> None:
    agree(*pair(kind, preset, f"encoder.pooling={pooling}"))


@pytest.mark.parametrize("preset", ["full", "dora-r12"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("v3", "log buckets", "own projections")])
def test_every_kind_of_position_is_that_of_transformers(kind: str, preset: str, pair: Any) -> None:
    agree(*pair(kind, preset, "encoder.pooling=cls"))


@pytest.mark.parametrize("preset", ["bitfit", "houlsby-m48"])
def test_methods_that_train_what_the_layers_share(preset: str, pair: Any) -> None:
    agree(*pair("log buckets", preset))


def test_adapters_beside_trained_norms_and_embeddings_of_distances(pair: Any) -> None:
    agree(*pair("log buckets", "lora-r12", "method.train_norms=true", "method.train_embeddings=true"))


def test_layers_recomputed_in_backward_have_the_same_gradients(pair: Any) -> None:
    agree(*pair("v3", "dora-r12", "train.gradient_checkpointing=true"))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12"])
def test_a_mixed_batch_has_each_tasks_adapters_on_the_distances_too(preset: str, pooling: str, pair: Any) -> None:
    ours, _ = pair("log buckets", preset, f"encoder.pooling={pooling}")
    split, chosen = texts(LENGTHS), {"sst": [0, 2, 4], "sts": [6, 1], "paraphrase": [5, 3]}
    mixed = ours.forward_multitask({task: (split, np.array(rows)) for task, rows in chosen.items()})
    for task, rows in chosen.items():
        ours.switch_mode(task)
        with torch.no_grad():
            torch.testing.assert_close(mixed[task], ours(PACKED(split, rows)), atol=TOLERANCE, rtol=TOLERANCE)


def test_the_parts_of_a_layout_are_its_texts() -> None:
    layout, _ = layout_of(np.array([9, 9, 9, 4, 4, 1]), CPU)
    parts = layout.parts([2, 3, 1])
    assert [part.groups for part in parts] == [((0, 2, 9),), ((0, 1, 9), (9, 2, 4)), ((0, 1, 1),)]
    assert [part.offsets.tolist() for part in parts] == [[0, 9, 18], [0, 9, 13, 17], [0, 1]]
    assert [(part.longest, part.shortest) for part in parts] == [(9, 9), (9, 4), (1, 1)]
    assert sum(part.rows for part in parts) == layout.rows >= layout.tokens


class TestKernel:
    @pytest.mark.parametrize("device", ["cpu", "as on a GPU"])
    @pytest.mark.parametrize("only_first", [False, True])
    @pytest.mark.parametrize("p", [0.0, 0.4])
    def test_its_gradient_is_that_of_the_same_masks(
        self, p: float, only_first: bool, device: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if device != "cpu":
            monkeypatch.setattr("peftbench.kernels.disentangled.on_cpu", lambda device: False)
        layout, _ = layout_of(np.array([4, 2, 2, 1]), CPU)
        torch.manual_seed(0)
        rows = {"q": layout.texts if only_first else layout.rows, "k": layout.rows, "v": layout.rows, "K": 9, "Q": 9}
        inputs = [torch.randn(count, 4, dtype=torch.float64, requires_grad=True) for count in rows.values()]

        def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *of: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(7)
            return disentangled_attention(q, k, v, Distances(*of), 2, layout, p, 0.4)

        assert torch.autograd.gradcheck(attended, inputs)

    @pytest.mark.parametrize("only_first", [False, True])
    def test_padded_and_by_length_it_computes_the_same(self, only_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        layout, _ = layout_of(np.array([30, 17, 9, 9, 1]), CPU)
        torch.manual_seed(0)
        q, k, v = (torch.randn(layout.rows, 8) for _ in range(3))
        q = q[: layout.texts] if only_first else q
        distances = Distances(torch.randn(59, 8), torch.randn(59, 8))
        found = []
        for on_cpu in (True, False):
            monkeypatch.setattr("peftbench.kernels.disentangled.on_cpu", lambda device, here=on_cpu: here)
            found.append(disentangled_attention(q, k, v, distances, 2, layout, 0.0, 0.3))
        torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)


def test_hidden_states_have_the_mean_and_spread_of_transformers_dropout(pair: Any) -> None:
    """Positions are dropped too, attention and hidden states with chances of their own."""
    models = pair("log buckets", "lora-r12", "encoder.pooling=cls", "encoder.dropout=0.3")
    split, found = texts([6, 9, 6]), []
    for model, batcher in zip(models, (PACKED, PADDED), strict=True):
        model.train()
        batch = batcher(split, [0, 1, 2])
        torch.manual_seed(5)
        with torch.no_grad():
            each = torch.stack([model.pooled(batch.texts[0]) for _ in range(600)])
        found.append((each.mean(dim=0), each.std(dim=0)))
    (mean, spread), (their_mean, their_spread) = found
    error = (their_spread**2 / 300).sqrt()  # standard error of a difference of two means of 600
    assert ((mean - their_mean).abs() / error).mean() < 1.1  # 0.8 is expected for a normal distribution
    assert abs(float(spread.mean() / their_spread.mean()) - 1) < 0.04


def test_a_convolution_falls_back_to_transformers_and_says_so(tiny: Callable[..., Resolved]) -> None:
    from transformers import DebertaV2Config, DebertaV2Model

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    encoder = DebertaV2Model(DebertaV2Config(**sizes, **V3, conv_kernel_size=3))
    model = MultitaskModel(encoder, tiny("lora-r12").spec).prepare(CPU)
    assert model.path == "transformers, not native: DebertaV2Model has a convolution after its first layer"
    assert model.batcher(0).packed is False
