"""The kernels of the native runtime, each compared with torch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from peftbench.data.batches import layout_of
from peftbench.kernels import attention, linear
from peftbench.kernels.dropout import dropped, keep_mask
from peftbench.kernels.feed_forward import feed_forward
from peftbench.kernels.linear import FrozenWeight, trained_linear
from peftbench.kernels.norm import residual_norm

CPU = torch.device("cpu")
HEADS, HIDDEN = 4, 32


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Attention computed text by text from its equation."""
    rows, found = 0, []
    asked = [1] * len(lengths) if len(q) == len(lengths) else lengths
    row = 0
    for length, asking in zip(lengths, asked, strict=True):
        parts = [x.view(len(x), HEADS, -1).transpose(0, 1) for x in (q[row : row + asking], k[rows : rows + length])]
        values = v[rows : rows + length].view(length, HEADS, -1).transpose(0, 1)
        weights = (parts[0] @ parts[1].transpose(1, 2) / (HIDDEN // HEADS) ** 0.5).softmax(dim=-1)
        found.append((weights @ values).transpose(0, 1).reshape(asking, HIDDEN))
        rows, row = rows + length, row + asking
    return torch.cat([*found, torch.zeros(len(q) - row, HIDDEN)])


class TestAttention:
    @settings(max_examples=30)
    @given(
        lengths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
        first=st.booleans(),
        way=st.sampled_from(["grouped", "nested"]),
    )
    def test_output_and_gradients(self, lengths: list[int], first: bool, way: str) -> None:
        lengths = sorted(lengths, reverse=True)
        layout, _ = layout_of(np.array(lengths), CPU)
        torch.manual_seed(0)
        k, v = (torch.randn(layout.rows, HIDDEN, requires_grad=True) for _ in range(2))
        q = torch.randn(len(lengths) if first else layout.rows, HIDDEN, requires_grad=True)
        direction = torch.randn_like(q)
        found = []
        for ours in (True, False):
            for x in (q, k, v):
                x.grad = None
            if not ours:
                out = reference(q, k, v, lengths)
            elif way == "nested":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # nested tensors warn that they are a prototype
                    out = attention._nested(q, k, v, HEADS, layout, 0.0)
            else:
                out = attention.attention(q, k, v, HEADS, layout, 0.0)
            (out * direction).sum().backward()
            found.append([out.detach(), *(x.grad.clone() for x in (q, k, v))])
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)

    @pytest.mark.slow
    def test_with_dropout_the_gradient_is_that_of_the_same_masks(self) -> None:
        layout, _ = layout_of(np.array([5, 3, 3]), CPU)
        q, k, v = (torch.randn(11, HIDDEN, dtype=torch.float64, requires_grad=True) for _ in range(3))

        def attended(*inputs: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(7)
            return attention.attention(*inputs, HEADS, layout, 0.4)

        assert torch.autograd.gradcheck(attended, (q, k, v))

    @pytest.mark.slow
    def test_dropout_leaves_the_mean_as_it_was(self) -> None:
        """Of 4224 masks: 384 copies of a text in each of eleven batches."""
        layout, _ = layout_of(np.array([6] * 384), CPU)
        q, k, v = (torch.randn(6, HIDDEN).repeat(384, 1) for _ in range(3))
        torch.manual_seed(0)
        outs = torch.stack([attention.attention(q, k, v, HEADS, layout, 0.3) for _ in range(11)]).view(-1, 6, HIDDEN)
        assert not torch.equal(outs[0], outs[1])
        plain = attention.attention(q, k, v, HEADS, layout, 0.0)[:6]
        torch.testing.assert_close(outs.mean(dim=0), plain, atol=0.06, rtol=0)


class TestDropout:
    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_the_mask_keeps_as_often_as_it_says_and_is_unbiased(self, p: float) -> None:
        torch.manual_seed(0)
        mask, scale = keep_mask((1000, 1001), p, CPU)
        kept = float(mask.float().mean())
        assert kept == pytest.approx(1 - p, abs=4 * (p * (1 - p) / 1e6) ** 0.5 + 2**-16)
        assert scale * round((1 - p) * 2**16) == pytest.approx(2**16)
        neighbours = (mask[:, 1:] & mask[:, :-1]).float().mean()
        assert float(neighbours) == pytest.approx((1 - p) ** 2, abs=0.003)

    def test_nothing_is_drawn_without_it(self) -> None:
        x = torch.randn(3)
        state = torch.get_rng_state()
        assert dropped(x, 0.0) is x
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_the_residual_norm_has_the_gradient_of_its_own_masks(p: float) -> None:
    norm = nn.LayerNorm(6, dtype=torch.float64)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    h, residual = (torch.randn(4, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def computed(h: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return residual_norm(h, residual, norm, p)

    assert torch.autograd.gradcheck(computed, (h, residual, norm.weight, norm.bias))
    if not p:
        torch.testing.assert_close(residual_norm(h, residual, norm, 0.0), norm(h + residual))
    norm.weight.data[2] = 0.0  # division is not possible
    assert torch.autograd.gradcheck(computed, (h, residual, norm.weight, norm.bias))


class TestLinear:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("with_onednn", [True, False])
    def test_a_frozen_weight_multiplies_from_both_sides(
        self, bias: bool, with_onednn: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not with_onednn:
            monkeypatch.setattr(linear, "onednn", lambda: False)
        layer = nn.Linear(24, 40, bias=bias)
        layer.requires_grad_(False)
        original = layer.weight.clone()
        x = torch.randn(7, 24, requires_grad=True)
        expected = layer(x)
        (grad,) = torch.autograd.grad(expected.square().sum(), x)
        weight = FrozenWeight(layer, backward=True)
        assert weight.packed is (with_onednn and linear.onednn())
        out = weight(x)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], grad, atol=1e-4, rtol=1e-4)
        assert torch.equal(weight.dense(), original)
        if weight.packed:
            assert layer(x).isnan().all()  # accidental use gives NaN
            assert layer.weight.untyped_storage().nbytes() == 4
        weight.restore()
        assert torch.equal(layer.weight, original)

    @pytest.mark.parametrize("with_onednn", [True, False])
    def test_the_frozen_feed_forward(self, with_onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if not with_onednn:
            monkeypatch.setattr(linear, "onednn", lambda: False)
        first, second = nn.Linear(24, 40), nn.Linear(40, 24)
        x = torch.randn(7, 24, requires_grad=True)
        expected = second(F.gelu(first(x)))
        (grad,) = torch.autograd.grad(expected.square().sum(), x)
        up, down = (FrozenWeight(layer, backward=True) for layer in (first, second))
        out = feed_forward(x, up, down)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], grad, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(feed_forward(x, up, down), expected, atol=1e-5, rtol=1e-5)

    def test_norms_are_kept_where_they_are_asked_for(self) -> None:
        layer = nn.Linear(24, 40)
        squares = layer.weight.detach().square()
        assert FrozenWeight(nn.Linear(24, 40), backward=False).square_norms == ()
        columns, rows = FrozenWeight(layer, backward=False, norms=True).square_norms
        torch.testing.assert_close(columns, squares.sum(dim=0))
        torch.testing.assert_close(rows, squares.sum(dim=1))

    def test_a_weight_prepared_for_forward_alone_says_so(self) -> None:
        weight = FrozenWeight(nn.Linear(8, 8), backward=False)
        with pytest.raises(RuntimeError, match="without a backward pass"):
            weight.backward(torch.randn(2, 8))

    @pytest.mark.parametrize(("inputs", "outputs"), [(24, 40), (40, 24)])
    def test_a_trained_one_has_every_gradient(self, inputs: int, outputs: int) -> None:
        layer, x = nn.Linear(inputs, outputs), torch.randn(7, inputs, requires_grad=True)
        found = []
        for out in (layer(x), trained_linear(x, layer, torch.float32)):
            found.append([out, *torch.autograd.grad(out.square().sum(), (x, layer.weight, layer.bias))])
        for theirs, mine in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)

    def test_an_operator_that_computes_something_else_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        linear.onednn.cache_clear()
        monkeypatch.setattr(linear, "_pointwise", lambda x, weight, bias, after="none": F.linear(x, weight, bias) + 1)
        assert linear.onednn() is False
        monkeypatch.setattr(linear, "_reorder", lambda weight: torch.ops.mkldnn.no_such_operator(weight))
        linear.onednn.cache_clear()
        assert linear.onednn() is False
        monkeypatch.undo()
        linear.onednn.cache_clear()
