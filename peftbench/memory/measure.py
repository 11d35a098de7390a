"""Measure the memory parts of a live model by counting its storages, on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from peftbench.data.batches import Batch
from peftbench.kernels.quantized import scales
from peftbench.kernels.weight_only import components
from peftbench.memory.parts import Anatomy
from peftbench.memory.storages import SavedBytes, bytes_of, tensors_in
from peftbench.model import MultitaskModel
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of


def measured(
    model: MultitaskModel, optimizer: torch.optim.Optimizer, activations_bytes: int, peak_bytes: int | None = None
) -> Anatomy:
    """Return the memory anatomy of a model in training, from its live tensors.

    Args:
        model: prepared; after a step, so that the step's gradients exist.
        optimizer: of its trained weights.
        activations_bytes: bytes saved by a forward pass (`SavedBytes`) for the batch of interest.
        peak_bytes: the peak of torch's allocator over whole steps, such as `torch.cuda.max_memory_allocated`; None
            if not available, as on the CPU: then there is no workspace and no total.
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
    """Yield all tensors that the model keeps between steps: weights, buffers, packed copies of the native runtime."""
    for weight in model.parameters():
        yield from components(weight)
    yield from model.buffers()
    for module in model.modules():
        yield from scales(module)
    for packed in model.native.frozen if model.native is not None else ():
        yield from packed.tensors()


def gradient_bytes(model: MultitaskModel) -> int:
    """Return the bytes of the existing gradients."""
    return bytes_of(weight.grad for weight in model.parameters() if weight.grad is not None)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the optimiser's state."""
    return bytes_of(
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    )


def activation_bytes(model: MultitaskModel, task: TaskSpec, batch: Batch) -> int:
    """Return the bytes that a training forward pass saves for backward, excluding weights and inputs.

    It runs a forward pass, and restores the model and the random state; no gradients are computed.

    Args:
        model: prepared, on the batch's device.
        task: the batch's task, with its adapters active (`switch_mode`).
        batch: in the model's input format.
    """
    device = batch.labels.device
    training = model.training
    model.train()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
            with SavedBytes([*resident(model), *tensors_in(batch)]) as saved:
                loss = loss_of(task, model(batch), batch.labels)
                penalty = model.method.penalty(task.name)
                loss = loss if penalty is None else loss + penalty  # keeps the graph alive until counted
            return saved.total
    finally:
        model.train(training)
