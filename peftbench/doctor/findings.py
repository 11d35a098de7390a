"""Results of checks. Text from external sources is sanitised on construction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from peftbench.errors import PeftbenchError
from peftbench.text import clean

State = Literal["ok", "warn", "fail", "skip"]
STATES: tuple[State, ...] = get_args(State)
_LONGEST = 400  # characters of a detail or remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's output. Create it with `ok`, `warn`, `fail` or `skip`, which sanitise the text.

    `check` is the check's name, `detail` its result, `remedy` what to do, None if nothing.
    """

    check: str
    state: State
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A named check, not yet run."""

    name: str
    look: Callable[[], Finding]


def ok(check: str, detail: str) -> Finding:
    """Return a passed check."""
    return Finding(check, "ok", clean(detail, _LONGEST))


def skip(check: str, reason: str) -> Finding:
    """Return a check that does not apply here, and why."""
    return Finding(check, "skip", clean(reason, _LONGEST))


def warn(check: str, detail: str, remedy: str) -> Finding:
    """Return a problem that makes measurements unreliable, and a remedy."""
    return Finding(check, "warn", clean(detail, _LONGEST), clean(remedy, _LONGEST))


def fail(check: str, detail: str, remedy: str) -> Finding:
    """Return a failure, and a remedy."""
    return Finding(check, "fail", clean(detail, _LONGEST), clean(remedy, _LONGEST))


def checked(check: Check) -> Finding:
    """Run a check. An exception becomes a failed check that reports it."""
    try:
        return check.look()
    except PeftbenchError as error:
        return fail(check.name, error.message, error.hint or "see docs/how-to/doctor.md")
    except Exception as error:
        return fail(
            check.name,
            f"the check itself failed with {type(error).__name__}: {error}",
            "a bug in peftbench or a library: report it with this line",
        )


def counts(findings: Iterable[Finding]) -> dict[State, int]:
    """Count the findings by state, in the order of `STATES`."""
    states = [finding.state for finding in findings]
    return {state: states.count(state) for state in STATES}
