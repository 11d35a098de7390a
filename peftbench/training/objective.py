"""The training loss of a task with weights, label smoothing or focusing (`tasks.TASK.loss`).

Every loss is a sum over the examples, divided by their number: a step over several batches has the gradient of one
large batch. (torch's `CrossEntropyLoss(weight=...)` divides by the sum of the weights instead; balanced weights average
to 1 over the training examples, so that both agree in the mean.)

    classes, tokens       l = w[y] CE(y)            CE(y) = -sum_k q_k log p_k, with q the smoothed label
    binary, multilabel    l = (w y' + 1 - y') BCE   q = y (1 - s) + s / 2, w = pos_weight, on the part of label 1
    focal     l = w[y] (1 - p_y)^gamma CE(y)    Lin et al. 2017, equation 5
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peftbench.errors import DataError
from peftbench.tasks import LossSpec, TaskSpec
from peftbench.text import clean

_SHOWN = 10
_LEAST = 1e-7  # of 1 - p: at 0 the power's gradient would be infinite for a gamma below 1


class Objective:
    """The training loss of one task.

    Args:
        task: with a `loss`, or weights of its examples.
        labels: of its training examples, [n] or [n, labels], or of their words; for balanced weights.

    Raises:
        DataError: balanced weights of a class without training examples.
    """

    def __init__(self, task: TaskSpec, labels: np.ndarray) -> None:
        self.task, self.loss = task, task.loss or LossSpec()
        weights = _class_weights(task, self.loss, labels)
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: [batch, outputs], of tokens [words, outputs].
            labels: [batch], of several labels [batch, outputs], of tokens [words].
            weights: [batch] or [words], of each example's or word's loss.
        """
        if not len(labels):
            return logits.sum()
        losses = self._losses(logits, labels)
        if weights is not None:
            losses = losses * (weights if losses.ndim == 1 else weights[:, None])
        return losses.mean()

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.task.kind in ("classes", "tokens"):
            return self._of_classes(logits, labels)
        if self.task.is_score:
            return F.mse_loss(logits.squeeze(-1), labels, reduction="none")
        return self._binary(logits if self.task.kind == "multilabel" else logits.squeeze(-1), labels)

    def _of_classes(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes = labels.long()
        losses = F.cross_entropy(logits, classes, reduction="none", label_smoothing=self.loss.label_smoothing)
        if self.loss.focal_gamma is not None:  # without smoothing the loss is -log p of the label
            losses = (1 - torch.exp(-losses)).clamp_min(_LEAST) ** self.loss.focal_gamma * losses
        return losses if self._weights is None else losses * self._weights.to(losses.device)[classes]

    def _binary(self, scores: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.loss.label_smoothing
        smoothed = labels * (1 - smoothing) + smoothing / 2 if smoothing else labels
        weight = None if self._weights is None else self._weights.to(scores.device)
        losses = F.binary_cross_entropy_with_logits(scores, smoothed, pos_weight=weight, reduction="none")
        if self.loss.focal_gamma is None:
            return losses
        of_label = torch.sigmoid(torch.where(labels > 0.5, scores, -scores))  # the label's probability
        return (1 - of_label).clamp_min(_LEAST) ** self.loss.focal_gamma * losses

    def described(self) -> str:
        """Return the loss in words, for the run's log."""
        parts = [f"{name} {value:g}" for name, value in self.loss if isinstance(value, float) and value]
        if self._weights is not None:
            weights = ", ".join(f"{float(weight):.3g}" for weight in self._weights[:_SHOWN])
            more = ", ..." if len(self._weights) > _SHOWN else ""
            what = "class weights" if self.task.kind in ("classes", "tokens") else "weight of positive labels"
            parts.append(f"{what} {weights}{more}")
        if self.task.sample_weight:
            parts.append(f"weights of examples in '{clean(self.task.sample_weight, 40)}', 1 on average")
        return f"{clean(self.task.name)}: training loss with {'; '.join(parts) or 'no change'}"


def objectives(tasks: tuple[TaskSpec, ...], labels: dict[str, np.ndarray]) -> dict[str, Objective]:
    """Return the training losses, by name, of the tasks that have one of their own.

    Raises:
        DataError: see `Objective`.
    """
    return {
        task.name: Objective(task, labels[task.name]) for task in tasks if task.loss is not None or task.sample_weight
    }


def _class_weights(task: TaskSpec, loss: LossSpec, labels: np.ndarray) -> list[float] | None:
    """Return each class's weight, or that of each label's positive examples; None where all count the same."""
    count = task.classes or 2
    if isinstance(loss.class_weights, tuple):
        return list(loss.class_weights)
    if isinstance(loss.pos_weight, float):
        return [loss.pos_weight] * task.outputs
    if loss.class_weights is None and loss.pos_weight is None:
        return None
    if task.kind == "multilabel":
        positive = labels.sum(axis=0)
        if not positive.all():
            raise _no_example(task, f"label {int(np.argmin(positive))}")
        return [float(weight) for weight in (len(labels) - positive) / positive]
    seen = np.bincount(labels.astype(np.int64), minlength=count)
    if not seen.all():
        raise _no_example(task, f"class {int(np.argmin(seen))}")
    if task.kind == "binary":
        return [float(seen[0] / seen[1])]
    return [float(len(labels) / (count * n)) for n in seen]


def _no_example(task: TaskSpec, what: str) -> DataError:
    return DataError(
        f"task {clean(task.name)}: balanced weights need training examples of every class, and {what} has none",
        f"set tasks.{task.name}.loss to weights of your own, or to none",
    )
