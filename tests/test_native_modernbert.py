"""ModernBERT on the native runtime, compared with transformers' forward: same weights, outputs and gradients."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftbench.kernels.attention import Layout, attention
from peftbench.kernels.feed_forward import gated_feed_forward
from peftbench.kernels.linear import FrozenWeight
from peftbench.kernels.rotary import rotated
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved
from tests.models import PACKED, PADDED, TOLERANCE, gradients, texts
from tests.models import model_with_adapters as build

LENGTHS = [5, 17, 5, 1, 30, 9, 30]  # of the window of 8 to each side some are within, some beyond


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A random ModernBERT of four layers, every second of which attends to 8 tokens to each side."""
    from transformers import ModernBertConfig, ModernBertModel

    folder = tmp_path_factory.mktemp("modernbert") / "encoder"
    shutil.copytree(tiny_encoder, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
    ids = {"pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102, "bos_token_id": 101, "eos_token_id": 102}
    positions = {"local_attention": 16, "global_attn_every_n_layers": 2, "max_position_embeddings": 512}
    ModernBertModel(ModernBertConfig(vocab_size=30522, **sizes, **ids, **positions)).save_pretrained(folder)
    return folder


def agree(one: MultitaskModel, other: MultitaskModel, lengths: list[int]) -> None:
    split, rows = texts(lengths), list(reversed(range(len(lengths))))
    logits, grads = gradients(one, PACKED(split, rows))
    their_logits, their_grads = gradients(other, PADDED(split, rows))
    torch.testing.assert_close(logits, their_logits, atol=TOLERANCE, rtol=TOLERANCE)
    assert grads.keys() == their_grads.keys() and grads
    for name in grads:
        torch.testing.assert_close(grads[name], their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("preset", ["last-layer", "full", "lora-r12", "dora-r12", "lora-r12-all"])
def test_logits_and_gradients_are_those_of_transformers(
    preset: str, pooling: str, modernbert: Path, tiny: Callable[..., Resolved]
) -> None:
    overrides = [f"encoder.name={modernbert}", f"encoder.pooling={pooling}", "encoder.dropout=0", "head.dropout=0"]
    resolved = tiny(preset, overrides)
    ours, theirs = build(resolved, "native"), build(resolved, "transformers")
    assert ours.path.startswith("native")
    for training, task in ((False, "sst"), (True, "paraphrase")):
        ours.train(training), theirs.train(training)
        ours.switch_mode(task), theirs.switch_mode(task)
        agree(ours, theirs, LENGTHS)


@pytest.mark.parametrize("kind", ["flash", "dropped"])
@pytest.mark.parametrize("window", [None, 3, 12])
def test_attention_within_a_window_is_masked_attention(
    kind: str, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = lambda shape, p, device: (torch.ones(shape, dtype=torch.bool), 1.0)  # noqa: E731
    monkeypatch.setattr("peftbench.kernels.attention.keep_mask", nothing)
    torch.manual_seed(0)
    lengths, heads = [14, 14, 6, 2], 2
    layout = Layout(((0, 2, 14), (28, 1, 6), (34, 1, 2)), torch.tensor([0, 14, 28, 34, 36]), 14, 2, 40)
    q, k, v = (torch.randn(40, 8, requires_grad=True) for _ in range(3))
    out = attention(q, k, v, heads, layout, 0.5 if kind == "dropped" else 0.0, window)
    first = 0
    for length in lengths:
        rows = slice(first, first + length)
        at = torch.arange(length)
        seen = None if window is None else (at[:, None] - at).abs() <= window
        parts = (x[rows].unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
        expected = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen)
        torch.testing.assert_close(out[rows], expected.transpose(0, 1).flatten(1), atol=1e-5, rtol=1e-4)
        grads = torch.autograd.grad(expected.square().sum(), (q, k, v), retain_graph=True)
        ours = torch.autograd.grad(out[rows].square().sum(), (q, k, v), retain_graph=True)
        for one, other in zip(ours, grads, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        first += length
    assert not out[36:].any()


def test_a_rotation_is_transformers_and_its_gradient_the_rotation_back() -> None:
    from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

    torch.manual_seed(0)
    angles = torch.rand(7, 3).repeat(1, 2)
    x = torch.randn(7, 24, dtype=torch.float64, requires_grad=True)
    cos, sin = angles.cos().double(), angles.sin().double()
    parts = x.unflatten(-1, (4, 6)).transpose(0, 1)[None]
    expected = apply_rotary_pos_emb(parts, parts, angles.cos()[None], angles.sin()[None])[0][0].transpose(0, 1)
    torch.testing.assert_close(rotated(x, cos, sin, 4), expected.flatten(1), atol=1e-6, rtol=1e-6)
    assert torch.autograd.gradcheck(lambda x: rotated(x, cos, sin, 4), (x,))


def test_the_gated_block_of_frozen_weights_has_the_gradient_of_its_formula() -> None:
    torch.manual_seed(0)
    up, down = torch.nn.Linear(6, 16, bias=False), torch.nn.Linear(8, 6, bias=False)
    x = torch.randn(5, 6, requires_grad=True)
    inner, gate = up(x).chunk(2, dim=-1)
    expected = down(torch.nn.functional.gelu(inner) * gate)
    (theirs,) = torch.autograd.grad(expected.square().sum(), x)
    frozen = [FrozenWeight(linear.requires_grad_(False), backward=True) for linear in (up, down)]
    out = gated_feed_forward(x, *frozen)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], theirs, atol=1e-5, rtol=1e-5)
