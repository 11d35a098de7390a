"""How long runs will take, judged by finished ones. Pure functions over rows; no clock and no machine is asked.

A run is judged by the nearest that there is: its own spec (other seeds); else its method on its workload; else
anything on its workload. Of another spec, wall time is taken to grow with the epochs, which overstates it where
loading is most of it. Runs on augmented data are judged by such runs alone. Runs of the same machine and device count
alone where there are any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from peftbench.analysis.elapsed import elapsed_s
from peftbench.store.rows import Run

NOTHING_YET = "no run of this workload yet to judge by"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that is planned or queued, as far as its time depends on it."""

    group_hash: str
    workload: str
    method: str
    epochs: int
    augment: str | None = None  # the method that makes new training rows

    @classmethod
    def of(cls, run: Run) -> Wanted:
        """Return what a stored run, such as a queued one, is to do."""
        return cls(run.group_hash, run.workload, run.method, run.epochs_planned, _augment(run))


@dataclass(frozen=True, slots=True)
class Predicted:
    """A run's wall time in seconds, and what it is judged by. None: there is nothing to judge by."""

    wall_s: float | None
    basis: str
    judged_by: int = 0  # finished runs


@dataclass(frozen=True, slots=True)
class Total:
    """The time of several runs one after another. With `unknown` runs among them it is a lower bound."""

    wall_s: float
    unknown: int
    runs: int

    @property
    def known(self) -> bool:
        """Whether any of the runs has a prediction."""
        return self.unknown < self.runs


@dataclass(frozen=True, slots=True)
class _Seen:
    """A finished run, and how long it took."""

    run: Run
    wall_s: float


def wall_s(run: Run) -> float | None:
    """Return how long a finished run took, in seconds, from its start to its end.

    None of any other run, and of one that was stopped and resumed: the time that it lay still is in it.
    """
    if run.state != "finished" or run.epochs_done < 1 or run.session > 1:
        return None
    return elapsed_s(run)


def forecast(wanted: Sequence[Wanted], runs: Iterable[Run], host: str | None = None) -> list[Predicted]:
    """Return a prediction for each of `wanted`, from all stored runs (the newest first, as the store lists them).

    Args:
        wanted: what is to be run.
        runs: the store's; those that did not finish are passed over.
        host: the name of the machine it is to run on, where known. Its runs count before others', and of them those on
            the device (its GPU or its CPU) that the newest of them computed on.
    """
    seen = [_Seen(run, took) for run in runs if (took := wall_s(run)) is not None]
    here = _of_this_machine(seen, host)
    found = {one: _predict(one, here) or _predict(one, seen, " of another machine") for one in set(wanted)}
    return [found[one] or Predicted(None, NOTHING_YET) for one in wanted]


def energy_wh(wanted: Sequence[Wanted], spent: Iterable[tuple[Run, float | None]]) -> tuple[float, int] | None:
    """Return the GPU energy (Wh) that runs will take, and for how many of them it can be told; None: for none.

    Args:
        wanted: what is to be run.
        spent: finished runs with the Wh of each, None where it was not measured. A run is judged by the median of its
            spec (other seeds), else of its method on its workload, scaled by epochs.
    """
    known = [(run, wh) for run, wh in spent if wh is not None and run.epochs_done]
    found: list[float] = []
    for one in wanted:
        again = [wh for run, wh in known if run.group_hash == one.group_hash]
        alike = [
            wh / run.epochs_done * one.epochs
            for run, wh in known
            if (run.workload, run.method, _augment(run)) == (one.workload, one.method, one.augment)
        ]
        if again or alike:
            found.append(median(again or alike))
    return (sum(found), len(found)) if found else None


def total(predicted: Sequence[Predicted]) -> Total:
    """Return the time of all of them, one after another."""
    known = [one.wall_s for one in predicted if one.wall_s is not None]
    return Total(sum(known), len(predicted) - len(known), len(predicted))


def _of_this_machine(seen: Sequence[_Seen], host: str | None) -> list[_Seen]:
    if host is None:
        return list(seen)
    here = [one for one in seen if one.run.worker is not None and one.run.worker.host == host]
    return [one for one in here if _device(one.run) == _device(here[0].run)]


def _device(run: Run) -> tuple[object, object]:
    return run.conditions.get("device_type"), run.conditions.get("device")


def _predict(wanted: Wanted, seen: Sequence[_Seen], where: str = "") -> Predicted | None:
    again = [one.wall_s for one in seen if one.run.group_hash == wanted.group_hash]
    if again:
        return Predicted(median(again), f"from {_runs(len(again))} of this spec{where}", len(again))
    on_it = [one for one in seen if one.run.workload == wanted.workload and _augment(one.run) == wanted.augment]
    same = [one for one in on_it if one.run.method == wanted.method]
    judged = same or on_it
    if not judged:
        return None
    wall = median(one.wall_s / one.run.epochs_done * wanted.epochs for one in judged)
    what = f"{wanted.method} on {wanted.workload}" if same else f"other methods on {wanted.workload}"
    scaled = ", scaled by epochs" if any(one.run.epochs_done != wanted.epochs for one in judged) else ""
    return Predicted(wall, f"from {_runs(len(judged))} of {what}{where}{scaled}", len(judged))


def _augment(run: Run) -> str | None:
    """Return how a run's training rows were augmented: it had several times those of a plain one."""
    augment = json.loads(run.spec_json).get("augment")
    return augment["method"] if augment else None


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"
