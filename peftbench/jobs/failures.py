"""Why a run failed, in kinds, and what to try: of a run that ran out of memory, with the anatomy of its step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from peftbench.errors import NO_ROOM, DataError, MissingError, PeftbenchError, StorageError, TrainingError, UsageError
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Failure, Progress
from peftbench.text import clean

_KINDS: tuple[tuple[type[Exception], Failure], ...] = (
    (DataError, "data"),
    (MissingError, "missing"),
    (TrainingError, "nan"),
    (UsageError, "spec"),
    (StorageError, "storage"),
)
_NO_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory|cannot allocate memory", re.IGNORECASE)
_PARTS = ("weights", "gradients", "optimizer", "activations", "workspace")
MIB = 2**20


def kind_of(error: BaseException) -> Failure:
    """Return the kind of a failure."""
    if is_out_of_memory(error):
        return "out-of-memory"
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return "storage"
    return next((kind for type_, kind in _KINDS if isinstance(error, type_)), "defect")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether there was no memory, on the GPU or the machine; torch says the latter in a RuntimeError's words."""
    if isinstance(error, PeftbenchError):
        return False
    named = type(error).__name__ in ("OutOfMemoryError", "MemoryError", "ArrayMemoryError")
    return named or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None)


def reason_of(error: BaseException) -> str:
    """Return a failure in words, with what its own hint says to do."""
    if isinstance(error, PeftbenchError):
        return error.message if error.hint is None else f"{error.message} ({error.hint})"
    return clean(f"{type(error).__name__}: {error}", 500)


def out_of_memory(
    error: BaseException, spec: RunSpec, progress: Progress | None, predicted: Mapping[str, Any] | None
) -> str:
    """Return where memory ran out, what a step was to take, and what takes less.

    Args:
        error: torch's.
        spec: the run's.
        progress: where it stood.
        predicted: the anatomy of a step, in bytes by part, where it was predicted.
    """
    where = "while it loaded"
    if progress is not None and progress.task is not None:
        where = f"at epoch {progress.epoch}, {progress.phase} of {progress.task}, step {progress.step}"
    parts = [f"out of memory {where}: {clean(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)}"]
    if predicted:
        parts.append(f"a step was predicted to take {_anatomy(predicted)}")
    parts.append(f"to take less: {'; '.join(advice(spec, predicted))}")
    return ". ".join(parts)


def advice(spec: RunSpec, predicted: Mapping[str, Any] | None) -> list[str]:
    """Return what would take less memory, the most telling first, as options of `retry`."""
    train = spec.train
    found = []
    if train.batch_size > 1:
        half, steps = max(1, train.batch_size // 2), train.accumulation_steps * 2
        found.append(
            f"--set train.batch_size={half} --set train.accumulation_steps={steps} (the same steps in smaller parts)"
        )
    if not train.gradient_checkpointing:
        found.append("--set train.gradient_checkpointing=true (less activations, about a third more time)")
    if spec.precision == "fp32":
        found.append("--set precision=autocast (bf16 activations)")
    if predicted and (predicted.get("optimizer") or 0) > (predicted.get("activations") or 0):
        found.append("a method that trains fewer weights: the optimiser's state is the largest part")
    return found or ["a smaller encoder, or shorter inputs: --set encoder.max_length=128"]


def _anatomy(predicted: Mapping[str, Any]) -> str:
    parts = {name: predicted.get(name) or 0 for name in _PARTS}
    total = predicted.get("total") or sum(parts.values())
    largest = sorted(parts.items(), key=lambda part: -part[1])[:4]
    named = ", ".join(f"{name.replace('_', ' ')} {value / MIB:,.0f}" for name, value in largest)
    return f"{total / MIB:,.0f} MiB ({named})"
