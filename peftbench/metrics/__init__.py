"""Metrics of sentence and token tasks: their definitions, values, and values over resampled examples.

`METRICS` describes them, `metrics_for` says which apply to a kind of task; both are light. What computes is in modules
that need numpy: `value` (one value, or the reason why there is none), `weighted` (all runs on many resamples),
`per_class` and `spans`.
"""

from __future__ import annotations

from peftbench.metrics.registry import (
    METRICS,
    Input,
    MetricInfo,
    TaskKind,
    averaged,
    headline_for,
    metrics_for,
    sign_of,
)

__all__ = ["METRICS", "Input", "MetricInfo", "TaskKind", "averaged", "headline_for", "metrics_for", "sign_of"]
