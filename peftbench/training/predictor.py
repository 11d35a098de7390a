"""Prediction with a run's trained weights on given texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peftbench.analysis.input_lengths import total
from peftbench.data.content import content_of
from peftbench.data.encode import encode_texts
from peftbench.data.standardise import recorded_scale
from peftbench.data.words import recorded_tags
from peftbench.encoder import find_encoder, load_encoder, load_tokenizer, padding_of
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.spec.stored import hashes
from peftbench.store.conditions import InputLengths
from peftbench.store.rows import Label
from peftbench.tasks import TaskSpec
from peftbench.training.device import choose_device
from peftbench.training.evaluation import logits_of
from peftbench.training.inputs import RecordedInputs
from peftbench.training.metrics import label_sets, probabilities
from peftbench.training.metrics import predict as predictions_from
from peftbench.training.threshold import threshold_of
from peftbench.training.weights import load_weights, weights_path


@dataclass(frozen=True, slots=True)
class TextPrediction:
    """One prediction: a class, 0/1 or a score; of several labels the indices of those it has; of tokens the tags.

    `probability`: of the predicted class, of each label, or None for scores and tokens.
    """

    prediction: Label
    probability: float | tuple[float, ...] | None

    @property
    def number(self) -> float:
        """The prediction of a task with one label an example."""
        assert not isinstance(self.prediction, tuple), "a prediction of several labels"
        return self.prediction

    def as_dict(self) -> dict[str, Any]:
        """The prediction as a row of JSON or CSV."""
        if isinstance(self.prediction, tuple):
            sure = {"probability": list(self.probability)} if isinstance(self.probability, tuple) else {}
            return {"prediction": list(self.prediction), **sure}
        if self.probability is None:
            return {"prediction": self.prediction}
        return {"prediction": int(self.prediction), "probability": self.probability}


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions in the order of their texts.

    lengths: how many inputs were too long.
    empty: the number of inputs without any piece, all of which have the same prediction.
    """

    rows: list[TextPrediction]
    lengths: InputLengths
    empty: int = 0


class Predictor:
    """A run's model with the weights of one epoch: loaded once, used for any number of texts.

    Args:
        spec: the run's spec.
        task: the task whose adapters and head are used.
        folder: the run's folder, with its checkpoints.
        epoch: the epoch of the weights.
        own: use the task's own best weights instead of those of the best average.
        recorded: hashes of the run's inputs.

    Raises:
        MissingError: the encoder or the trained weights cannot be found or loaded.
        ChangedError: they differ from those of the run.
    """

    def __init__(
        self, spec: RunSpec, task: TaskSpec, folder: Path, epoch: int, *, own: bool, recorded: RecordedInputs
    ) -> None:
        files = find_encoder(spec.encoder)
        recorded.check_encoder(files)
        weights = weights_path(folder, epoch, task.name if own else None)
        recorded.check_weights(weights)
        self._spec, self._task, self._scale = spec, task, recorded_scale(task, recorded.conditions)
        self._threshold = threshold_of(task, recorded.conditions, epoch)
        self._tags = recorded_tags(task, recorded.conditions)
        self._tokenizer = load_tokenizer(files)
        device = choose_device()
        # fp16 needs a GPU; on the CPU the same weights are multiplied in fp32
        fp32 = spec.precision == "fp16" and device.type == "cpu"
        ours = spec.model_copy(update={"precision": "fp32"}) if fp32 else spec
        self._model = MultitaskModel(load_encoder(spec.encoder, files), ours)
        load_weights(self._model, weights, {known for known, _ in hashes(spec)})
        self._model.prepare(device)
        self._model.switch_mode(task.name)
        self._batcher = self._model.batcher(padding_of(self._tokenizer))

    def __call__(self, texts: Sequence[tuple[str, ...]]) -> Predictions:
        """Predict texts, one or two for each input as the task has."""
        if not texts:
            return Predictions([], total(()))
        encoder = self._spec.encoder
        joint = encoder.pair_encoding == "joint"
        split = encode_texts(texts, self._tokenizer, joint, encoder.max_length, self._tags, encoder.stride)
        rows = np.arange(len(texts))
        logits = logits_of(self._model, split, rows, self._spec.eval.batch_size, self._batcher)
        values, of_labels = predictions_from(self._task, logits, self._threshold), probabilities(self._task, logits)
        made: Sequence[Label]
        sure: Sequence[float | tuple[float, ...] | None] = [None] * len(texts)
        if split.words is not None:
            made = split.words.tagged(rows, values)
        elif self._task.kind == "multilabel":
            made, sure = label_sets(values), [tuple(row) for row in np.asarray(of_labels).tolist()]
        else:
            made = self._scale.restored(values).tolist()
            if of_labels is not None:
                sure = (np.maximum(of_labels, 1 - of_labels) if of_labels.ndim == 1 else of_labels.max(axis=1)).tolist()
        predicted = [TextPrediction(*pair) for pair in zip(made, sure, strict=True)]
        content = content_of(split.parts, self._tokenizer, joint and self._task.is_pair)
        return Predictions(predicted, split.input_lengths, content.empty)


def predict(
    spec: RunSpec,
    task: TaskSpec,
    texts: Sequence[tuple[str, ...]],
    folder: Path,
    epoch: int,
    *,
    own: bool,
    recorded: RecordedInputs,
) -> list[TextPrediction]:
    """Predict texts with the weights of one epoch: see `Predictor`."""
    return Predictor(spec, task, folder, epoch, own=own, recorded=recorded)(texts).rows
