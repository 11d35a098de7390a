"""How figures are written: one way everywhere. What does not exist is a dash, never a zero."""

from __future__ import annotations

from collections.abc import Sequence

from peftbench.text import clean

NOTHING = "–"


def score(value: float | None) -> str:
    """Three decimals, as the study's tables have them."""
    return NOTHING if value is None else f"{value:.3f}"


def metric(name: str) -> str:
    """What a metric is called: accuracy, Pearson r."""
    return {"pearson": "Pearson r"}.get(name, clean(name))


def signed(value: float) -> str:
    """Three decimals with their sign."""
    return f"{round(value, 3) + 0.0:+.3f}"  # never -0.000


def count(value: int | None) -> str:
    """A number of weights: 2,695 or 497.7k or 22.7M."""
    if value is None:
        return NOTHING
    if value < 10_000:
        return f"{value:,}"
    return f"{value / 1e3:.1f}k" if value < 999_950 else f"{value / 1e6:.1f}M"


def seconds(value: float | None) -> str:
    """8.4 s, 3 min 05 s, 2 h 07 min."""
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
    """Steps a second: 11.6."""
    return NOTHING if value is None else f"{value:.1f}"


def mib(value: float | None) -> str:
    """Whole mebibytes."""
    return NOTHING if value is None else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """Whole milliseconds from 10 on, else one decimal."""
    return NOTHING if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def watts(value: float | None) -> str:
    """Whole watts from 10 on, else one decimal."""
    return NOTHING if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def joules(value: float | None) -> str:
    """Three significant digits, in J, kJ from 10,000 on."""
    if value is None:
        return NOTHING
    return f"{_significant(value / 1e3)}k" if value >= 9_995 else _significant(value)


def watt_hours(value: float | None) -> str:
    """Three significant digits."""
    return NOTHING if value is None else _significant(value)


def _significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    magnitude = abs(value)
    decimals = 0 if magnitude >= 99.95 else 1 if magnitude >= 9.995 else 2 if magnitude >= 0.9995 else 3
    return f"{value:,.{decimals}f}"


def mib_of(count: int | None) -> str:
    """Bytes as mebibytes: 0.7, 86.6, 1,253; what is there is never 0.0."""
    if count is None:
        return NOTHING
    value = count / 2**20
    if 0 < value < 0.05:
        return "<0.1"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Whole percent with their sign."""
    return NOTHING if value is None else f"{round(100 * value) + 0:+d} %"


def moment(value: str | None) -> str:
    """A stored time to the minute, in local time."""
    if value is None:
        return NOTHING
    from datetime import datetime

    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M")


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign: +0.3."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def share(value: float) -> str:
    """A relative difference with its sign: +0.8 %, +47 %; from ten times as much on the multiple: x 456."""
    if value >= 9:
        return f"x {1 + value:,.0f}"
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:+.1f} %" if abs(rounded) < 10 else f"{100 * value:+,.0f} %"


def p_value(value: float) -> str:
    """Two significant digits; tiny ones as a bound."""
    return "< 1e-12" if value <= 1e-12 else f"{value:.2g}"


def ranged(values: Sequence[int | None]) -> str:
    """Whole numbers of several runs: 3, or 2-3."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return NOTHING
    return str(known[0]) if known[0] == known[-1] else f"{known[0]}-{known[-1]}"


def whole_percent(value: float) -> str:
    """A share in whole percent, never 0 or 100 of what is neither."""
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 <= value < 1:
        return ">99 %"
    return f"{100 * value:.0f} %"
