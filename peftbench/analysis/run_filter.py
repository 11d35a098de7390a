"""Filter expressions over runs: `method:dora rank>=12 state:failed tag:baseline -sweep:old words`.

Terms are joined by "and". A term is a word, which must occur in a run's name, id, state, method, preset, workload,
sweep, tags or note (or be its name with letters and numbers left out: `lr12` finds `lora-r12`); or it is a field, an
operator and a value:

    :   text: contains; number: equals          =  !=          <  <=  >  >=   (numbers only)

Fields are those of `FIELDS` and every key of a spec, by its last part (`rank`, `lr`) or more of it (`method.rank`). A
term with `-` in front must not hold.
"""

from __future__ import annotations

import json
import operator
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from peftbench.analysis.settings import flat
from peftbench.errors import UsageError, did_you_mean
from peftbench.renames import current_spec
from peftbench.store.rows import Run
from peftbench.text import clean

_TERM = re.compile(r"(-?)([A-Za-z_][\w.]*)(<=|>=|!=|:|=|<|>)(.*)", re.DOTALL)
_ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_PARTS = re.compile(r"\d+|\D")
_FUZZY_FROM = 3  # letters of a word from which some may be left out
_SYNTAX = "such as: method:dora rank>=12 state:failed tag:baseline"

FIELDS: Mapping[str, Callable[[Run, str], Any]] = {
    "name": lambda run, _: run.name,
    "id": lambda run, _: run.id,
    "state": lambda _, state: state,
    "method": lambda run, _: run.method,
    "preset": lambda run, _: run.preset,
    "workload": lambda run, _: run.workload,
    "encoder": lambda run, _: run.encoder,
    "sweep": lambda run, _: run.sweep or "",
    "tag": lambda run, _: run.tags,
    "note": lambda run, _: run.note or "",
    "seed": lambda run, _: run.seed,
    "score": lambda run, _: run.dev_avg,
    "epoch": lambda run, _: run.epochs_done,
    "best_epoch": lambda run, _: run.best_epoch,
    "weights": lambda run, _: run.weights_trainable,
    "failure": lambda run, _: run.failure or "",
    "created": lambda run, _: run.created_at,
}


@dataclass(frozen=True, slots=True)
class _Term:
    """A field, an operator and a value; of a word alone the field is empty."""

    field: str
    sign: str
    value: str
    number: float | None
    negated: bool

    def holds(self, run: Run, state: str) -> bool:
        return self._found(run, state) is not self.negated

    def _found(self, run: Run, state: str) -> bool:
        if not self.field:
            return _has_word(run, state, self.value)
        values = _values(run, state, self.field)
        if self.sign == "!=":
            return not any(self._is(value) for value in values)
        return any(self._is(value) if self.sign == "=" else self._fits(value) for value in values)

    def _is(self, value: Any) -> bool:
        if self.number is not None and _is_number(value):
            return float(value) == self.number
        return _text(value) == self.value

    def _fits(self, value: Any) -> bool:
        if self.sign == ":":
            return self._is(value) if _is_number(value) else self.value in _text(value)
        if self.number is None or not _is_number(value):
            return False
        return bool(_ORDERED[self.sign](value, self.number))


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A parsed filter expression; an empty one matches every run."""

    terms: tuple[_Term, ...]

    def matches(self, run: Run, state: str) -> bool:
        """Tell whether a run matches.

        Args:
            run: the run.
            state: its state as shown (`jobs.liveness.state_shown`).
        """
        return all(term.holds(run, state) for term in self.terms)

    def unknown(self, runs: list[Run]) -> str | None:
        """Return why a field cannot be of any of the runs, in words; None where all are known, or there are no runs."""
        known = {key for run in runs for key in _by_part(run.spec_json)}
        for term in self.terms:
            if runs and term.field and term.field not in FIELDS and term.field not in known:
                choices = [*FIELDS, *sorted(key for key in known if "." not in key)]
                return f"no field '{clean(term.field, 40)}'{did_you_mean(term.field, choices)}"
        return None


def parsed(text: str) -> RunQuery:
    """Return the filter of an expression.

    Raises:
        UsageError: it cannot be read; the message names the term.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(
            f"filter '{clean(text, 80)}': {error}", "quote values that contain spaces: note:'a b'"
        ) from error
    return RunQuery(tuple(_term(word) for word in words if word != "-"))


def _term(word: str) -> _Term:
    match = _TERM.fullmatch(word)
    if match is None:
        negated = word.startswith("-") and len(word) > 1
        return _Term("", "", word.removeprefix("-").lower() if negated else word.lower(), None, negated)
    minus, field, sign, value = match.groups()
    number = _number(value)
    if not value:
        raise UsageError(f"filter '{clean(word, 60)}': it has no value after '{sign}'", _SYNTAX)
    if number is None and sign in _ORDERED:
        raise UsageError(f"filter '{clean(word, 60)}': '{clean(value, 40)}' is not a number", _SYNTAX)
    return _Term(field.lower(), sign, value.lower(), number, bool(minus))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return "none" if value is None else str(value).lower()


def _values(run: Run, state: str, field: str) -> tuple[Any, ...]:
    """Return a run's values of a field: several where several keys, or tags, have that name."""
    if field in FIELDS:
        value = FIELDS[field](run, state)
        return value if isinstance(value, tuple) else (value,)
    return _by_part(run.spec_json).get(field, ())


@lru_cache(maxsize=4096)
def _by_part(spec_json: str) -> Mapping[str, tuple[Any, ...]]:
    """Return the values of a spec by each ending of their keys: `train.lr` by `train.lr` and `lr`."""
    found: dict[str, tuple[Any, ...]] = {}
    for key, value in flat(current_spec(json.loads(spec_json))).items():
        parts = key.lower().split(".")
        values = tuple(value) if isinstance(value, list) else (value,)
        for start in range(len(parts)):
            ending = ".".join(parts[start:])
            found[ending] = (*found.get(ending, ()), *values)
    return found


def _has_word(run: Run, state: str, word: str) -> bool:
    fields = (run.name, run.id, state, run.method, run.preset, run.workload, run.sweep or "", *run.tags, run.note or "")
    if word in " ".join(fields).lower():
        return True
    return len(word) >= _FUZZY_FROM and _in_order(word, run.name.lower())


def _in_order(word: str, text: str) -> bool:
    """Tell whether the letters and whole numbers of a word occur in a text in their order, with others in between."""
    parts = iter(_PARTS.findall(text))
    return all(part in parts for part in _PARTS.findall(word))
