"""Predicted duration and energy of runs, from finished ones. Pure functions over rows, without clock or machine.

A run is predicted from the most similar finished runs: its own spec (other seeds); else its method on its workload;
else any method on its workload. For another spec, wall time is scaled by the epochs, which overestimates it where
loading takes most of it. Runs on augmented data are predicted from such runs only. Runs of the same machine and device
take precedence over all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from peftbench.analysis.cost import elapsed_s
from peftbench.store.rows import Run

NOTHING_YET = "no finished run of this workload to predict from"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What the duration of a planned or queued run depends on."""

    group_hash: str
    workload: str
    method: str
    epochs: int
    augment: str | None = None  # the method that makes new training rows

    @property
    def key(self) -> tuple[str, str, str]:
        """Keys by which the store looks up runs to predict from: group hash, workload, method."""
        return self.group_hash, self.workload, self.method

    @classmethod
    def of(cls, run: Run) -> PlannedRun:
        """Return what the duration of a stored run, such as a queued one, depends on."""
        return cls(run.group_hash, run.workload, run.method, run.epochs_planned, _augment(run))


@dataclass(frozen=True, slots=True)
class RunForecast:
    """A run's predicted wall time in seconds, and its basis; None where there is nothing to predict from."""

    wall_s: float | None
    basis: str
    judged_by: int = 0  # number of finished runs


@dataclass(frozen=True, slots=True)
class Total:
    """Total time of runs in sequence. With `unknown` runs among them it is a lower bound."""

    wall_s: float
    unknown: int
    runs: int

    @property
    def known(self) -> bool:
        """Whether any of the runs has a prediction."""
        return self.unknown < self.runs


@dataclass(frozen=True, slots=True)
class _Seen:
    """A finished run and its duration."""

    run: Run
    wall_s: float


def wall_s(run: Run) -> float | None:
    """Return a finished run's duration in seconds, from its start to its end.

    None for any other run, and for one that was stopped and resumed: that includes the time between.
    """
    if run.state != "finished" or run.epochs_done < 1 or run.attempt > 1:
        return None
    return elapsed_s(run)


def forecast(wanted: Sequence[PlannedRun], runs: Iterable[Run], host: str | None = None) -> list[RunForecast]:
    """Return a prediction for each of `wanted`, from stored runs (newest first, as the store lists them).

    Args:
        wanted: the runs to predict.
        runs: candidates of the store (`Reader.judging`); those that did not finish are ignored.
        host: the name of the machine they will run on, where known. Its runs take precedence over others', and of them
            those on the device (its GPU or its CPU) of the newest.
    """
    seen = [_Seen(run, took) for run in runs if (took := wall_s(run)) is not None]
    here = _of_this_machine(seen, host)
    predictions = {
        request: _predict(request, here) or _predict(request, seen, " on another machine") for request in set(wanted)
    }
    return [predictions[request] or RunForecast(None, NOTHING_YET) for request in wanted]


def energy_wh(wanted: Sequence[PlannedRun], spent: Iterable[tuple[Run, float | None]]) -> tuple[float, int] | None:
    """Return the GPU energy (Wh) that runs will take, and how many of them it covers; None where it covers none.

    Args:
        wanted: the runs to predict.
        spent: finished runs with the Wh of each, None where not measured. A run is predicted by the median of its
            spec (other seeds), else of its method on its workload, scaled by epochs.
    """
    known = [(run, wh) for run, wh in spent if wh is not None and run.epochs_done]
    estimates: list[float] = []
    for request in wanted:
        again = [wh for run, wh in known if run.group_hash == request.group_hash]
        alike = [
            wh / run.epochs_done * request.epochs
            for run, wh in known
            if (run.workload, run.method, _augment(run)) == (request.workload, request.method, request.augment)
        ]
        if again or alike:
            estimates.append(median(again or alike))
    return (sum(estimates), len(estimates)) if estimates else None


def total(predicted: Sequence[RunForecast]) -> Total:
    """Return the total time of runs in sequence."""
    known = [prediction.wall_s for prediction in predicted if prediction.wall_s is not None]
    return Total(sum(known), len(predicted) - len(known), len(predicted))


def _of_this_machine(seen: Sequence[_Seen], host: str | None) -> list[_Seen]:
    if host is None:
        return list(seen)
    here = [entry for entry in seen if entry.run.worker is not None and entry.run.worker.host == host]
    return [entry for entry in here if _device(entry.run) == _device(here[0].run)]


def _device(run: Run) -> tuple[object, object]:
    return run.conditions.get("device_type"), run.conditions.get("device")


def _predict(wanted: PlannedRun, seen: Sequence[_Seen], where: str = "") -> RunForecast | None:
    again = [entry.wall_s for entry in seen if entry.run.group_hash == wanted.group_hash]
    if again:
        return RunForecast(median(again), f"from {_runs(len(again))} of this spec{where}", len(again))
    on_it = [entry for entry in seen if entry.run.workload == wanted.workload and _augment(entry.run) == wanted.augment]
    same = [entry for entry in on_it if entry.run.method == wanted.method]
    judged = same or on_it
    if not judged:
        return None
    wall = median(entry.wall_s / entry.run.epochs_done * wanted.epochs for entry in judged)
    what = f"{wanted.method} on {wanted.workload}" if same else f"other methods on {wanted.workload}"
    scaled = ", scaled by epochs" if any(entry.run.epochs_done != wanted.epochs for entry in judged) else ""
    return RunForecast(wall, f"from {_runs(len(judged))} of {what}{where}{scaled}", len(judged))


def _augment(run: Run) -> str | None:
    """Return a run's augmentation method: augmentation multiplies the training rows."""
    augment = run.spec.get("augment")
    return augment["method"] if augment else None


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"
