"""One optimiser step: gradient accumulation, clipping and learning-rate schedule; with loss scaling in fp16.

    for each batch of the step:     gradients += its share of the examples * d(mean loss) / d(weights)
    clip their norm; set the rate to `train.lr` (or the method's own) times the schedule's factor; AdamW

A task's schedule counts that task's own steps, done and planned, because the tasks are trained in turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peftbench.data.batches import Batch
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec, TrainSpec
from peftbench.tasks import TaskSpec
from peftbench.training.metrics import loss_of
from peftbench.training.objective import Objective
from peftbench.training.plan import Plan


def lr_factor(train: TrainSpec, done: int, planned: int) -> float:
    """Return the factor of a step's learning rate: transformers' schedules of the same names.

    Args:
        train: `schedule` and `warmup_ratio`.
        done: steps before this one.
        planned: total number of steps.
    """
    warmup = math.ceil(round(planned * train.warmup_ratio, 9))  # 0.1 of 30 steps is 3
    if done < warmup:
        return done / warmup
    if train.schedule == "constant":
        return 1.0
    passed = (done - warmup) / max(1, planned - warmup)
    return max(0.0, 1 - passed if train.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * passed)))


class StepResult(NamedTuple):
    """What a step computed, on the device: the mean loss, the logits of each batch, detached; and its highest rate.

    grad_norm: the 2-norm of its gradients before clipping; None where it was not wanted.
    """

    loss: Tensor
    logits: list[Tensor]
    lr: float
    grad_norm: Tensor | None


class Stepper:
    """Trains a model's weights, a step at a time.

    Args:
        spec: its `train` and `precision` are used.
        model: on its device.
        plan: the number of steps of each task.
        objectives: by name, the training loss of tasks whose loss is not the plain one.

    `done` counts each task's steps; `scaler` exists in fp16 only. A step whose gradients overflowed in fp16 is
    counted, but changes no weight, and the method's `after_step` is not called.
    """

    def __init__(
        self, spec: RunSpec, model: MultitaskModel, plan: Plan, objectives: Mapping[str, Objective] | None = None
    ) -> None:
        self.train, self.model, self.plan = spec.train, model, plan
        self._objectives = objectives or {}
        groups = model.method.parameter_groups(model.trainable(), spec.train.lr)
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=spec.train.lr,
            betas=spec.train.betas,
            eps=spec.train.eps,
            weight_decay=spec.train.weight_decay,
            fused=True,
        )
        self.full_lr: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        device = next(model.heads.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device) if spec.precision == "fp16" else None
        self.done = dict.fromkeys(plan.per_epoch, 0)
        model.method.plan({task: plan.total_of(task) for task in plan.per_epoch})
        self._needs_after_step = model.method.needs_after_step
        self._scale = self.scaler.get_scale() if self.scaler is not None and self._needs_after_step else None

    @property
    def steps_done(self) -> int:
        """Optimiser steps of all tasks so far."""
        return sum(self.done.values())

    def rates(self) -> str:
        """Return the learning rates of the last step as text; a method may have several."""
        return " and ".join(f"{lr:g}" for lr in sorted({float(group["lr"]) for group in self.optimizer.param_groups}))

    def step(self, task: TaskSpec, batches: Sequence[Batch], *, norm: bool = False) -> StepResult:
        """Take one optimiser step on batches of a task.

        Args:
            task: of the batches.
            batches: of the step.
            norm: return the norm of the gradients, too; where they are clipped it is returned at every step.
        """
        loss, logits = self._gradients(task, batches)
        self._set_rates(task.name)
        updated, grad_norm = self._update(norm)
        self.done[task.name] += 1
        if updated:
            self.model.method.after_step(task.name)
        return StepResult(loss, logits, max(float(group["lr"]) for group in self.optimizer.param_groups), grad_norm)

    def _gradients(self, task: TaskSpec, batches: Sequence[Batch]) -> tuple[Tensor, list[Tensor]]:
        """Compute the gradients of the mean loss over all examples plus the method's penalty, added once."""
        examples = sum(len(batch.labels) for batch in batches)
        total: Tensor | None = None
        outputs: list[Tensor] = []
        for number, batch in enumerate(batches):
            logits = self.model(batch)
            outputs.append(logits.detach())
            loss = self._loss(task, logits, batch)
            if len(batches) > 1:  # weighted by examples, as the last batch may be shorter
                loss = loss * (len(batch.labels) / examples)
            penalty = self.model.method.penalty(task.name) if number == 0 else None
            if number == 0:
                self.optimizer.zero_grad(set_to_none=True)
            objective = loss if penalty is None else loss + penalty
            (objective if self.scaler is None else self.scaler.scale(objective)).backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None, "a step needs at least one batch"
        return total, outputs

    def _loss(self, task: TaskSpec, logits: Tensor, batch: Batch) -> Tensor:
        own = self._objectives.get(task.name)
        return loss_of(task, logits, batch.labels) if own is None else own(logits, batch.labels, batch.weights)

    def _set_rates(self, task: str) -> None:
        factor = lr_factor(self.train, self.done[task], self.plan.total_of(task))
        for group, lr in zip(self.optimizer.param_groups, self.full_lr, strict=True):
            group["lr"] = lr * factor

    def _update(self, norm: bool) -> tuple[bool, Tensor | None]:
        """Update the weights from their gradients; return whether they changed, and the gradients' norm if known."""
        if self.scaler is None:
            grad_norm = self._clip(norm)
            self.optimizer.step()
            return True, grad_norm
        self.scaler.unscale_(self.optimizer)
        grad_norm = self._clip(norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not self._needs_after_step:
            return True, grad_norm
        before, self._scale = self._scale, self.scaler.get_scale()  # reading it synchronises with a GPU
        return before is None or self._scale >= before, grad_norm

    def _clip(self, norm: bool) -> Tensor | None:
        """Clip the gradients where the spec says so; return their norm before, where it is known or wanted."""
        if self.train.clip_norm is None and not norm:
            return None
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if self.train.clip_norm is None:
            return torch.nn.utils.get_total_norm(gradients)
        return torch.nn.utils.clip_grad_norm_([w for w in weights if w.grad is not None], self.train.clip_norm)

    def state(self) -> dict[str, Any]:
        """Return the state needed to resume, besides the weights, in tensors and plain containers."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "done": dict(self.done),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from such a state.

        Raises:
            ValueError: it belongs to other weights.
        """
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
            self._scale = self.scaler.get_scale() if self._needs_after_step else None
        self.done = dict(state["done"])
