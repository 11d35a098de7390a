"""A few real training steps on the CPU, their storages counted: what a prediction is held to."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from peftbench.anatomy.measure import measured, resident
from peftbench.anatomy.parts import Anatomy, BatchShape
from peftbench.anatomy.storage import LiveBytes, SavedBytes
from peftbench.data.batches import Batch
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.training.metrics import loss_of

import numpy as np


def split_of(shape: BatchShape) -> EncodedSplit:
    """Return random texts of these lengths, with labels that every kind of task takes."""
    rng = np.random.default_rng(0)
    parts = []
    for lengths in shape.parts:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = rng.integers(1000, 30000, offsets[-1]).astype(np.int32)
        parts.append(Ragged(ids, np.zeros_like(ids), offsets))
    ids = tuple(map(str, range(shape.examples)))
    return EncodedSplit(tuple(parts), np.ones(shape.examples), ids, 0, from_cache=False)


def live_anatomy(model: MultitaskModel, spec: RunSpec, batches: Mapping[str, BatchShape]) -> Anatomy:
    """Train two steps of every task as `training.loop` does, and return the anatomy of the largest."""
    optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), 1e-3), fused=True)
    batcher = model.batcher(0)
    found = []
    for name in [*batches, *batches]:
        task = spec.task(name)
        assert task is not None
        model.switch_mode(name)
        model.train()
        live = LiveBytes()
        with live:
            live.take(x for x in resident(model) if not x.is_mkldnn)
            live.take(weight.grad for weight in model.parameters() if weight.grad is not None)
            live.take(v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor))
            seen = live.now
            batch: Batch = batcher(split_of(batches[name]), np.arange(batches[name].examples))
            inputs = [x for text in batch.texts for x in vars_of(text)]
            live.take([*inputs, batch.labels])
            with SavedBytes([*resident(model), *inputs]) as saved:
                loss = loss_of(task, model(batch), batch.labels)
                penalty = model.method.penalty(name)
                loss = loss if penalty is None else loss + penalty
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        now = measured(model, optimizer, saved.total)
        hidden = now.weights + now.gradients + now.optimizer - seen  # oneDNN's copies, and what this step made first
        found.append(measured(model, optimizer, saved.total, peak_bytes=live.peak + max(0, hidden)))
        del batch, loss, saved
    return max(found[len(batches) :], key=lambda parts: parts.total or 0)
