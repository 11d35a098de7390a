"""On an NVIDIA GPU (`make gpu-check`): the same numbers as on the CPU, by the same code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftbench.data.batches import Batcher
from peftbench.encoder import find_encoder, load_encoder
from peftbench.jobs.execute import execute
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved
from tests.marks import needs_gpu
from tests.models import gradients, named, texts
from tests.recorders import Memory
from tests.tiny import TASKS

pytestmark = needs_gpu()


def model_on(device: str, resolved: Resolved, runtime: str = "native") -> MultitaskModel:
    spec = resolved.spec.model_copy(update={"runtime": runtime})
    model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)
    for name, weight in named(model).items():
        if name.endswith(".B"):
            weight.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return model.prepare(torch.device(device))


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
@pytest.mark.parametrize("preset", ["last-layer", "full", "lora-r12", "dora-r12", "delta-lora-r12"])
def test_the_gpu_gives_what_the_cpu_gives(preset: str, pooling: str, tiny: Callable[..., Resolved]) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    resolved = tiny(preset, [f"encoder.pooling={pooling}", "encoder.dropout=0", "head.dropout=0"])
    split, rows = texts([5, 17, 5, 1, 30, 9, 9]), [3, 1, 4, 0, 6, 5, 2]
    found = []
    for device in ("cpu", "cuda"):
        model = model_on(device, resolved).train()
        assert model.path.startswith("native")
        for task in TASKS:
            model.switch_mode(task)
            logits, grads = gradients(model, Batcher(True, 0, torch.device(device))(split, rows))
        found.append((logits.cpu(), {name: grad.cpu() for name, grad in grads.items()}))
    (logits, grads), (gpu_logits, gpu_grads) = found
    torch.testing.assert_close(gpu_logits, logits, atol=1e-4, rtol=1e-4)
    for name, grad in grads.items():
        torch.testing.assert_close(gpu_grads[name], grad, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("preset", "precision"),
    [("lora-r12", "bf16"), ("dora-r12", "bf16"), ("full", "autocast"), ("full", "fp16"), ("dora-r12", "fp16")],
)
def test_a_run_learns_with_dropout_in_half_precision(
    preset: str, precision: str, tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    spec = tiny(preset, ["encoder.dropout=0.1"]).spec.model_copy(update={"precision": precision})
    memory = Memory()
    execute(spec, memory, tmp_path)
    assert memory.facts["conditions"]["device_type"] == "cuda"
    assert len(memory.epochs) == 2
