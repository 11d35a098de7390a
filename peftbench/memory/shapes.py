"""The largest training batch of each task, from its data or from the text lengths of the study's data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from peftbench.errors import UsageError
from peftbench.memory import typical_lengths
from peftbench.memory.parts import BatchShape
from peftbench.seeds import derive_seed
from peftbench.spec.model import RunSpec
from peftbench.tasks import FilesSource, QuickstartSource, TaskSpec
from peftbench.training.plan import Plan
from peftbench.training.sampling import limited_rows, step_rows

EPOCHS_SEEN = 10  # epochs examined: more would hardly have larger batches


def largest_batch(parts: Sequence[np.ndarray], spec: RunSpec, task: TaskSpec, *, packed: bool) -> BatchShape:
    """Return the shape of a task's largest batch: see `largest_rows`."""
    rows = largest_rows(parts, spec, task, packed=packed)
    return BatchShape(tuple(tuple(int(length) for length in part[rows]) for part in parts))


def largest_rows(parts: Sequence[np.ndarray], spec: RunSpec, task: TaskSpec, *, packed: bool) -> np.ndarray:
    """Return the rows of a task's largest batch, in the batch order of the run's seed.

    Args:
        parts: tokens of each training example, `[examples]`; two if the texts of a pair are encoded separately.
        spec: of the run: seed, batch size, batching and epochs.
        task: the task.
        packed: compare batches by tokens without padding, as in the native runtime; else including padding.
    """
    best, most = np.arange(1), 0
    plan = Plan.of(spec.train, {task.name: len(parts[0])})
    for epoch in range(1, min(plan.epochs, EPOCHS_SEEN) + 1):
        steps = step_rows(spec, epoch, task.name, np.asarray(sum(parts)))
        batches = list(chain.from_iterable(islice(steps, plan.steps(task.name, epoch))))
        order = np.concatenate(batches)
        sizes = np.array([len(batch) for batch in batches])
        starts = np.cumsum(sizes) - sizes
        count = [
            np.add.reduceat(part[order], starts) if packed else np.maximum.reduceat(part[order], starts) * sizes
            for part in parts
        ]
        tokens = np.asarray(sum(count))
        if tokens.max() > most:
            best, most = batches[int(tokens.argmax())], int(tokens.max())
    return best


def has_data(task: TaskSpec) -> bool:
    """Return whether a task's data can be read without a download."""
    source = task.source
    return isinstance(source, QuickstartSource) or (isinstance(source, FilesSource) and source.root is not None)


def lengths_of_data(spec: RunSpec, task: TaskSpec, tokenizer: Any, tokenizer_sha256: str) -> list[np.ndarray]:
    """Return the token counts of a task's training examples, `[examples]` per part, from its data.

    Raises:
        MissingError, DataError: the data is not available or not usable.
    """
    from peftbench.data.encode import encode_split
    from peftbench.data.load import load_split

    joint = spec.encoder.pair_encoding == "joint"
    split = encode_split(load_split(task, "train"), tokenizer, tokenizer_sha256, joint, spec.encoder.max_length)
    return _limited([part.lengths for part in split.parts], spec, task)


def lengths_of_study(spec: RunSpec, task: TaskSpec) -> list[np.ndarray]:
    """Return text lengths distributed as in the study's task of that name. Both texts of a pair are independent.

    Raises:
        UsageError: the study has no such task.
    """
    if task.name not in typical_lengths.WHOLE or task.is_pair != (task.name in typical_lengths.TEXTS):
        raise UsageError(
            f"task {task.name}: its data is not available, so its text lengths are unknown",
            "name the data folder: --data DIR; lengths are known for the study's sst, paraphrase and sts",
        )
    if not task.is_pair or spec.encoder.pair_encoding == "joint":
        drawn = [np.array(typical_lengths.WHOLE[task.name])]
    else:
        texts, rng = (
            np.array(typical_lengths.TEXTS[task.name]),
            np.random.default_rng(derive_seed(0, "lengths", task.name)),
        )
        mixed = rng.permutation(texts)
        drawn = [mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]]
    return _limited([np.minimum(part, spec.encoder.max_length) for part in drawn], spec, task)


def _limited(parts: list[np.ndarray], spec: RunSpec, task: TaskSpec) -> list[np.ndarray]:
    rows = limited_rows(task.name, len(parts[0]), spec.train.limit_examples)
    return [part[rows] for part in parts]
