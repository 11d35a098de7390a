"""A task's splits as training takes them: read, augmented where the spec says so, tokenised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from peftbench.data.augment.rows import Augmenter
from peftbench.data.augment.splits import guarded_texts
from peftbench.data.encode import EncodedSplit, encode_split
from peftbench.data.examples import fingerprint
from peftbench.data.load import Split, load_split
from peftbench.encoder import EncoderFiles
from peftbench.spec.augment import advice
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Progress, now
from peftbench.tasks import TaskSpec
from peftbench.training.batching import TaskData
from peftbench.training.choice import limited_rows
from peftbench.training.recorder import Recorder


@dataclass(frozen=True, slots=True)
class LoadedData:
    """Every task's splits, with fingerprints: of own rows by "task/split", of own and new ones together by task."""

    tasks: dict[str, TaskData]
    own_rows: dict[str, str]
    new_rows: dict[str, str]

    @property
    def sha256(self) -> str:
        """Hash of all that is trained and scored on."""
        return hashlib.sha256("".join((*self.own_rows.values(), *self.new_rows.values())).encode()).hexdigest()


def load_data(spec: RunSpec, tokenizer: Any, files: EncoderFiles, recorder: Recorder) -> LoadedData:
    """Load every task's splits.

    Args:
        spec: the run's.
        tokenizer: of the encoder.
        files: the encoder's.
        recorder: is told what was left out, cut and made.

    Raises:
        MissingError, DataError: data, dictionary or translation model cannot be had or used.
        Interrupted: see `Recorder.progress`.
    """
    augmenter = Augmenter(spec.augment) if spec.augment is not None else None
    own_rows: dict[str, str] = {}
    new_rows: dict[str, str] = {}

    def encoded(split: Split) -> EncodedSplit:
        return _encoded(split, spec, tokenizer, files, recorder)

    found = {}
    for task in spec.tasks:
        train, dev = _loaded(task, "train", recorder), _loaded(task, "dev", recorder)
        own_rows |= {f"{task.name}/{split.name}": split.fingerprint for split in (train, dev)}
        if augmenter is not None and spec.augments(task.name):
            part = _limited(train, spec, recorder)
            train = _augmented(augmenter, task, part, dev, recorder)
            new_rows[task.name] = train.fingerprint
            found[task.name] = TaskData(encoded(train), encoded(dev), len(part.examples))
            continue
        whole = encoded(train)
        rows = limited_rows(task.name, len(whole), spec.train.limit_examples)
        if len(rows) < len(whole):
            _note_limit(recorder, task.name, len(rows), len(whole))
            whole = whole.take(rows)
        found[task.name] = TaskData(whole, encoded(dev), len(whole))
    if augmenter is not None:
        augmenter.close()
        recorder.describe(conditions={"augment": {**augmenter.facts, "rows_sha256": new_rows}})
    return LoadedData(found, own_rows, new_rows)


def _loaded(task: TaskSpec, name: Any, recorder: Recorder) -> Split:
    split = load_split(task, name)
    for reason, count in split.count.skipped.items():
        recorder.note("data", f"{task.name} {name}: {count} of {split.count.read} rows left out ({reason})")
    return split


def _limited(split: Split, spec: RunSpec, recorder: Recorder) -> Split:
    """Return the examples that `train.limit_examples` leaves, of which new ones are then made."""
    rows = limited_rows(split.task, len(split.examples), spec.train.limit_examples)
    if len(rows) == len(split.examples):
        return split
    _note_limit(recorder, split.task, len(rows), len(split.examples))
    return replace(split, examples=tuple(split.examples[row] for row in rows))


def _note_limit(recorder: Recorder, task: str, limit: int, count: int) -> None:
    recorder.note("data", f"{task} train: {limit} of {count} examples (train.limit_examples)")


def _augmented(augmenter: Augmenter, task: TaskSpec, train: Split, dev: Split, recorder: Recorder) -> Split:
    """Return the examples and, behind them, the new ones."""
    guarded, said = guarded_texts(task, dev.examples)
    if said is not None:
        recorder.note("augment", said)
    new = augmenter.new_rows(task.name, train.examples, guarded, _teller(task.name, recorder))
    recorder.note("augment", new.described(task.name, len(train.examples)))
    settings = augmenter.settings
    if settings.uses_eda and (warning := advice(settings.eda.n_aug, len(train.examples), task.name)):
        recorder.note("augment", warning)
    examples = (*train.examples, *(row.example for row in new.rows))
    return replace(train, examples=examples, fingerprint=fingerprint(examples))


def _teller(task: str, recorder: Recorder) -> Callable[[int, int], None]:
    return lambda done, total: recorder.progress(Progress(0, "augment", task, done, total, 0, 0, None, now()))


def _encoded(split: Split, spec: RunSpec, tokenizer: Any, files: EncoderFiles, recorder: Recorder) -> EncodedSplit:
    joint = spec.encoder.pair_encoding == "joint"
    encoded = encode_split(split, tokenizer, files.tokenizer_sha256, joint, spec.encoder.max_length)
    if encoded.truncated:
        recorder.note(
            "data",
            f"{split.task} {split.name}: {encoded.truncated} of {len(encoded)} inputs cut to "
            f"{spec.encoder.max_length} tokens (encoder.max_length), {_share(encoded):.1f} % of all tokens",
        )
    return encoded


def _share(encoded: EncodedSplit) -> float:
    """Return the part of the tokens that was cut, in per cent."""
    return 100 * encoded.tokens_cut / (encoded.tokens_cut + int(encoded.lengths.sum()))
