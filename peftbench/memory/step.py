"""A training step on fake tensors, and its memory use."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from peftbench.data.batches import Batch, PackedText, PrefixText
from peftbench.encoder.layout import hidden_size
from peftbench.memory.fake_tensors import fake_batch
from peftbench.memory.measure import gradient_bytes, optimizer_bytes, resident
from peftbench.memory.parts import Anatomy, BatchShape
from peftbench.memory.storages import LiveBytes, SavedBytes, bytes_of, tensors_in
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.training.frozen_features import FrozenFeatures
from peftbench.training.metrics import loss_of


@dataclass(frozen=True, slots=True)
class StepMemoryUse:
    """Peak memory of the phases of one step, in bytes, excluding weights and optimiser state."""

    gradients: int
    activations: int
    forward: int  # peak in the forward pass, including the batch
    backward: int  # peak in the backward pass, including the new gradients
    update: int  # peak in the optimiser step, including the gradients


class FakeSteps:
    """Runs the training step of `training.loop` on fake tensors."""

    def __init__(self, model: MultitaskModel, spec: RunSpec, mode: FakeTensorMode, live: LiveBytes) -> None:
        self.model, self.mode, self.live = model, mode, live
        groups = model.method.parameter_groups(model.trainable(), spec.train.lr)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.accumulation_steps = spec.train.accumulation_steps
        self.batcher = model.batcher(0)
        self.frozen = FrozenFeatures(model, self.batcher, spec)
        self.task: str | None = None  # of the last step
        self.trained: set[str] = set()  # names of the weights that got a gradient in the last step
        live.take(resident(model))

    def run(self, task: TaskSpec, shape: BatchShape) -> StepMemoryUse:
        """Run forward, backward and the optimiser step for a task."""
        model, live = self.model, self.live
        model.switch_mode(task.name)
        model.train()
        start = live.now
        batches = [self._batch(task, shape) for _ in range(self.accumulation_steps)]
        live.restart_peak()
        with SavedBytes([*resident(model), *(tensor for batch in batches for tensor in tensors_in(batch))]) as saved:
            loss = loss_of(task, model(batches[0]), batches[0].labels)
            penalty = model.method.penalty(task.name)
            loss = loss if penalty is None else loss + penalty
        forward = live.peak - start
        live.restart_peak()
        loss.backward()
        if len(batches) > 1:  # accumulation: later batches add to the existing gradients
            loss_of(task, model(batches[1]), batches[1].labels).backward()
        backward = live.peak - start
        gradients = gradient_bytes(model)
        self.trained = {name for name, weight in model.trainable().items() if weight.grad is not None}
        self.task = task.name
        held = live.now - start
        self.optimizer.step()  # allocates the optimiser state
        live.restart_peak()
        now = live.now
        self.optimizer.step()
        update = held + live.peak - now
        self.optimizer.zero_grad(set_to_none=True)
        return StepMemoryUse(gradients, saved.total, forward, backward, update)

    def remember(self, task: TaskSpec) -> None:
        """Allocate the optimiser state of a task's own weights, as if a step of it had been run."""
        assert self.task is not None, "run a step first"
        mark, known = self.model.method.mark(task.name), self.model.method.mark(self.task)
        for name, weight in self.model.trainable_of(task.name).items():
            in_head = name.startswith(f"heads.{task.name}.")  # the head is always trained completely
            twin = f".{name}.".replace(mark, known).strip(".")
            if (in_head or twin in self.trained) and weight not in self.optimizer.state:
                weight.grad = torch.empty_like(weight)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def anatomy(self, step: StepMemoryUse) -> Anatomy:
        """Return the anatomy at the peak of a step, with all optimiser state allocated so far."""
        state = optimizer_bytes(self.optimizer)
        weights = bytes_of(resident(self.model))
        fullest = max(step.forward + step.gradients, step.backward, step.update)
        parts = (weights, bytes_of(self.model.trainable().values()), step.gradients, state, step.activations)
        return Anatomy(*parts, workspace=max(0, fullest - step.gradients - step.activations))

    def _batch(self, task: TaskSpec, shape: BatchShape) -> Batch:
        """Return a batch; with cached states below the first trained weight, a batch that starts from them."""
        batch = fake_batch(task, shape, self.batcher, self.mode)
        if not (self.frozen.wanted and self.frozen.is_constant_in_training):
            return batch
        width = hidden_size(self.model.encoder)
        texts = []
        for text in batch.texts:
            assert isinstance(text, PackedText), "cached prefixes need the native runtime"
            frozen = not self.model.encoder_trains and batch.words is None  # of tokens the states are cached
            rows = shape.examples if frozen else text.layout.rows
            texts.append(PrefixText(torch.empty(rows, width), None if frozen else text))
        return replace(batch, texts=tuple(texts))
