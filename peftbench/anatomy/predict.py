"""A run's memory before it is run: one training step of the real model, on tensors that have no values.

The model is the run's own (its method, its runtime, its kernels), so that what it keeps is not modelled a second time
here. Forward, backward and AdamW are run once for the largest batch of each task; what lives is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from peftbench.anatomy.fake import GpuKernels, fake_batch, placeholder_encoder, tensors_in, without_values
from peftbench.anatomy.measure import gradient_bytes, optimizer_bytes, resident
from peftbench.anatomy.parts import Anatomy, BatchShape
from peftbench.anatomy.storage import LiveBytes, SavedBytes, bytes_of
from peftbench.data.batches import Batch, PackedText, PrefixText
from peftbench.errors import UsageError
from peftbench.kernels.linear import onednn, onednn_bf16
from peftbench.kernels.place import DeviceType, imagined
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of
from peftbench.training.prefix import Prefixes

Change = Callable[[MultitaskModel], None]


def predict_for(
    model_config: Any,
    spec: RunSpec,
    batches: Mapping[str, BatchShape],
    device: DeviceType,
    *,
    attention: str = "sdpa",
    change: Change | None = None,
) -> Anatomy:
    """Return the anatomy of a run's largest training step, once every task in `batches` has been trained.

    Args:
        model_config: transformers' configuration of the encoder, its dropout set; it is left as it is.
        spec: the run's.
        batches: the largest batch of each task that is trained, by the task's name; one at least.
        device: whose code path: "cuda" or "cpu". Nothing is computed, and no GPU is needed.
        attention: transformers' attention, where its forward is used: `sdpa` as runs have it, or `eager`.
        change: is given the model when its method is attached, to compute something otherwise.

    Raises:
        UsageError: a task is unknown, none is given, or the method cannot attach to this encoder.
        MissingError: the method needs a package that is not here.
    """
    tasks = {name: spec.task(name) for name in batches}
    if not tasks or (unknown := [name for name, task in tasks.items() if task is None]):
        raise UsageError(f"no batch to predict for: tasks {', '.join(tasks and unknown) or 'none'}")
    onednn(), onednn_bf16()  # they probe with values, once, and remember
    model = MultitaskModel(placeholder_encoder(model_config, attention), spec)
    if change is not None:
        change(model)
    mode, live = FakeTensorMode(), LiveBytes()
    without_values(model, mode, model.method)
    with ExitStack() as stack:
        for each in (imagined(device), mode, *((GpuKernels(),) if device == "cuda" else ()), live):
            stack.enter_context(each)
        model.prepare(torch.device("cpu"))
        known = [task for task in tasks.values() if task is not None]
        steps = _Steps(model, spec, mode, live)
        found = [steps.run(task, batches[task.name]) for task in _widest(known, batches)]
        for task in known:
            steps.remember(task)
        return max((steps.anatomy(step) for step in found), key=lambda parts: parts.total or 0)


def _widest(tasks: list[TaskSpec], batches: Mapping[str, BatchShape]) -> list[TaskSpec]:
    """Return the tasks whose batch fits into no other's: one of the others has the largest step."""
    found: list[TaskSpec] = []
    for task in sorted(tasks, key=lambda task: (batches[task.name].padded, task.outputs), reverse=True):
        if not any(batches[task.name].is_within(batches[wider.name]) for wider in found):
            found.append(task)
    return found


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step was seen to take, in bytes beyond weights and optimiser state."""

    gradients: int
    activations: int
    forward: int  # at most, in the forward pass, the batch included
    backward: int  # at most, in the backward pass, the new gradients included
    update: int  # at most, in the optimiser's step, the gradients included


class _Steps:
    """Runs the training step of `training.loop` on tensors without values."""

    def __init__(self, model: MultitaskModel, spec: RunSpec, mode: FakeTensorMode, live: LiveBytes) -> None:
        self.model, self.mode, self.live = model, mode, live
        groups = model.method.parameter_groups(model.trainable(), spec.train.lr)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.batcher = model.batcher(0)
        self.prefixes = Prefixes(model, self.batcher, spec)
        self.trained: set[str] = set()  # names of weights that get a gradient, as the task run would call them
        self.task: str | None = None
        live.take(resident(model))

    def run(self, task: TaskSpec, shape: BatchShape) -> _Step:
        """Run forward, backward and the optimiser for a task."""
        model, live = self.model, self.live
        model.switch_mode(task.name)
        model.train()
        start = live.now
        batch = self._batch(shape)
        live.restart_peak()
        with SavedBytes([*resident(model), *tensors_in(batch)]) as saved:
            loss = loss_of(task, model(batch), batch.labels)
            penalty = model.method.penalty(task.name)
            loss = loss if penalty is None else loss + penalty
        forward = live.peak - start
        live.restart_peak()
        loss.backward()
        backward = live.peak - start
        gradients = gradient_bytes(model)
        self.trained, self.task = (
            {name for name, weight in model.trainable().items() if weight.grad is not None},
            task.name,
        )
        held = live.now - start
        self.optimizer.step()  # makes the state
        live.restart_peak()
        now = live.now
        self.optimizer.step()
        update = held + live.peak - now
        self.optimizer.zero_grad(set_to_none=True)
        return _Step(gradients, saved.total, forward, backward, update)

    def remember(self, task: TaskSpec) -> None:
        """Let the optimiser have the state of a task's own weights, as if it had been run too."""
        assert self.task is not None, "a step comes first"
        mark, known = self.model.method.mark(task.name), self.model.method.mark(self.task)
        for name, weight in self.model.trainable_of(task.name).items():
            twin = f".{name}.".replace(f".heads.{task.name}.", f".heads.{self.task}.").replace(mark, known)
            if twin.strip(".") in self.trained and weight not in self.optimizer.state:
                weight.grad = torch.empty_like(weight)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def anatomy(self, step: _Step) -> Anatomy:
        """Put a step's parts together: what it is at its fullest, with all state there is by now."""
        state = optimizer_bytes(self.optimizer)
        weights = bytes_of(resident(self.model))
        fullest = max(step.forward + step.gradients, step.backward, step.update)
        parts = (weights, bytes_of(self.model.trainable().values()), step.gradients, state, step.activations)
        return Anatomy(*parts, workspace=max(0, fullest - step.gradients - step.activations))

    def _batch(self, shape: BatchShape) -> Batch:
        """Return a batch; where runs keep what lies below the first trained weight, one that starts from there."""
        batch = fake_batch(shape, self.batcher, self.mode)
        if not (self.prefixes.wanted and self.prefixes.is_constant_in_training):
            return batch
        width = self.model.encoder.config.hidden_size  # type: ignore[union-attr]
        texts = []
        for text in batch.texts:
            assert isinstance(text, PackedText), "prefixes are the native path's"
            whole = not self.model.encoder_trains
            rows = text.layout.texts if whole else text.layout.rows
            texts.append(PrefixText(torch.empty(rows, width), None if whole else text))
        return Batch(tuple(texts), batch.labels, batch.tokens)
