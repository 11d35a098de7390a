"""What a check answers. Text from outside is clean in it by construction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from peftbench.errors import PeftbenchError
from peftbench.text import clean

State = Literal["ok", "warn", "fail", "skip"]
STATES: tuple[State, ...] = get_args(State)
_LONGEST = 400  # of a detail or remedy, in characters


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's. Make it with `ok`, `warn`, `fail` or `skip`: they clean the text.

    `check` names the check; `detail` is what was found; `remedy` what to do, None where there is nothing.
    """

    check: str
    state: State
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name, not yet made."""

    name: str
    look: Callable[[], Finding]


def ok(check: str, detail: str) -> Finding:
    """Return that all is well."""
    return Finding(check, "ok", clean(detail, _LONGEST))


def skip(check: str, why: str) -> Finding:
    """Return that the check makes no sense here, and why."""
    return Finding(check, "skip", clean(why, _LONGEST))


def warn(check: str, detail: str, remedy: str) -> Finding:
    """Return something that makes figures doubtful, and what to do."""
    return Finding(check, "warn", clean(detail, _LONGEST), clean(remedy, _LONGEST))


def fail(check: str, detail: str, remedy: str) -> Finding:
    """Return something that is broken, and what to do."""
    return Finding(check, "fail", clean(detail, _LONGEST), clean(remedy, _LONGEST))


def checked(check: Check) -> Finding:
    """Make a check. One that raises is a failed one, with what was raised."""
    try:
        return check.look()
    except PeftbenchError as error:
        return fail(check.name, error.message, error.hint or "see docs/doctor.md")
    except Exception as error:
        return fail(
            check.name,
            f"the check itself ended with {type(error).__name__}: {error}",
            "a defect of peftbench or of a library that it asks: report it with this line",
        )


def counts(findings: Iterable[Finding]) -> dict[State, int]:
    """Return how many findings there are of each state, in the order of `STATES`."""
    states = [finding.state for finding in findings]
    return {state: states.count(state) for state in STATES}
