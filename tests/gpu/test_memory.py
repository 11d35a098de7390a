"""On an NVIDIA GPU (`make gpu-check`): what was predicted for it is what its allocator says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from peftbench.data.batches import Batch
from peftbench.memory.measure import activation_bytes, measured
from peftbench.memory.parts import score
from peftbench.memory.predict import predict_for
from peftbench.spec import Resolved
from peftbench.training.metrics import loss_of
from tests.marks import needs_gpu
from tests.memory.live import BATCHES, small_config, texts

pytestmark = needs_gpu()
STEP = 512  # the allocator's: what it gives is a multiple of it


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("runtime", ["native", "transformers"])
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "full"])
def test_the_prediction_is_what_the_gpu_keeps(
    preset: str, runtime: str, dropout: float, tiny: Callable[..., Resolved]
) -> None:
    from transformers import BertModel

    from peftbench.model import MultitaskModel

    config = small_config(dropout, hidden_size=192, num_attention_heads=3, intermediate_size=768)
    spec = tiny(preset, [f"runtime={runtime}", "encoder.pooling=cls", "train.cache_frozen_features=false"]).spec
    name, shape = "sts", BATCHES["sts"]
    task = spec.task(name)
    assert task is not None
    before = torch.cuda.memory_allocated()
    model = MultitaskModel(BertModel(config), spec).prepare(torch.device("cuda")).train()
    optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), 1e-3), fused=True)
    model.switch_mode(name)

    def step(batch: Batch) -> None:
        loss = loss_of(task, model(batch), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    batch = model.batcher(0)(texts(shape), np.arange(shape.examples))
    step(batch)
    torch.cuda.reset_peak_memory_stats()
    step(batch)
    peak = torch.cuda.max_memory_allocated() - before
    live = measured(model, optimizer, activation_bytes(model, task, batch), peak_bytes=peak)
    predicted = predict_for(config, spec, {name: shape}, "cuda")
    errors = score(predicted, live)
    for part in ("weights", "trainable", "gradients", "optimizer", "activations"):
        assert errors[part] is not None and abs(errors[part] or 0) <= 0.02, (part, predicted, live)
    tensors = sum(1 for _ in model.parameters()) * 4
    cublas = 70 * 2**20  # its workspace is the allocator's too
    assert (predicted.total or 0) <= peak + STEP and peak <= 1.05 * (predicted.total or 0) + STEP * tensors + cublas
