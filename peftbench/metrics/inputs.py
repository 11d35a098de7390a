"""Labels and outputs, checked and in the form that the metrics compute with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from peftbench.metrics.registry import METRICS, Input
from peftbench.metrics.spans import span_counts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Tags = Sequence[Sequence[str]]  # of each sentence, the tag of each token

OF_TWO_CLASSES = ("f1", "auroc", "average_precision")
BY_ORDER = ("auroc", "average_precision")


@dataclass(frozen=True, slots=True)
class Checked:
    """A metric's labels and the outputs of several runs.

    `labels` [n] or [n, labels]; `outputs` [runs, n] or [runs, n, width]. For `spans`, outputs are the counts of
    `span_counts`, [runs, n, 5], and labels are not used.
    """

    name: str
    input: Input
    labels: np.ndarray
    outputs: np.ndarray


def not_finite(labels: Any, outputs: Any) -> str | None:
    """Describe how many predictions or labels are infinite or NaN; None where all are finite, or are tags."""
    for what, given in (("predictions", outputs), ("labels", labels)):
        values = given if isinstance(given, np.ndarray) else None
        if values is not None and values.dtype.kind == "f":
            count = int(np.sum(~np.isfinite(values)))
            if count:
                return f"{count:,} of {values.size:,} {what} are not finite numbers"
    return None


def arrays(name: str, labels: ArrayLike | Tags, outputs: Any) -> tuple[Any, Any]:
    """Return labels and outputs as arrays; tags as they are.

    Raises:
        ValueError: there is no such metric, or labels or outputs are not arrays of numbers.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric '{name}'; there are: {', '.join(METRICS)}")
    if METRICS[name].inputs == ("spans",):
        return labels, outputs
    pair = np.asarray(labels), np.asarray(outputs)
    if not pair[0].ndim or not pair[1].ndim:
        raise ValueError("labels and outputs must be arrays")
    if any(each.dtype.kind not in "biuf" for each in pair):
        raise ValueError(f"labels and outputs of {name} must be numbers")
    return pair


def checked(name: str, labels: Any, outputs: Any) -> Checked:
    """Return what `name` is computed from, checked; `outputs` has an axis of runs in front.

    Raises:
        ValueError: shapes do not match, a class index is not a whole number from 0, a metric of two classes has others,
            an indicator is not 0 or 1, a probability is outside 0 to 1 or those of an example do not sum to 1, or tags
            are neither BIO nor BIOES.
    """
    inputs = METRICS[name].inputs
    if inputs == ("spans",):
        counts = [span_counts(labels, run) for run in outputs]
        return Checked(name, "spans", np.zeros(len(labels)), np.stack(counts))
    if labels.ndim == 2 and "indicator" in inputs:
        _same(labels.shape, outputs.shape[1:])
        return Checked(name, "indicator", _indicator(labels, "labels"), _indicator(outputs, "predictions"))
    if labels.ndim != 1:
        raise ValueError(f"labels of {name} must be [n]; they are {list(labels.shape)}")
    if "scores" in inputs:
        _same(labels.shape, outputs.shape[1:])
        return Checked(name, "scores", labels.astype(np.float64), outputs.astype(np.float64))
    if "classes" in inputs:
        _same(labels.shape, outputs.shape[1:])
        classes, predicted = _classes(labels, "labels"), _classes(outputs, "predictions")
        if name in OF_TWO_CLASSES:
            _two_classes(name, classes, predicted)
        return Checked(name, "classes", classes, predicted)
    if "probabilities" in inputs:
        return _probabilities(name, _classes(labels, "labels"), outputs.astype(np.float64))
    raise ValueError(f"labels of {name} must be [n, labels]; they are {list(labels.shape)}")


def _same(labels: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    if labels != outputs:
        raise ValueError(f"labels {list(labels)} and outputs {list(outputs)} of a run must have the same shape")


def _classes(values: np.ndarray, what: str) -> np.ndarray:
    whole_numbers = values.astype(np.int64)
    if values.size and ((whole_numbers != values).any() or whole_numbers.min() < 0):
        raise ValueError(f"{what} must be class indices: whole numbers from 0")
    return whole_numbers


def _indicator(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"{what} of several labels an example must be 0 or 1")
    return values.astype(bool)


def _two_classes(name: str, *values: np.ndarray) -> None:
    if any(each.size and each.max() > 1 for each in values):
        raise ValueError(f"{name} is of two classes, 0 and 1")


def _probabilities(name: str, labels: np.ndarray, outputs: np.ndarray) -> Checked:
    if outputs.ndim == 2 or name in BY_ORDER:
        _same(labels.shape, outputs.shape[1:])
        _two_classes(name, labels)
    else:
        _same(labels.shape, outputs.shape[1:-1])
        if labels.size and labels.max() >= outputs.shape[-1]:
            raise ValueError(f"a label is {labels.max()}, but outputs have {outputs.shape[-1]} classes")
    if name not in BY_ORDER and outputs.size:
        if outputs.min() < 0 or outputs.max() > 1:
            raise ValueError(f"outputs must be probabilities, 0 to 1; they are {outputs.min():g} to {outputs.max():g}")
        if outputs.ndim == 3 and np.abs(outputs.sum(axis=-1) - 1).max() > 1e-3:
            raise ValueError("the probabilities of an example must sum to 1")
    return Checked(name, "probabilities", labels, outputs)
