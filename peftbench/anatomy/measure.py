"""The parts of a live model's memory, by counting its storages; on the CPU and on a GPU alike."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from peftbench.anatomy.parts import Anatomy
from peftbench.anatomy.storage import SavedBytes, bytes_of, tensors_in
from peftbench.data.batches import Batch
from peftbench.model import MultitaskModel
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of


def measured(
    model: MultitaskModel, optimizer: torch.optim.Optimizer, activations_bytes: int, peak_bytes: int | None = None
) -> Anatomy:
    """Return the anatomy of a model in training, by what is alive now.

    Args:
        model: prepared; after a step, so that the step's gradients are there.
        optimizer: of its trained weights.
        activations_bytes: what a forward pass saved (`SavedBytes`), of the batch that is asked about.
        peak_bytes: the peak of torch's allocator over whole steps, such as `torch.cuda.max_memory_allocated`; None
            where nobody counted, as on the CPU: then there is no workspace and no total.
    """
    parts = Anatomy(
        weights=bytes_of(resident(model)),
        trainable=bytes_of(model.trainable().values()),
        gradients=gradient_bytes(model),
        optimizer=optimizer_bytes(optimizer),
        activations=activations_bytes,
        workspace=None,
    )
    if peak_bytes is None:
        return parts
    return Anatomy(
        parts.weights,
        parts.trainable,
        parts.gradients,
        parts.optimizer,
        parts.activations,
        max(0, peak_bytes - parts.kept),
    )


def resident(model: MultitaskModel) -> Iterator[Tensor]:
    """Yield every tensor that the model keeps between steps: weights, buffers, and the native path's packed copies."""
    yield from model.parameters()
    yield from model.buffers()
    for weight in model.native.frozen if model.native is not None else ():
        yield from weight.tensors()


def gradient_bytes(model: MultitaskModel) -> int:
    """Return the bytes of the gradients that are there now."""
    return bytes_of(weight.grad for weight in model.parameters() if weight.grad is not None)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the optimiser's state."""
    return bytes_of(
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    )


def activation_bytes(model: MultitaskModel, task: TaskSpec, batch: Batch) -> int:
    """Return what a forward pass in training saves for backward, weights and inputs left out.

    Runs one: model and random numbers are as before, but for gradients, which it makes none of.

    Args:
        model: prepared, on the batch's device.
        task: the batch's, with its adapters active (`switch_mode`).
        batch: in the model's form.
    """
    device = batch.labels.device
    training = model.training
    model.train()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
            with SavedBytes([*resident(model), *tensors_in(batch)]) as saved:
                loss = loss_of(task, model(batch), batch.labels)
                penalty = model.method.penalty(task.name)
                loss = loss if penalty is None else loss + penalty  # keeps the graph until all is counted
            return saved.total
    finally:
        model.train(training)
