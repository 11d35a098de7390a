"""peftbench's LoRA and DoRA against Hugging Face PEFT: same initialisation, outputs and gradients."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import nn

from peftbench.methods.options import DoraOptions, LoraOptions
from peftbench.methods.registry import method_info
from tests.tiny import TASKS

TOLERANCE = 1e-5


class TwoLayers(nn.Module):
    """One square and one non-square target, with and without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(24, 24)
        self.value = nn.Linear(24, 40, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value(torch.tanh(self.query(x)))


def options(method: str, rank: int, alpha: float) -> LoraOptions:
    kind = DoraOptions if method == "dora" else LoraOptions
    return kind(name=method, rank=rank, alpha=alpha, targets=("query", "value"))


def attach_ours(base: nn.Module, chosen: LoraOptions):
    model = copy.deepcopy(base)
    method = method_info(chosen.name).load()(chosen)
    method.attach(model, TASKS, seed=1)
    return model, method


def attach_peft(base: nn.Module, chosen: LoraOptions) -> nn.Module:
    config = peft.LoraConfig(
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        target_modules=list(chosen.targets),
        use_dora=chosen.name == "dora",
        lora_dropout=0.0,
    )
    model = peft.get_peft_model(copy.deepcopy(base), config, adapter_name=TASKS[0])
    for task in TASKS[1:]:
        model.add_adapter(task, config)
    return model


def their_weights(theirs: nn.Module, task: str) -> dict[str, nn.Parameter]:
    """PEFT's weights of one adapter under peftbench's names."""
    found = {}
    for name, module in theirs.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            place = name.removeprefix("base_model.model.")
            found[f"{place}.A"] = module.lora_A[task].weight
            found[f"{place}.B"] = module.lora_B[task].weight
            if task in module.lora_magnitude_vector:
                found[f"{place}.m"] = module.lora_magnitude_vector[task].weight
    return found


def our_weights(ours: nn.Module, task: str) -> dict[str, nn.Parameter]:
    mark = f".adapters.{task}."
    return {name.replace(mark, "."): weight for name, weight in ours.named_parameters() if mark in name}


def same_start(ours: nn.Module, theirs: nn.Module) -> None:
    """Give both the same random, non-zero weights for every task."""
    rng = torch.Generator().manual_seed(5)
    for task in TASKS:
        mine, other = our_weights(ours, task), their_weights(theirs, task)
        assert mine.keys() == other.keys()
        for name, weight in mine.items():
            change = 0.2 * torch.randn(weight.shape, generator=rng)
            assert other[name].shape == weight.shape
            weight.data.add_(change)
            other[name].data.copy_(weight.data)


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (4, 8.0)])
def test_outputs_and_every_adapter_gradient_are_those_of_peft(method: str, rank: int, alpha: float) -> None:
    torch.manual_seed(0)
    base = TwoLayers()
    ours, switcher = attach_ours(base, options(method, rank, alpha))
    theirs = attach_peft(base, options(method, rank, alpha))
    same_start(ours, theirs)
    for task in ("sst", "sts", "paraphrase", "sst"):  # switched in between, and back
        x = torch.randn(7, 5, 24)
        switcher.switch_mode(task)
        theirs.set_adapter(task)
        ours.zero_grad(), theirs.zero_grad()
        mine, other = ours(x), theirs(x)
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=TOLERANCE)
        direction = torch.randn_like(mine)
        (mine * direction).mean().backward()
        (other * direction).mean().backward()
        gradients = their_weights(theirs, task)
        for name, weight in our_weights(ours, task).items():
            assert weight.grad is not None, name
            torch.testing.assert_close(weight.grad, gradients[name].grad, atol=TOLERANCE, rtol=TOLERANCE, msg=name)
        for idle in set(TASKS) - {task}:
            assert all(weight.grad is None for weight in our_weights(ours, idle).values())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_whole_encoder_with_padding_agrees_with_peft(method: str) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    base = BertModel(config)
    chosen = options(method, 3, 6.0)
    ours, switcher = attach_ours(base, chosen)
    theirs = attach_peft(base, chosen)
    same_start(ours, theirs)
    lengths = torch.tensor([3, 11, 7])
    ids = torch.randint(1, 99, (3, 11))
    mask = (torch.arange(11) < lengths[:, None]).long()
    for task in TASKS:
        switcher.switch_mode(task)
        theirs.set_adapter(task)
        mine = ours(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
        other = theirs(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=TOLERANCE)
        mine.square().mean().backward()
        other.square().mean().backward()
        gradients = their_weights(theirs, task)
        for name, weight in our_weights(ours, task).items():
            torch.testing.assert_close(weight.grad, gradients[name].grad, atol=TOLERANCE, rtol=TOLERANCE, msg=name)
