"""Parse and check the form of a new run, and predict its time. Memory is predicted in a subprocess."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peftbench import formatting
from peftbench.analysis.forecast import RunForecast, forecast, total
from peftbench.errors import UsageError
from peftbench.report.sweep import total_in_words, wanted
from peftbench.spec.files import FileKind, shipped
from peftbench.spec.folds import of_each_fold
from peftbench.spec.resolve import Resolved, resolve
from peftbench.store.rows import Run
from peftbench.text import clean

_TIMEOUT_S = 120.0  # of a memory prediction
_MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of the form as typed."""

    preset: str
    workload: str
    data: str = ""
    overrides: str = ""
    seed: str = ""
    seeds: str = "1"
    device: str | None = None  # in the format of `enqueue`


def choices(kind: FileKind, folder: Path) -> list[str]:
    """Return the choices: the shipped recipes, then the files of this kind in a folder, as `./name.toml`."""
    return [*shipped(kind), *(f"./{path.name}" for path in sorted(folder.glob("*.toml")) if _is_of(kind, path))]


def plan(form: Form) -> list[Resolved]:
    """Return the runs that a form describes, one per seed, and per fold of a cross-validation.

    Raises:
        UsageError: a field is invalid; the message names the field or key, the value and what is allowed.
    """
    overrides, data = _words("overrides", form.overrides), _words("data", form.data)
    if any(word.partition("=")[0].strip() == "seed" for word in overrides):
        raise UsageError("overrides: seed cannot be set here", "use the field first seed")
    first = _integer("seed", form.seed or "0", 0)
    count = _integer("seeds", form.seeds or "1", 1)
    if count > _MOST_SEEDS:
        raise UsageError(f"seeds {count}: at most {_MOST_SEEDS:,} in one group")
    resolved = resolve(form.preset, form.workload, data=data, overrides=overrides, seed=first)
    seeds = range(first, first + count)
    of_seeds = [Resolved(resolved.spec.model_copy(update={"seed": seed}), resolved.origins) for seed in seeds]
    return [run for of_seed in of_seeds for run in of_each_fold(of_seed)]


def summary(runs: list[Resolved]) -> str:
    """Return a one-line summary of the runs."""
    spec = runs[0].spec
    tasks = ", ".join(task.name for task in spec.tasks)
    seeds = sorted({run.spec.seed for run in runs})
    many = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {spec.seed}"
    many = f"{len(runs)} runs, {many}" if len(runs) > 1 else many
    if len(runs) > len(seeds):
        many += f", each of {spec.split.folds} folds"
    epochs = f"{spec.train.epochs} epoch{'s' * (spec.train.epochs != 1)}"
    return clean(
        f"{spec.method.name} on {spec.workload} ({spec.encoder.name}): {tasks}; {epochs} of batches of"
        f" {spec.train.batch_size}, {spec.quantization.named(spec.precision)}; {many}"
    )


def time_needed(runs: list[Resolved], stored: Iterable[Run], host: str) -> str:
    """Return the predicted time, estimated from stored runs."""
    predicted: list[RunForecast] = forecast([wanted(run.spec) for run in runs], stored, host)
    basis = "" if predicted[0].wall_s is None else f" ({predicted[0].basis})"
    return f"time: {total_in_words(total(predicted))}{basis}"


class MemoryEstimate:
    """`peftbench estimate` in a subprocess: it needs torch, which the dashboard never imports."""

    def __init__(self, form: Form, device: str) -> None:
        words = [sys.executable, "-P", "-m", "peftbench", "estimate", "--json", "--device", device]
        words += ["--preset", form.preset, "--workload", form.workload]
        for option, text in (("--data", form.data), ("--set", form.overrides)):
            for word in shlex.split(text):
                words += [option, word]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )

    def cancel(self) -> None:
        """Kill the subprocess: the form has changed."""
        self._process.kill()

    def result(self) -> str:
        """Wait for the subprocess; return a line with the memory of a training step, or why it is unknown."""
        try:
            out, error = self._process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.cancel()
            return f"memory: no prediction within {_TIMEOUT_S:.0f} s"
        if self._process.returncode:
            first = error.decode("utf-8", "replace").strip().splitlines()
            return clean(
                f"memory: cannot be predicted: {first[0].removeprefix('error: ') if first else 'unknown error'}"
            )
        sizes = json.loads(out)["bytes"]
        parts = ", ".join(
            f"{name} {formatting.mib_of(sizes[name])}" for name in ("weights", "activations", "optimizer")
        )
        return f"memory of a training step: {formatting.mib_of(sizes['total'])} MiB ({parts})"


def _is_of(kind: FileKind, path: Path) -> bool:
    import tomllib

    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return ("method" in content) if kind == "preset" else ("tasks" in content)


def _words(field: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{field}: {clean(text, 80)}: {error}", "quote values that contain spaces: 'a b'") from error


def _integer(field: str, text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise UsageError(f"{field}: '{clean(text, 40)}' is not an integer") from error
    if value < least:
        raise UsageError(f"{field}: {value}: must be at least {least}")
    return value
