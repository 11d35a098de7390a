"""Curves over time: lists of (t_s, value) points, and their exact values, integrals and means.

The first value holds before the first point and the last one after the last. Two points at one time make a jump. The
library's C does the same sums in the same order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]
Curve = float | Points
"""A number is a constant; otherwise points in the order of time."""


def points_of(curve: Curve) -> Points:
    """Return a curve's points. Raises ValueError if there are none or they go back in time."""
    if isinstance(curve, (int, float)):
        return ((0.0, float(curve)),)
    if not curve or any(left[0] > right[0] for left, right in itertools.pairwise(curve)):
        raise ValueError(f"a curve needs points in the order of time, not {curve!r}")
    return curve


def linear_at(curve: Curve, t_s: float) -> float:
    """Return a curve's value at a time, linear between its points."""
    points = points_of(curve)
    last = _last_before(points, t_s)
    if last < 0 or last + 1 == len(points):
        return points[max(last, 0)][1]
    (t0, v0), (t1, v1) = points[last], points[last + 1]
    return v0 + (v1 - v0) * (t_s - t0) / (t1 - t0)


def step_at(curve: Curve, t_s: float) -> float:
    """Return a curve's value at a time, each point's value held until the next."""
    points = points_of(curve)
    return points[max(_last_before(points, t_s), 0)][1]


def integral_to(curve: Curve, t_s: float) -> float:
    """Return the integral of a linear curve from its first point to a time (negative before it)."""
    points = points_of(curve)
    if t_s <= points[0][0]:
        return points[0][1] * (t_s - points[0][0])
    total = 0.0
    for (t0, v0), (t1, v1) in itertools.pairwise(points):
        if t_s < t1:
            return total + (v0 + linear_at(curve, t_s)) / 2 * (t_s - t0)
        total += (v0 + v1) / 2 * (t1 - t0)
    return total + points[-1][1] * (t_s - points[-1][0])


def repeated_at(curve: Curve, period_s: float | None, t_s: float) -> float:
    """Return the value at a time of a linear curve that starts again every `period_s`; t < 0 counts as 0."""
    t_s = max(t_s, 0.0)
    return linear_at(curve, t_s if period_s is None else t_s - math.floor(t_s / period_s) * period_s)


def repeated_integral(curve: Curve, period_s: float | None, t_s: float) -> float:
    """Return the integral from 0 to a time of a linear curve that starts again every `period_s`."""
    if t_s < 0:
        return linear_at(curve, 0.0) * t_s
    start = integral_to(curve, 0.0)
    if period_s is None:
        return integral_to(curve, t_s) - start
    whole = math.floor(t_s / period_s)
    one = integral_to(curve, period_s) - start
    return whole * one + integral_to(curve, t_s - whole * period_s) - start


def _last_before(points: Points, t_s: float) -> int:
    return max((index for index, point in enumerate(points) if point[0] <= t_s), default=-1)
