"""Classification of failures, their messages, and advice for a run that ran out of memory."""

from __future__ import annotations

import errno
import re
from typing import Literal, get_args

from peftbench.errors import (
    NO_ROOM,
    ChangedError,
    DataError,
    MissingError,
    PeftbenchError,
    StorageError,
    TrainingError,
    UsageError,
)
from peftbench.spec.model import RunSpec
from peftbench.store.conditions import MemoryParts
from peftbench.store.rows import Failure, Progress
from peftbench.text import clean

_KINDS: tuple[tuple[type[Exception], Failure], ...] = (
    (DataError, "data"),
    (MissingError, "missing"),
    (ChangedError, "missing"),
    (TrainingError, "nan"),
    (UsageError, "spec"),
    (StorageError, "storage"),
)
_NO_MEMORY = re.compile(
    r"out of memory|not enough memory|can(?:'t|not) allocate memory|unable to allocate|std::bad_alloc"
    r"|_STATUS_ALLOC_FAILED"  # cuBLAS, cuDNN
    r"|could not create a primitive(?! descriptor)",  # oneDNN; a missing descriptor is about shapes, not memory
    re.IGNORECASE,
)
_Part = Literal["weights", "gradients", "optimizer", "activations", "workspace"]
_PARTS: tuple[_Part, ...] = get_args(_Part)
MIB = 2**20


def kind_of(error: BaseException) -> Failure:
    """Return the kind of a failure."""
    if is_out_of_memory(error):
        return "out-of-memory"
    if (isinstance(error, OSError) and error.errno in NO_ROOM) or type(error).__module__ == "sqlite3":
        return "storage"
    return next((kind for type_, kind in _KINDS if isinstance(error, type_)), "defect")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether GPU or host memory ran out; torch reports the latter as a RuntimeError, told by its message."""
    if isinstance(error, PeftbenchError):
        return False
    named = type(error).__name__ in ("OutOfMemoryError", "MemoryError", "ArrayMemoryError")
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return named or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None)


def reason_of(error: BaseException) -> str:
    """Return a failure's message, with its hint."""
    if isinstance(error, PeftbenchError):
        return error.message if error.hint is None else f"{error.message} ({error.hint})"
    return clean(f"{type(error).__name__}: {error}", 500)


def out_of_memory(
    error: BaseException | str, spec: RunSpec, progress: Progress | None, predicted: MemoryParts | None
) -> str:
    """Return where memory ran out, the predicted memory of a step, and settings that need less.

    Args:
        error: torch's error, or a description.
        spec: the run's spec.
        progress: the run's progress at that time.
        predicted: the memory of a step, in bytes by part, where it was predicted.
    """
    where = "while it loaded"
    if progress is not None and progress.task is not None:
        where = f"at epoch {progress.epoch}, {progress.phase} of {progress.task}, step {progress.step}"
    parts = [f"out of memory {where}: {clean(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)}"]
    if predicted:
        parts.append(f"a step was predicted to take {_anatomy(predicted)}")
    parts.append(f"to take less: {'; '.join(advice(spec, predicted))}")
    return ". ".join(parts)


def advice(spec: RunSpec, predicted: MemoryParts | None) -> list[str]:
    """Return settings that need less memory, the most effective first, as options of `retry`."""
    train = spec.train
    suggestions = []
    if train.batch_size > 1:
        half, steps = max(1, train.batch_size // 2), train.accumulation_steps * 2
        suggestions.append(
            f"--set train.batch_size={half} --set train.accumulation_steps={steps} (the same steps in smaller batches)"
        )
    if not train.gradient_checkpointing:
        suggestions.append("--set train.gradient_checkpointing=true (fewer activations, about a third more time)")
    if spec.precision == "fp32":
        suggestions.append("--set precision=autocast (bf16 activations)")
    if predicted and (predicted.get("optimizer") or 0) > (predicted.get("activations") or 0):
        suggestions.append("a method that trains fewer weights: the optimiser's state is the largest part")
    return suggestions or ["a smaller encoder, or shorter inputs: --set encoder.max_length=128"]


def _anatomy(predicted: MemoryParts) -> str:
    parts = {name: predicted.get(name) or 0 for name in _PARTS}
    total = predicted.get("total") or sum(parts.values())
    largest = sorted(parts.items(), key=lambda part: -part[1])[:4]
    named = ", ".join(f"{name.replace('_', ' ')} {value / MIB:,.0f}" for name, value in largest)
    return f"{total / MIB:,.0f} MiB ({named})"
