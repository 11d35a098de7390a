"""How a run is evaluated after each epoch, and within it: `every` so many steps, parts of an epoch, or seconds."""

from __future__ import annotations

import re
from math import ceil

from pydantic import Field, field_validator

from peftbench.tasks import Part

_EVERY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|s|min)?\s*")


def interval(every: int | str) -> tuple[float, str]:
    """Return a value of `eval.every` as a number, and its unit: `steps`, `%` of a task's epoch, or `s`.

    Raises:
        ValueError: it is none of these, or out of range.
    """
    match = _EVERY.fullmatch(str(every))
    if match is None:
        raise ValueError(f"expected steps (500), a part of an epoch ('25%') or a time ('90s', '5min'), not '{every}'")
    number, unit = float(match[1]), match[2] or "steps"
    if unit == "min":
        number, unit = 60 * number, "s"
    if unit == "steps" and (number < 1 or number != int(number)):
        raise ValueError(f"{every}: the number of steps must be a whole number of at least 1")
    if unit == "%" and not 0 < number <= 100:
        raise ValueError(f"{every}: a part of an epoch is above 0 and at most 100 %")
    if unit == "s" and number < 1:
        raise ValueError(f"{every}: at least one second")
    return number, unit


def steps_between(every: int | str, steps: int) -> int | None:
    """Return the steps from one evaluation to the next, for a task of `steps` an epoch; None where time decides."""
    number, unit = interval(every)
    if unit == "s":
        return None
    return int(number) if unit == "steps" else max(1, ceil(steps * number / 100))


def evaluations(every: int | str | None, steps: int) -> int:
    """Return how many evaluations an epoch of a task has; 0 where time decides, which is not known before."""
    between = None if every is None else steps_between(every, steps)
    return 0 if between is None else max(steps - 1, 0) // between


class EvalSpec(Part):
    """Evaluation after each epoch: the whole dev split and a fixed sample of the training split."""

    batch_size: int = Field(64, ge=1, le=4096)
    train_examples: int = Field(
        1000, ge=2, description="training examples evaluated for the train curve, the same ones every epoch"
    )
    every: int | str | None = Field(
        None,
        description="also evaluate within an epoch, for the curves: every so many steps of a task (500), parts of its "
        "epoch ('25%') or seconds ('90s', '5min'); such a score never chooses an epoch. None: only after each epoch",
    )
    dev_examples: int | None = Field(
        500, ge=2, description="dev examples evaluated within an epoch, the same ones every time; None: all"
    )

    @field_validator("every")
    @classmethod
    def _every_can_be_read(cls, every: int | str | None) -> int | str | None:
        if every is not None:
            interval(every)
        return every
