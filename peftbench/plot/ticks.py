"""Tick positions and labels of an axis: steps of 1, 2 or 5 times a power of ten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from peftbench.plot.model import Range

_WIDE = 6  # maximum characters of a label without unit prefix or exponent
_LARGEST_POWER = 300  # of ten, on a logarithmic axis
_UNITS = {0: "", 3: "k", 6: "M", 9: "G"}


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick: its value, and its label in ASCII."""

    value: float
    label: str


def ticks(span: Range, most: int, integers: bool = False) -> tuple[Tick, ...]:
    """Return at most `most` ticks inside a range, ascending, with distinct labels.

    With `integers` ticks are integers only, of which a short range may have none.
    """
    best: list[Decimal] = []
    for step in _steps(span, integers):
        values = _multiples(span, step, most + 1)
        if len(values) > most:
            return _labelled(best or values[len(values) // 2 :][:1])
        best = values or best
    return _labelled(best)


def log_ticks(span: Range, most: int) -> tuple[Tick, ...]:
    """Return at most `most` ticks inside a range of decimal logarithms, labelled with the values.

    They are at 1, 2 and 5 times the powers of ten, or fewer; within a part of a decade as on a linear axis.
    """
    if max(abs(span.low), abs(span.high)) > _LARGEST_POWER:
        return ()
    exponents = range(math.floor(span.low), math.ceil(span.high) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        values = [Decimal((0, (digit,), exponent)) for exponent in exponents for digit in digits]
        inside = [value for value in values if span.low <= math.log10(value) <= span.high]
        if 2 <= len(inside) <= most:
            return tuple(Tick(math.log10(value), f"{float(value):g}") for value in inside)
    if span.high - span.low > 1:
        return tuple(Tick(tick.value, f"{10**tick.value:g}") for tick in ticks(span, most, integers=True))
    linear = ticks(Range(10**span.low, 10**span.high), most)
    return tuple(Tick(math.log10(tick.value), tick.label) for tick in linear if tick.value > 0)


def _steps(span: Range, integers: bool) -> list[Decimal]:
    """Return candidate steps, descending: from one longer than the range to one too short for any axis."""
    exponent = math.floor(math.log10(span.high - span.low)) + 1
    steps = [Decimal((0, (digit,), power)) for power in range(exponent, exponent - 6, -1) for digit in (5, 2, 1)]
    return [step for step in steps if step >= 1] if integers else steps


def _multiples(span: Range, step: Decimal, enough: int) -> list[Decimal]:
    """Return the multiples of a step inside a range, compared as floats; at most `enough`."""
    low, high = Decimal(span.low), Decimal(span.high)
    count = (low / step).to_integral_value("ROUND_FLOOR")
    multiples: list[Decimal] = []
    while len(multiples) < enough and count * step <= high + step:
        value = count * step
        if span.low <= float(value) <= span.high and (not multiples or float(value) > float(multiples[-1])):
            multiples.append(value)
        count += 1
        if float(value) == float(count * step) and not multiples:
            break  # the step is below the precision of the values
    return multiples


def _labelled(values: list[Decimal]) -> tuple[Tick, ...]:
    """Return ticks with exact labels: plain if short, else the shortest of plain, unit prefix and exponent."""
    plain = _plain(values)
    others = [*(_in_units(values, power) for power in (3, 6, 9)), _scientific(values)]
    labels = plain if _longest(plain) <= _WIDE else min((plain, *filter(None, others)), key=_longest)
    return tuple(Tick(float(value), label) for value, label in zip(values, labels, strict=True))


def _longest(labels: list[str]) -> int:
    return max(map(len, labels), default=0)


def _plain(values: list[Decimal]) -> list[str]:
    decimals = max((_decimals(value) for value in values), default=0)
    return [f"{value + 0:.{decimals}f}" for value in values]


def _in_units(values: list[Decimal], power: int) -> list[str]:
    if max(map(abs, values), default=Decimal(0)) < 10**power:
        return []
    return [text + _UNITS[power] for text in _plain([value.scaleb(-power) for value in values])]


def _scientific(values: list[Decimal]) -> list[str]:
    largest = max(map(abs, values), default=Decimal(0))
    if not largest:
        return []
    exponent = largest.adjusted()
    return [f"{text}e{exponent}" for text in _plain([value.scaleb(-exponent) for value in values])]


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
