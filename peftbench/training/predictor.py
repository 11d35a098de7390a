"""Prediction with a run's trained weights, on texts of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peftbench.data.encode import encode_texts
from peftbench.encoder import find_encoder, load_encoder, load_tokenizer
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.training.checkpoint import checkpoint_path, load_weights
from peftbench.training.evaluation import logits_of
from peftbench.training.execute import choose_device
from peftbench.training.metrics import predict as predictions_from


@dataclass(frozen=True, slots=True)
class Predicted:
    """One prediction: a class, 0/1 or a score; the probability of it where the task has classes."""

    prediction: float
    probability: float | None

    @property
    def shown(self) -> str:
        """The prediction as a person reads it."""
        return f"{self.prediction:.3f}" if self.probability is None else str(int(self.prediction))

    def as_dict(self) -> dict[str, float]:
        """The prediction as a row of JSON or csv."""
        if self.probability is None:
            return {"prediction": self.prediction}
        return {"prediction": int(self.prediction), "probability": self.probability}


def predict(
    spec: RunSpec, task: TaskSpec, texts: Sequence[tuple[str, ...]], folder: Path, epoch: int, *, own: bool
) -> list[Predicted]:
    """Predict texts with the weights of one epoch.

    Args:
        spec: the run's.
        task: whose adapters and head are used.
        texts: one or two texts each, as the task has.
        folder: the run's, with its checkpoints.
        epoch: whose weights.
        own: take the task's own best weights rather than those of the best average.

    Raises:
        MissingError: the encoder or the trained weights cannot be had.
    """
    files = find_encoder(spec.encoder)
    tokenizer = load_tokenizer(files)
    device = choose_device()
    # fp16 is a GPU's: elsewhere the same weights are multiplied in fp32
    ours = spec.model_copy(update={"precision": "fp32"}) if spec.precision == "fp16" and device.type == "cpu" else spec
    model = MultitaskModel(load_encoder(spec.encoder, files), ours)
    load_weights(model, checkpoint_path(folder, epoch, task.name if own else None), spec.hash())
    model.prepare(device)
    model.switch_mode(task.name)
    joint = spec.encoder.pair_encoding == "joint"
    split = encode_texts(texts, tokenizer, joint, spec.encoder.max_length)
    batcher = model.batcher(tokenizer.pad_token_id or 0)
    logits = logits_of(model, split, np.arange(len(texts)), spec.eval.batch_size, batcher)
    probabilities = _probabilities(task, logits)
    return [
        Predicted(float(value), None if probabilities is None else float(probabilities[i]))
        for i, value in enumerate(predictions_from(task, logits))
    ]


def _probabilities(task: TaskSpec, logits: np.ndarray) -> np.ndarray | None:
    """Return the probability of what is predicted, `[n]`; None for a similarity."""
    if task.kind == "similarity":
        return None
    if task.kind == "binary":
        return np.asarray(1 / (1 + np.exp(-np.abs(logits[:, 0].astype(np.float64)))))
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted.max(axis=1) / shifted.sum(axis=1))
