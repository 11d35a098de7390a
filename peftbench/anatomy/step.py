"""One training step on tensors without values, and what lives during it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from peftbench.anatomy.fake import fake_batch
from peftbench.anatomy.measure import gradient_bytes, optimizer_bytes, resident
from peftbench.anatomy.parts import Anatomy, BatchShape
from peftbench.anatomy.storage import LiveBytes, SavedBytes, bytes_of, tensors_in
from peftbench.data.batches import Batch, PackedText, PrefixText
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of
from peftbench.training.prefix import Prefixes


@dataclass(frozen=True, slots=True)
class Step:
    """What one step was seen to take, in bytes beyond weights and optimiser state."""

    gradients: int
    activations: int
    forward: int  # at most, in the forward pass, the batch included
    backward: int  # at most, in the backward pass, the new gradients included
    update: int  # at most, in the optimiser's step, the gradients included


class Steps:
    """Runs the training step of `training.loop` on tensors without values."""

    def __init__(self, model: MultitaskModel, spec: RunSpec, mode: FakeTensorMode, live: LiveBytes) -> None:
        self.model, self.mode, self.live = model, mode, live
        groups = model.method.parameter_groups(model.trainable(), spec.train.lr)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.accumulation_steps = spec.train.accumulation_steps
        self.batcher = model.batcher(0)
        self.prefixes = Prefixes(model, self.batcher, spec)
        self.task: str | None = None  # the last one run
        self.trained: set[str] = set()  # names of the weights that got a gradient then
        live.take(resident(model))

    def run(self, task: TaskSpec, shape: BatchShape) -> Step:
        """Run forward, backward and the optimiser for a task."""
        model, live = self.model, self.live
        model.switch_mode(task.name)
        model.train()
        start = live.now
        batches = [self._batch(shape) for _ in range(self.accumulation_steps)]
        live.restart_peak()
        with SavedBytes([*resident(model), *(tensor for batch in batches for tensor in tensors_in(batch))]) as saved:
            loss = loss_of(task, model(batches[0]), batches[0].labels)
            penalty = model.method.penalty(task.name)
            loss = loss if penalty is None else loss + penalty
        forward = live.peak - start
        live.restart_peak()
        loss.backward()
        if len(batches) > 1:  # the others like this one: their gradients are added to those that are there
            loss_of(task, model(batches[1]), batches[1].labels).backward()
        backward = live.peak - start
        gradients = gradient_bytes(model)
        self.trained = {name for name, weight in model.trainable().items() if weight.grad is not None}
        self.task = task.name
        held = live.now - start
        self.optimizer.step()  # makes the state
        live.restart_peak()
        now = live.now
        self.optimizer.step()
        update = held + live.peak - now
        self.optimizer.zero_grad(set_to_none=True)
        return Step(gradients, saved.total, forward, backward, update)

    def remember(self, task: TaskSpec) -> None:
        """Let the optimiser have the state of a task's own weights, as if it had been run too."""
        assert self.task is not None, "a step comes first"
        mark, known = self.model.method.mark(task.name), self.model.method.mark(self.task)
        for name, weight in self.model.trainable_of(task.name).items():
            in_head = name.startswith(f"heads.{task.name}.")  # all of which is trained, whatever form it has
            twin = f".{name}.".replace(mark, known).strip(".")
            if (in_head or twin in self.trained) and weight not in self.optimizer.state:
                weight.grad = torch.empty_like(weight)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def anatomy(self, step: Step) -> Anatomy:
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
        width: int = self.model.encoder.config.hidden_size  # type: ignore[union-attr, assignment]
        texts = []
        for text in batch.texts:
            assert isinstance(text, PackedText), "prefixes are the native path's"
            whole = not self.model.encoder_trains
            rows = text.layout.texts if whole else text.layout.rows
            texts.append(PrefixText(torch.empty(rows, width), None if whole else text))
        return Batch(tuple(texts), batch.labels, batch.tokens)
