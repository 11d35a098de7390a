"""Which metrics there are, what each means, and which apply to which kind of task. Needs no numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Input = Literal["classes", "probabilities", "scores", "indicator", "spans"]
TaskKind = Literal["classes", "binary", "similarity", "regression", "multilabel", "tokens"]


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric is.

    `inputs`: what it is computed from; several where it is defined for several shapes of labels:

    - `classes`: labels and predictions are class indices, `[n]`;
    - `probabilities`: labels are class indices; outputs are the probability of class 1, `[n]`, or of each class,
      `[n, classes]`. AUROC and average precision, which use only the order of outputs, take any numbers, `[n]`;
    - `scores`: labels and predictions are real numbers, `[n]`;
    - `indicator`: labels and predictions are 0/1 for each label, `[n, labels]`;
    - `spans`: labels and predictions are a sequence of tags (BIO or BIOES) for each sentence.

    `low` and `high`: the bounds of its values.
    """

    name: str
    label: str  # for display
    inputs: tuple[Input, ...]
    low: float
    high: float
    definition: str
    source: str
    higher_is_better: bool = True

    @property
    def sign(self) -> int:
        """Return 1 where higher is better, -1 where lower is."""
        return 1 if self.higher_is_better else -1

    @property
    def of_probabilities(self) -> bool:
        """Whether it is computed from probabilities, not from predicted labels."""
        return self.inputs == ("probabilities",)


_C: tuple[Input, ...] = ("classes",)
_CI: tuple[Input, ...] = ("classes", "indicator")
_P: tuple[Input, ...] = ("probabilities",)
_S: tuple[Input, ...] = ("scores",)
_T: tuple[Input, ...] = ("spans",)

_ALL = (
    MetricInfo("accuracy", "accuracy", _C, 0, 1, "part of the examples whose class is right", "correct / n"),
    MetricInfo(
        "balanced_accuracy", "balanced accuracy", _C, 0, 1,
        "mean recall of the classes that occur in the labels", "Brodersen et al. 2010; as in scikit-learn",
    ),
    MetricInfo(
        "macro_f1", "macro F1", _CI, 0, 1,
        "mean F1 of the classes that occur in labels or predictions", "mean of 2TP / (2TP + FP + FN)",
    ),
    MetricInfo(
        "micro_f1", "micro F1", _CI, 0, 1,
        "F1 of TP, FP and FN summed over classes; with one class an example it equals accuracy",
        "2 sum(TP) / (2 sum(TP) + sum(FP) + sum(FN))",
    ),
    MetricInfo(
        "weighted_f1", "weighted F1", _CI, 0, 1,
        "mean F1 of the classes, weighted by how often each occurs in the labels", "sum(support * F1) / sum(support)",
    ),
    MetricInfo("f1", "F1", _C, 0, 1, "F1 of class 1", "2TP / (2TP + FP + FN); van Rijsbergen 1979"),
    MetricInfo(
        "mcc", "MCC", _C, -1, 1,
        "correlation of labels and predicted classes (for more than two classes Gorodkin's R_K)",
        "Matthews 1975; Gorodkin 2004",
    ),
    MetricInfo(
        "cohen_kappa", "Cohen's kappa", _C, -1, 1,
        "agreement of labels and predictions beyond chance, unweighted", "(p_o - p_e) / (1 - p_e); Cohen 1960",
    ),
    MetricInfo(
        "auroc", "AUROC", _P, 0, 1,
        "probability that an example of class 1 has a higher output than one of class 0, a tie counting half",
        "Mann-Whitney U / (positives * negatives); Hanley and McNeil 1982",
    ),
    MetricInfo(
        "average_precision", "average precision", _P, 0, 1,
        "mean over the examples of class 1 of the precision at their output as threshold, not interpolated",
        "sum of (R_k - R_(k-1)) P_k; as in scikit-learn",
    ),
    MetricInfo(
        "brier", "Brier score", _P, 0, 2,
        "mean squared error of the probability of class 1, or of more classes than two its sum over classes (up to 2)",
        "Brier 1950; halved for two classes, as in scikit-learn", higher_is_better=False,
    ),
    MetricInfo(
        "ece", "ECE", _P, 0, 1,
        "mean distance of accuracy and confidence in 15 bins of confidence of equal width, weighted by their sizes",
        "Guo et al. 2017, equation 3", higher_is_better=False,
    ),
    MetricInfo("pearson", "Pearson r", _S, -1, 1, "linear correlation of labels and predictions", "Pearson 1895"),
    MetricInfo(
        "spearman", "Spearman rho", _S, -1, 1,
        "Pearson r of the ranks, tied values having their mean rank", "Spearman 1904",
    ),
    MetricInfo(
        "r2", "R2", _S, -math.inf, 1,
        "part of the labels' variance that predictions explain; negative where they are worse than the labels' mean",
        "1 - sum (y - f)^2 / sum (y - mean(y))^2",
    ),
    MetricInfo(
        "mae", "MAE", _S, 0, math.inf, "mean absolute error", "mean |y - f|", higher_is_better=False,
    ),
    MetricInfo(
        "rmse", "RMSE", _S, 0, math.inf, "root of the mean squared error", "sqrt(mean (y - f)^2)",
        higher_is_better=False,
    ),
    MetricInfo(
        "span_f1", "span F1", _T, 0, 1,
        "micro F1 of spans; a predicted span counts where its type, start and end are right",
        "conlleval (Tjong Kim Sang and De Meulder 2003); seqeval's default mode",
    ),
    MetricInfo(
        "span_precision", "span precision", _T, 0, 1, "part of the predicted spans that are right", "as span F1"
    ),
    MetricInfo("span_recall", "span recall", _T, 0, 1, "part of the labels' spans that are found", "as span F1"),
    MetricInfo("token_accuracy", "token accuracy", _T, 0, 1, "part of the tokens whose tag is right", "right / tokens"),
    MetricInfo(
        "exact_match", "exact match", ("indicator",), 0, 1,
        "part of the examples all of whose labels are right (subset accuracy)", "all labels correct / n",
    ),
)  # fmt: skip

METRICS: dict[str, MetricInfo] = {info.name: info for info in _ALL}

_OF_CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc", "cohen_kappa")
_KINDS: dict[TaskKind, tuple[str, ...]] = {
    "classes": (*_OF_CLASSES, "brier", "ece"),
    "binary": (*_OF_CLASSES, "f1", "auroc", "average_precision", "brier", "ece"),
    "similarity": ("pearson", "spearman", "r2", "mae", "rmse"),
    "regression": ("r2", "pearson", "spearman", "mae", "rmse"),
    "multilabel": ("micro_f1", "macro_f1", "weighted_f1", "exact_match"),
    "tokens": ("span_f1", "span_precision", "span_recall", "token_accuracy"),
}


def metrics_for(kind: TaskKind) -> tuple[str, ...]:
    """Return the names of the metrics that apply to a kind of task; the first is its headline where none is chosen.

    Each of the first is unitless and higher is better, so that a mean over tasks has a meaning: R2 for regression.
    F1 averaged over examples is left out: it has no agreed value for an example without labels and predictions.
    """
    return _KINDS[kind]


def headline_for(kind: TaskKind) -> str:
    """Return the name of the metric that stands for a kind of task where none is chosen."""
    return _KINDS[kind][0]


def sign_of(metric: str) -> int:
    """Return -1 for a metric of which lower values are better, 1 for others and for a mean of metrics."""
    return METRICS[metric].sign if metric in METRICS else 1


def averaged(metrics: Mapping[str, str]) -> tuple[str, ...]:
    """Return the tasks whose headline metrics enter the average of a run: those of which higher values are better.

    A single task is its own average, whatever its metric; of several tasks of errors alone there is none.

    Args:
        metrics: each task's headline metric.
    """
    return tuple(metrics) if len(metrics) == 1 else tuple(task for task, name in metrics.items() if sign_of(name) > 0)
