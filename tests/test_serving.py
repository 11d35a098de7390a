"""Serving the adapters of several tasks: switched, mixed in one batch, merged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from peftbench.errors import UsageError
from peftbench.methods.adapted import AdaptedLinear
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved
from tests.models import TOLERANCE, texts
from tests.models import model_with_adapters as build
from tests.tiny import TASKS

VARIANTS = {
    "lora-r12": (),
    "dora-r12": (),
    "delta-lora-r12": (),
    "last-layer": (),
    "full": (),
    "dora-r12 input": ("method.norm_axis=input",),
    "lora-r12 pooler": ("encoder.pooling=pooler",),
    "dora-r12 separate": ("encoder.pair_encoding=separate", "encoder.pooling=cls"),
}


def of(variant: str, tiny: Callable[..., Resolved], *more: str) -> MultitaskModel:
    return build(tiny(variant.split()[0], [*VARIANTS[variant], *more]), "native").eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_of_several_tasks_gives_what_each_task_gives_alone(variant: str, tiny) -> None:
    model = of(variant, tiny)
    for layer in model.modules():
        if isinstance(layer, AdaptedLinear) and variant == "delta-lora-r12":
            layer.adapters["sts"].start()
            layer.adapters["sts"].B.data.mul_(2)
    chosen = {}
    for seed, (task, rows) in enumerate({"sts": [2, 0], "sst": [1], "paraphrase": [3, 3, 0, 1]}.items()):
        split = texts([5, 17, 5, 30], seed)
        if "separate" in variant and task != "sst":
            other = texts([7, 3, 9, 4], seed + 9)
            split = type(split)((*split.parts, *other.parts), split.labels, split.example_ids, 0, False)
        chosen[task] = (split, np.array(rows))
    together = model.forward_multitask(chosen)
    assert list(together) == list(chosen)
    for task, (split, rows) in chosen.items():
        model.switch_mode(task)
        with torch.no_grad():
            alone = model(model.batcher(0)(split, rows))
        torch.testing.assert_close(together[task], alone, atol=TOLERANCE, rtol=TOLERANCE)


def test_one_pass_needs_the_native_path(tiny: Callable[..., Resolved]) -> None:
    model = build(tiny("lora-r12"), "transformers")
    with pytest.raises(UsageError, match="native runtime"):
        model.forward_multitask({"sst": (texts([4]), np.array([0]))})


@pytest.mark.parametrize("runtime", ["native", "transformers", "peft"])
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12"])
def test_merged_it_gives_the_same_without_adapters(preset: str, runtime: str, tiny: Callable[..., Resolved]) -> None:
    model = build(tiny(preset), runtime).eval()
    split, rows = texts([5, 17, 5, 30]), np.arange(4)
    model.switch_mode("sts")
    with torch.no_grad():
        before = model(model.batcher(0)(split, rows))
        weights = sum(weight.numel() for weight in model.encoder.parameters())
        model.merge("sts").eval()
        after = model(model.batcher(0)(split, rows))
    torch.testing.assert_close(after, before, atol=TOLERANCE, rtol=TOLERANCE)
    assert sum(weight.numel() for weight in model.encoder.parameters()) < weights
    assert not any(isinstance(module, AdaptedLinear) for module in model.modules())
    assert all(task in model.heads for task in TASKS)
