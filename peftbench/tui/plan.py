"""What the form of a new run says: read, checked and judged. Memory is predicted by another process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peftbench.analysis.forecast import Predicted, forecast, total
from peftbench.errors import UsageError
from peftbench.report import figures
from peftbench.report.sweep import total_in_words, wanted
from peftbench.spec.files import FileKind, shipped
from peftbench.spec.resolve import Resolved, resolve
from peftbench.store.rows import Run
from peftbench.text import clean

_PATIENCE_S = 120.0  # for a prediction of memory
_MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True)
class Form:
    """The form's fields as they were typed."""

    preset: str
    workload: str
    data: str = ""
    overrides: str = ""
    seed: str = ""
    seeds: str = "1"
    device: str | None = None  # as `enqueue` takes it


def choices(kind: FileKind, folder: Path) -> list[str]:
    """Return what can be chosen: what is shipped, then the files of this kind in a folder, as `./name.toml`."""
    return [*shipped(kind), *(f"./{path.name}" for path in sorted(folder.glob("*.toml")) if _is_of(kind, path))]


def plan(form: Form) -> list[Resolved]:
    """Return the runs that a form asks for, one a seed.

    Raises:
        UsageError: naming the field or key, the value and what is allowed.
    """
    overrides, data = _words("overrides", form.overrides), _words("data", form.data)
    if any(word.partition("=")[0].strip() == "seed" for word in overrides):
        raise UsageError("overrides: the seed has a field of its own", "first seed")
    first = _whole("seed", form.seed or "0", 0)
    count = _whole("seeds", form.seeds or "1", 1)
    if count > _MOST_SEEDS:
        raise UsageError(f"seeds {count}: at most {_MOST_SEEDS:,} in one group")
    one = resolve(form.preset, form.workload, data=data, overrides=overrides, seed=first)
    seeds = range(first, first + count)
    return [Resolved(one.spec.model_copy(update={"seed": seed}), one.origins) for seed in seeds]


def summary(runs: list[Resolved]) -> str:
    """Say what will be run."""
    spec = runs[0].spec
    tasks = ", ".join(task.name for task in spec.tasks)
    many = f"{len(runs)} runs, seeds {spec.seed} to {runs[-1].spec.seed}" if len(runs) > 1 else f"seed {spec.seed}"
    epochs = f"{spec.train.epochs} epoch{'s' * (spec.train.epochs != 1)}"
    return clean(
        f"{spec.method.name} on {spec.workload} ({spec.encoder.name}): {tasks}; {epochs} of batches of"
        f" {spec.train.batch_size}, {spec.precision}; {many}"
    )


def time_needed(runs: list[Resolved], stored: Iterable[Run], host: str) -> str:
    """Say how long it will take, as far as stored runs tell."""
    predicted: list[Predicted] = forecast([wanted(run.spec) for run in runs], stored, host)
    basis = "" if predicted[0].wall_s is None else f" ({predicted[0].basis})"
    return f"time: {total_in_words(total(predicted))}{basis}"


class MemoryPrediction:
    """`peftbench estimate` in a process of its own: it needs torch, which this one never imports."""

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
        """Let it be: something else is asked by now."""
        self._process.kill()

    def result(self) -> str:
        """Wait for it, and say what a training step needs, or why that cannot be told."""
        try:
            out, error = self._process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.cancel()
            return f"memory: no prediction within {_PATIENCE_S:.0f} s"
        if self._process.returncode:
            first = error.decode("utf-8", "replace").strip().splitlines()
            return clean(
                f"memory: cannot be predicted: {first[0].removeprefix('error: ') if first else 'no reason given'}"
            )
        found = json.loads(out)["bytes"]
        parts = ", ".join(f"{name} {figures.mib_of(found[name])}" for name in ("weights", "activations", "optimizer"))
        return f"memory of a training step: {figures.mib_of(found['total'])} MiB ({parts})"


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
        raise UsageError(f"{field}: {clean(text, 80)}: {error}", "quote a value that has blanks: 'a b'") from error


def _whole(field: str, text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise UsageError(f"{field}: '{clean(text, 40)}' is not a whole number") from error
    if value < least:
        raise UsageError(f"{field}: {value}: at least {least}")
    return value
