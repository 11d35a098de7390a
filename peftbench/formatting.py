"""Number formats, used everywhere. A missing value is a dash, never zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from peftbench.metrics import METRICS
from peftbench.text import clean

NOTHING = "–"


def score(value: float | None) -> str:
    """Format a score with three decimals, as in the study's tables; an error of 100 or more with one."""
    return NOTHING if value is None else _decimals(value, "")


def _decimals(value: float, sign: Literal["", "+"]) -> str:
    places = 1 if abs(value) >= 100 else 3
    return f"{round(value, places) + 0.0:{sign},.{places}f}"  # never -0.000


def metric(name: str) -> str:
    """Return the display name of a metric: accuracy, Pearson r; an unknown one as it is."""
    return METRICS[name].label if name in METRICS else clean(name)


def metrics(of_task: Mapping[str, str]) -> str:
    """Join metrics by their display names, each once: `accuracy`; `accuracy, Pearson r of sts`.

    The tasks of a metric follow it, but for one that most tasks have.

    Args:
        of_task: the display name of each task's metric.
    """
    tasks: dict[str, list[str]] = {}
    for task, metric_of_task in of_task.items():
        tasks.setdefault(metric_of_task, []).append(clean(task))
    usual = max(tasks, key=lambda name: len(tasks[name]), default="")
    alone = len(tasks) == 1 or (len(tasks.get(usual, ())) > 1 and 2 * len(tasks[usual]) > len(of_task))
    order = [usual, *(name for name in tasks if name != usual)] if alone else list(tasks)
    return ", ".join(name if alone and name == usual else f"{name} of {' and '.join(tasks[name])}" for name in order)


def signed(value: float) -> str:
    """Format as a score, with a sign."""
    return _decimals(value, "+")


def count(value: int | None) -> str:
    """Format a number of weights: 2,695 or 497.7k or 22.7M."""
    if value is None:
        return NOTHING
    if value < 10_000:
        return f"{value:,}"
    return f"{value / 1e3:.1f}k" if value < 999_950 else f"{value / 1e6:.1f}M"


def seconds(value: float | None) -> str:
    """Format a duration: 8.4 s, 3 min 05 s, 2 h 07 min."""
    if value is None:
        return NOTHING
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def rate(value: float | None) -> str:
    """Format steps per second: 11.6."""
    return NOTHING if value is None else f"{value:.1f}"


def mib(value: float | None) -> str:
    """Format MiB as an integer."""
    return NOTHING if value is None else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """Format milliseconds as an integer from 10 on, else with one decimal."""
    return NOTHING if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def watts(value: float | None) -> str:
    """Format watts as an integer from 10 on, else with one decimal."""
    return NOTHING if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def joules(value: float | None) -> str:
    """Format joules with three significant digits; from 10,000 on in kJ (`12.3k`)."""
    if value is None:
        return NOTHING
    return f"{_significant(value / 1e3)}k" if value >= 9_995 else _significant(value)


def measured(value: float | None, unit: str) -> str:
    """Format a meter's value as its unit is formatted: watts, joules, else as an integer."""
    return {"W": watts, "J": joules}.get(unit, mib)(value)


def watt_hours(value: float | None) -> str:
    """Format watt-hours with three significant digits."""
    return NOTHING if value is None else _significant(value)


def _significant(value: float) -> str:
    """Format with three significant digits, without an exponent."""
    magnitude = abs(value)
    decimals = 0 if magnitude >= 99.95 else 1 if magnitude >= 9.995 else 2 if magnitude >= 0.9995 else 3
    return f"{value:,.{decimals}f}"


def mib_of(count: int | None) -> str:
    """Format bytes as MiB: 0.7, 86.6, 1,253; a small positive value is `<0.1`, never 0.0."""
    if count is None:
        return NOTHING
    value = count / 2**20
    if 0 < value < 0.05:
        return "<0.1"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Format a fraction as a signed integer percentage."""
    return NOTHING if value is None else f"{round(100 * value) + 0:+d} %"


def moment(value: str | None) -> str:
    """Format a stored time to the minute, in local time."""
    if value is None:
        return NOTHING
    from datetime import datetime

    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M")


def points(value: float) -> str:
    """Format a difference of fractions in percentage points with a sign: +0.3."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def share(value: float) -> str:
    """Format a relative difference with a sign: +0.8 %, +47 %; from tenfold on as a multiple: x 456."""
    if value >= 9:
        return f"x {1 + value:,.0f}"
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:+.1f} %" if abs(rounded) < 10 else f"{100 * value:+,.0f} %"


def p_value(value: float) -> str:
    """Format a p-value with two significant digits; tiny values as a bound."""
    return "< 1e-12" if value <= 1e-12 else f"{value:.2g}"


def ranged(values: Sequence[int | None]) -> str:
    """Format the range of integers over several runs: 3, or 2-3."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return NOTHING
    return str(known[0]) if known[0] == known[-1] else f"{known[0]}-{known[-1]}"


def whole_percent(value: float) -> str:
    """Format a fraction as integer percent; values that would wrongly round to 0 or 100 become `<1 %` or `>99 %`."""
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 <= value < 1:
        return ">99 %"
    return f"{100 * value:.0f} %"
