"""Where the ticks of an axis are and what they say: steps of 1, 2 or 5 times a power of ten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from peftbench.plot.model import Range

_WIDE = 6  # characters of a label that reads at a glance without a unit
_UNITS = {0: "", 3: "k", 6: "M", 9: "G"}


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick: its value, and its label in ASCII."""

    value: float
    label: str


def ticks(span: Range, most: int, whole: bool = False) -> tuple[Tick, ...]:
    """Return at most so many ticks inside a range, ascending, no two labelled alike.

    With `whole` they are whole numbers, which a short range may have none of.
    """
    best: list[Decimal] = []
    for step in _steps(span, whole):
        values = _multiples(span, step, most + 1)
        if len(values) > most:
            return _labelled(best or values[len(values) // 2 :][:1])
        best = values or best
    return _labelled(best)


def _steps(span: Range, whole: bool) -> list[Decimal]:
    """Return steps from one that is too long for the range down to one that is too short for any axis."""
    exponent = math.floor(math.log10(span.high - span.low)) + 1
    found = [Decimal((0, (digit,), power)) for power in range(exponent, exponent - 6, -1) for digit in (5, 2, 1)]
    return [step for step in found if step >= 1] if whole else found


def _multiples(span: Range, step: Decimal, enough: int) -> list[Decimal]:
    """Return the multiples of a step inside a range, told as floats; no more of them than enough."""
    low, high = Decimal(span.low), Decimal(span.high)
    count = (low / step).to_integral_value("ROUND_FLOOR")
    found: list[Decimal] = []
    while len(found) < enough and count * step <= high + step:
        value = count * step
        if span.low <= float(value) <= span.high and (not found or float(value) > float(found[-1])):
            found.append(value)
        count += 1
        if float(value) == float(count * step) and not found:
            break  # a step that is lost in the numbers' own precision
    return found


def _labelled(values: list[Decimal]) -> tuple[Tick, ...]:
    """Return ticks written exactly: plainly where that is short, else in the shortest way there is."""
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
