"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from peftbench.metrics.inputs import Tags, arrays, checked
from peftbench.metrics.spans import spans_by_type

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class's scores, 0 to 1.

    `precision` is None where the class is never predicted, `recall` where it is not in the labels, `f1` where neither.
    `support` and `predicted`: how often it is in labels and predictions.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


def per_class(labels: ArrayLike, predictions: ArrayLike, classes: int | Sequence[str]) -> list[ClassRow]:
    """Return a row for each of `classes`, their number or their names in order of their indices.

    `labels` and `predictions` are class indices [n], or 0/1 for each label [n, classes].

    Raises:
        ValueError: shapes do not match, or there are values beyond the classes.
    """
    names = [str(at) for at in range(classes)] if isinstance(classes, int) else list(classes)
    given, guessed = arrays("macro_f1", labels, predictions)
    inputs = checked("macro_f1", given, guessed[None])
    true, predicted = inputs.labels, inputs.outputs[0]
    if inputs.input == "indicator":
        if true.shape[1] != len(names):
            raise ValueError(f"labels have {true.shape[1]} columns for {len(names)} classes")
        sums = [each.sum(axis=0) for each in (true & predicted, true, predicted)]
    else:
        if true.size and max(true.max(), predicted.max()) >= len(names):
            raise ValueError(f"a class index is {max(true.max(), predicted.max())}, of {len(names)} classes")
        right = true[true == predicted]
        sums = [np.bincount(each, minlength=len(names)) for each in (right, true, predicted)]
    return [_row(name, int(a), int(b), int(c)) for name, a, c, b in zip(names, *sums, strict=True)]


def per_span_type(labels: Tags, predictions: Tags) -> list[ClassRow]:
    """Return a row for each type of span in labels or predictions, in order of their names.

    Raises:
        ValueError: as `spans.span_counts`.
    """
    return [_row(name, *counts) for name, counts in spans_by_type(labels, predictions).items()]


def _row(name: str, right: int, predicted: int, support: int) -> ClassRow:
    return ClassRow(
        name,
        right / predicted if predicted else None,
        right / support if support else None,
        2 * right / (predicted + support) if predicted + support else None,
        support,
        predicted,
    )
