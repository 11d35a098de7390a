"""Each method against its paper's equation, and the counts of trained weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from peftbench.errors import UsageError
from peftbench.methods.dora import Dora, DoraAdapter
from peftbench.methods.lora import Lora, LoraAdapter
from peftbench.methods.options import DoraOptions, LoraOptions
from peftbench.seeds import generator

SHAPES = [(16, 16), (16, 40), (40, 16)]


def adapter(kind: type[LoraAdapter], base: nn.Linear, **extra: object) -> LoraAdapter:
    name = "dora" if kind is DoraAdapter else "lora"
    options = (DoraOptions if name == "dora" else LoraOptions)(name=name, rank=3, alpha=6.0, **extra)
    made = kind(base, options, generator(0, "test"))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator(1, "test")))
    return made


@pytest.mark.parametrize(("wide", "out"), SHAPES)
def test_lora_is_equation_3(wide: int, out: int) -> None:
    base, x = nn.Linear(wide, out), torch.randn(5, wide)
    lora = adapter(LoraAdapter, base)
    expected = (base.weight + 6.0 / 3 * lora.B @ lora.A) @ x.T
    torch.testing.assert_close(lora(x, base), expected.T + base.bias)


@pytest.mark.parametrize(("wide", "out"), SHAPES)
@pytest.mark.parametrize("axis", ["output", "input"])
def test_dora_is_equation_5_along_the_axis_asked_for(wide: int, out: int, axis: str) -> None:
    base, x = nn.Linear(wide, out), torch.randn(5, wide)
    dora = adapter(DoraAdapter, base, norm_axis=axis)
    direction = base.weight + 6.0 / 3 * dora.B @ dora.A
    norms = direction.square().sum(dim=1 if axis == "output" else 0, keepdim=True).sqrt()
    m = dora.m[:, None] if axis == "output" else dora.m[None, :]
    weight = m * direction / norms
    torch.testing.assert_close(dora.weight(base), weight)
    torch.testing.assert_close(dora(x, base), x @ weight.T + base.bias)


@pytest.mark.parametrize("axis", ["output", "input"])
def test_doras_gradients_hold_the_norm_constant(axis: str) -> None:
    base, x = nn.Linear(12, 20), torch.randn(5, 12)
    dora = adapter(DoraAdapter, base, norm_axis=axis)
    dora(x, base).square().sum().backward()
    found = {name: weight.grad.clone() for name, weight in dora.named_parameters()}
    dora.zero_grad()
    direction = base.weight.detach() + 2.0 * dora.B @ dora.A
    dim = 1 if axis == "output" else 0
    weight = (dora.m / direction.norm(dim=dim).detach()).unsqueeze(dim) * direction
    (x @ weight.T + base.bias.detach()).square().sum().backward()
    for name, parameter in dora.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


@pytest.mark.parametrize(
    ("kind", "extra"), [(LoraAdapter, {}), (DoraAdapter, {}), (DoraAdapter, {"norm_axis": "input"})]
)
def test_training_starts_from_the_pretrained_function(kind: type[LoraAdapter], extra: dict[str, object]) -> None:
    base, x = nn.Linear(16, 24), torch.randn(5, 16)
    name = "dora" if kind is DoraAdapter else "lora"
    options = (DoraOptions if name == "dora" else LoraOptions)(name=name, rank=4, alpha=4.0, **extra)
    fresh = kind(base, options, generator(0, "test"))
    torch.testing.assert_close(fresh(x, base), base(x))
    assert fresh.A.abs().max() <= 1 / 4  # Kaiming-uniform(sqrt 5): 1 / sqrt(fan in)
    assert fresh.A.abs().max() > 0.9 / 4
    assert not fresh.B.any()


def test_adapter_dropout_acts_in_training_only() -> None:
    base, x = nn.Linear(16, 24), torch.randn(50, 16)
    lora = adapter(LoraAdapter, base, dropout=0.5)
    assert not torch.equal(lora(x, base), lora(x, base))
    lora.eval()
    assert torch.equal(lora(x, base), lora(x, base))


@pytest.mark.parametrize(("method", "kind"), [("lora", Lora), ("dora", Dora)])
@pytest.mark.parametrize("rank", [1, 12, 128])
def test_weights_per_task_on_bert_base_are_the_formulas(method: str, kind: type, rank: int) -> None:
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        encoder = BertModel(BertConfig())
    options = (DoraOptions if method == "dora" else LoraOptions)(name=method, rank=rank, alpha=1.0)
    kind(options).attach(encoder, ("sst", "sts"), seed=0)
    of_sst = [w for name, w in encoder.named_parameters() if ".adapters.sst." in name]
    trained = sum(w.numel() for w in encoder.parameters() if w.requires_grad)
    count = sum(w.numel() for w in of_sst)
    assert count == 55_296 * rank + (27_648 if method == "dora" else 0)
    assert trained == 2 * count


def test_an_unknown_target_is_refused_with_those_there_are() -> None:
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        encoder = BertModel(BertConfig(num_hidden_layers=1))
    options = LoraOptions(name="lora", rank=1, alpha=1.0, targets=("querry",))
    with pytest.raises(
        UsageError, match="'querry' matches no linear layer of this bert; did you mean 'query'"
    ) as error:
        Lora(options).attach(encoder, ("sst",), seed=0)
    assert error.value.hint is not None
    assert "dense, key, query, value" in error.value.hint


def test_adapters_of_a_task_start_the_same_whatever_other_tasks_there_are() -> None:
    from transformers import BertConfig, BertModel

    def weights(tasks: tuple[str, ...], targets: tuple[str, ...]) -> torch.Tensor:
        encoder = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
        method = Lora(LoraOptions(name="lora", rank=2, alpha=2.0, targets=targets))
        method.attach(encoder, tasks, seed=3)
        return encoder.get_submodule("encoder.layer.0.attention.self.value.adapters.sts").A

    assert torch.equal(weights(("sts",), ("value",)), weights(("sst", "sts"), ("query", "key", "value")))
