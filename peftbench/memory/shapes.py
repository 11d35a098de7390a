"""The largest training batch of each task, from its data or from the text lengths of the study's data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from peftbench.data.tokenise import offsets_of
from peftbench.errors import UsageError
from peftbench.memory import typical_lengths
from peftbench.memory.parts import BatchShape
from peftbench.seeds import derive_seed
from peftbench.spec.encoder import EncoderSpec
from peftbench.spec.model import RunSpec
from peftbench.tasks import FilesSource, QuickstartSource, TaskSpec
from peftbench.training.plan import Plan
from peftbench.training.sampling import limited_rows, step_rows

_SPECIAL = 2  # special tokens of a text in the counts of the study's
EPOCHS_SEEN = 10  # epochs examined: more would hardly have larger batches


def largest_batch(parts: Sequence[np.ndarray], spec: RunSpec, task: TaskSpec, *, packed: bool) -> BatchShape:
    """Return the shape of a task's largest batch: see `largest_rows`."""
    return shape_of(parts, largest_rows(parts, spec, task, packed=packed), spec)


def shape_of(parts: Sequence[np.ndarray], rows: np.ndarray, spec: RunSpec) -> BatchShape:
    """Return the shape of a batch of these rows; see `largest_rows`."""
    return BatchShape(tuple(tuple(int(length) for length in part[rows]) for part in parts), _window(spec))


def _window(spec: RunSpec) -> int | None:
    return None if spec.encoder.stride is None else spec.encoder.max_length


def largest_rows(parts: Sequence[np.ndarray], spec: RunSpec, task: TaskSpec, *, packed: bool) -> np.ndarray:
    """Return the rows of a task's largest batch, in the batch order of the run's seed.

    Args:
        parts: tokens of each training example, in all windows, `[examples]`; two if the texts of a pair are encoded
            separately.
        spec: of the run: seed, batch size, batching and epochs.
        task: the task.
        packed: compare batches by tokens without padding, as in the native runtime; else including padding.
    """
    best, most, window = np.arange(1), 0, _window(spec)
    longest = [part if window is None else np.minimum(part, window) for part in parts]
    inputs = [np.ones_like(part) if window is None else -(-part // window) for part in parts]  # windows of each
    plan = Plan.of(spec.train, {task.name: len(parts[0])})
    for epoch in range(1, min(plan.epochs, EPOCHS_SEEN) + 1):
        steps = step_rows(spec, epoch, task.name, np.asarray(sum(parts)))
        batches = list(chain.from_iterable(islice(steps, plan.steps(task.name, epoch))))
        order = np.concatenate(batches)
        starts = offsets_of(np.array([len(batch) for batch in batches]))[:-1]
        sums = [
            np.add.reduceat(part[order], starts)
            if packed
            else np.maximum.reduceat(own[order], starts) * np.add.reduceat(count[order], starts)
            for part, own, count in zip(parts, longest, inputs, strict=True)
        ]
        tokens = np.asarray(sum(sums))
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
    encoder = spec.encoder
    split = encode_split(
        load_split(task, "train"), tokenizer, tokenizer_sha256, joint, encoder.max_length, stride=encoder.stride
    )
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
    return _limited([_in_windows(part, spec.encoder) for part in drawn], spec, task)


def _in_windows(lengths: np.ndarray, encoder: EncoderSpec) -> np.ndarray:
    """Return the lengths of texts that are truncated or, with a stride, divided: the tokens of all windows."""
    if encoder.stride is None:
        return np.minimum(lengths, encoder.max_length)
    room = encoder.max_length - _SPECIAL
    more = np.maximum(0, -(-(lengths - encoder.max_length) // max(1, room - encoder.stride)))  # windows after the first
    return np.asarray(lengths + more * (encoder.stride + _SPECIAL))


def _limited(parts: list[np.ndarray], spec: RunSpec, task: TaskSpec) -> list[np.ndarray]:
    rows = limited_rows(task.name, len(parts[0]), spec.train.limit_examples)
    return [part[rows] for part in parts]
