"""A metric's value on given examples, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from peftbench.metrics.inputs import Checked, Tags, arrays, checked, not_finite
from peftbench.metrics.spans import PREDICTED, TOKENS, TRUE
from peftbench.metrics.units import Units
from peftbench.metrics.weighted import WeightedMetric

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's value; None and the reason where it is undefined."""

    name: str
    value: float | None
    reason: str | None = None


def value(name: str, labels: ArrayLike | Tags, outputs: ArrayLike | Tags) -> Metric:
    """Return the metric `name` of `outputs` against `labels`, in the shapes that its `MetricInfo.inputs` say.

    It is None, with the reason, where its formula is 0 / 0; scikit-learn mostly returns 0 with a warning there. So:

    - any metric: no examples, or labels or outputs that are infinite or NaN;
    - `f1`, and `micro_f1` and `macro_f1` of several labels an example: nothing is positive in labels and predictions;
      with positives in one of them F1 is 0. `weighted_f1` of several labels: no label is positive;
    - `macro_f1`: a class that is in neither labels nor predictions does not count. `balanced_accuracy`: a class that
      is not in the labels does not; with one class in the labels it is that class's recall;
    - `mcc`: constant predictions, or one class in the labels. `cohen_kappa`: labels and predictions are all of one and
      the same class; of other constant predictions it is 0;
    - `auroc`: one class in the labels. `average_precision`: no label is 1. Of constant outputs, AUROC is 0.5 and
      average precision the part of positives;
    - `pearson`, `spearman`: fewer than two examples, constant predictions or constant labels. `r2`: fewer than two
      examples or constant labels; or its value is beyond floating point;
    - `span_precision`: no span is predicted. `span_recall`: none is in the labels. `span_f1`: neither.
      `token_accuracy`: no tokens.

    Raises:
        ValueError: there is no such metric, or labels and outputs are not what it is computed from: `inputs.checked`.
    """
    true, given = arrays(name, labels, outputs)
    if not len(true) and not len(given):
        return Metric(name, None, "no examples")
    if (reason := not_finite(true, given)) is not None:
        return Metric(name, None, reason)
    inputs = checked(name, true, given[None] if isinstance(given, np.ndarray) else [given])
    if (reason := _undefined(inputs)) is not None:
        return Metric(name, None, reason)
    computed = float(WeightedMetric(inputs, Units(len(true))).values(np.ones((1, len(true))))[0, 0])
    if not np.isfinite(computed):
        return Metric(name, None, "its value is beyond floating point")
    return Metric(name, computed)


def _undefined(inputs: Checked) -> str | None:
    """Say why a metric of one run is undefined; None where it is not."""
    name, labels, outputs = inputs.name, inputs.labels, inputs.outputs[0]
    if inputs.input == "spans":
        return _undefined_of_spans(name, outputs.sum(axis=0))
    if inputs.input == "scores":
        return None if name in ("mae", "rmse") else _undefined_of_scores(name, labels, outputs)
    nothing_positive = not labels.any() and not outputs.any()
    if inputs.input == "indicator":
        if name == "weighted_f1" and not labels.any():
            return "no positive label: weighted F1 is not defined"
        if name in ("micro_f1", "macro_f1") and nothing_positive:
            return "no positive label and no positive prediction: F1 is not defined"
        return None
    one_label = bool((labels == labels[0]).all())
    if name == "f1" and nothing_positive:
        return "no positive label and no positive prediction: F1 is not defined"
    if name == "auroc" and one_label:
        return "only one class in the labels: AUROC is not defined"
    if name == "average_precision" and not labels.any():
        return "no positive label: average precision is not defined"
    if name == "mcc" and one_label:
        return "only one class in the labels: MCC is not defined"
    if name == "mcc" and (outputs == outputs[0]).all():
        return "constant predictions: MCC is not defined"
    if name == "cohen_kappa" and one_label and (outputs == labels[0]).all():
        return "labels and predictions are all of one class: kappa is not defined"
    return None


def _undefined_of_scores(name: str, labels: np.ndarray, outputs: np.ndarray) -> str | None:
    if len(labels) < 2:
        return "fewer than two examples"
    if name != "r2" and (outputs == outputs[0]).all():
        return "constant predictions"
    return "constant labels" if (labels == labels[0]).all() else None


def _undefined_of_spans(name: str, counts: np.ndarray) -> str | None:
    if name == "token_accuracy":
        return None if counts[TOKENS] else "no tokens"
    if name == "span_precision":
        return None if counts[PREDICTED] else "no span is predicted: precision is not defined"
    if name == "span_recall":
        return None if counts[TRUE] else "no span in the labels: recall is not defined"
    return None if counts[PREDICTED] or counts[TRUE] else "no span in the labels and none predicted: F1 is not defined"
