"""A task's splits prepared for training: read, augmented where the spec says so, tokenised."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from peftbench.analysis.input_lengths import described
from peftbench.data.augment.rows import Augmenter, guarded_texts
from peftbench.data.content import check_content, content_of
from peftbench.data.doubts import doubts, overlap
from peftbench.data.encode import EncodedSplit, encode_split
from peftbench.data.examples import fingerprint
from peftbench.data.folds import fold_parts
from peftbench.data.labels import Names
from peftbench.data.load import Split, SplitName, load_split
from peftbench.data.select_part import divide
from peftbench.data.standardise import scale_of
from peftbench.encoder import EncoderFiles
from peftbench.errors import DataError, UsageError
from peftbench.spec.augment import advice
from peftbench.spec.model import RunSpec
from peftbench.store.conditions import Conditions, DataNote, InputLengths, SplitReading
from peftbench.store.rows import Progress, now
from peftbench.tasks import TaskSpec
from peftbench.text import clean
from peftbench.training.batching import TaskData
from peftbench.training.recorder import Recorder
from peftbench.training.sampling import limited_rows

_NAMES_TOLD = 10


@dataclass(frozen=True, slots=True)
class LoadedData:
    """Every task's splits, with fingerprints: of original rows by "task/split", with augmented ones by task.

    tests: by task, the test split, for scoring after training only; empty without `split.dev_is = "select"`.
    folded: whether the splits are folds of train and dev together; fingerprints are those of the source's splits.
    facts: how the data were read and augmented, for the run's record.
    tokenised: the splits ("task/split") missing from the token cache, whose tokenisation took `tokenise_s` seconds.
    """

    tasks: dict[str, TaskData]
    own_rows: dict[str, str]
    new_rows: dict[str, str]
    facts: Conditions
    tokenised: tuple[str, ...] = ()
    tokenise_s: float = 0.0
    tests: dict[str, EncodedSplit] = field(default_factory=dict)
    folded: bool = False

    @property
    def sha256(self) -> str:
        """Hash of all data used for training and scoring; with folds of the original rows, which all folds share."""
        new_rows = () if self.folded else self.new_rows.values()
        return hashlib.sha256("".join((*self.own_rows.values(), *new_rows)).encode()).hexdigest()


def load_data(spec: RunSpec, tokenizer: Any, files: EncoderFiles, recorder: Recorder) -> LoadedData:
    """Load every task's splits.

    Args:
        spec: the run's spec.
        tokenizer: the encoder's tokeniser.
        files: the encoder's files.
        recorder: receives progress, and notes on rows left out, truncated and added.

    Raises:
        MissingError, DataError: data, dictionary or translation model are missing or unusable; or the tokeniser maps
            nearly all pieces of a training split to the unknown token.
        Interrupted: see `Recorder.progress`.
    """
    augmenter = Augmenter(spec.augment) if spec.augment is not None else None
    own_rows: dict[str, str] = {}
    new_rows: dict[str, str] = {}
    tokenised: dict[str, float] = {}
    lengths: dict[str, InputLengths] = {}

    def encoded(split: Split) -> EncodedSplit:
        begun = time.monotonic()
        encoded = _encoded(split, spec, tokenizer, files, recorder)
        lengths[f"{split.task}/{split.name}"] = encoded.input_lengths
        if not encoded.from_cache:
            tokenised[f"{split.task}/{split.name}"] = time.monotonic() - begun
        return encoded

    task_data: dict[str, TaskData] = {}
    tests: dict[str, Split] = {}
    readings: dict[str, SplitReading] = {}
    label_names: dict[str, list[str]] = {}
    data_notes: list[DataNote] = []
    whole: dict[str, Sequence[Split]] = {}
    for task in spec.tasks:
        sources = _sources(task, spec, recorder)
        readings |= {f"{task.name}/{split.name}": split.reading for split in sources if split.reading}
        own_rows |= {f"{task.name}/{split.name}": split.fingerprint for split in sources}
        splits = sources if spec.split.folds is None else _folded(task, spec, sources, recorder)
        train, dev, *test = splits
        if test:
            tests[task.name] = test[0]
        if train.label_names is not None:
            label_names[task.name] = list(train.label_names)
            recorder.note("data", f"{task.name}: {_named(train.label_names)}")
        whole[task.name] = splits[:2]
        if spec.split.select is None:
            data_notes += _noted_doubts(task, splits, recorder)
        if augmenter is not None and spec.augments(task.name):
            part = _limited(train, spec, recorder)
            train = _augmented(augmenter, task, part, splits[1:], recorder)
            new_rows[task.name] = train.fingerprint
            task_data[task.name] = TaskData(encoded(train), encoded(dev), len(part.examples))
            continue
        encoded_train = encoded(train)
        rows = limited_rows(task.name, len(encoded_train), spec.train.limit_examples)
        if len(rows) < len(encoded_train):
            _note_limit(recorder, task.name, len(rows), len(encoded_train))
            encoded_train = encoded_train.take(rows)
        task_data[task.name] = TaskData(encoded_train, encoded(dev), len(encoded_train))
    encoded_tests = {name: encoded(split) for name, split in tests.items()}
    if spec.split.select is not None:
        task_data, encoded_tests, issues = _divided(spec, spec.split.select, task_data, whole, recorder)
        data_notes += issues
    scales = {
        task.name: scale_of(task, task_data[task.name].train.labels[: task_data[task.name].originals])
        for task in spec.tasks
        if task.kind == "regression"
    }
    for name, scale in scales.items():
        data = task_data[name]
        train_split, dev_split = scale.standardised(data.train), scale.standardised(data.dev)
        task_data[name] = replace(data, train=train_split, dev=dev_split, scale=scale)
        encoded_tests |= {name: scale.standardised(encoded_tests[name])} if name in encoded_tests else {}
    facts: Conditions = {"data_read": readings, "label_names": label_names, "data_notes": data_notes}
    facts["input_lengths"] = lengths
    if scales:
        facts["label_scale"] = {name: (scale.mean, scale.sd) for name, scale in scales.items()}
    if augmenter is not None:
        augmenter.close()
        facts["augment"] = {**augmenter.facts, "rows_sha256": new_rows}
    if spec.split.folds is not None:
        facts["fold_examples"] = {
            name: {"train": data.originals, "dev": len(data.dev), "test": len(encoded_tests[name])}
            for name, data in task_data.items()
        }
    spent = sum(tokenised.values())
    return LoadedData(
        task_data, own_rows, new_rows, facts, tuple(tokenised), spent, encoded_tests, spec.split.folds is not None
    )


def _sources(task: TaskSpec, spec: RunSpec, recorder: Recorder) -> list[Split]:
    """Return the source's splits: train, dev and, where the spec reads one, test."""
    train = _loaded(task, "train", recorder)
    scored: list[SplitName] = ["dev", "test"] if spec.split.reads_test else ["dev"]
    splits = [train, *(_loaded(task, name, recorder, train.label_names) for name in scored)]
    if spec.split.folds is None:  # a fold is not resampled
        for split in splits[1:]:
            _check_groups(task, split)
    return splits


def _folded(task: TaskSpec, spec: RunSpec, sources: Sequence[Split], recorder: Recorder) -> list[Split]:
    """Return the parts of train and dev that train, choose the epoch and are tested in this run."""
    folds, fold = spec.split.folds, spec.split.fold
    if folds is None or fold is None:
        raise UsageError(
            f"split.folds={folds} without split.fold: a run tests one fold", f"set split.fold, 0 to {(folds or 1) - 1}"
        )
    parts = fold_parts(task, sources[0], sources[1], folds, fold)
    train, dev, test = (len(part.examples) for part in parts)
    recorder.note(
        "data",
        f"{task.name}: fold {fold + 1} of {folds} is the test split ({test} examples), fold {(fold + 1) % folds + 1} "
        f"chooses the epoch ({dev}), the others train ({train}); of train and dev together ({train + dev + test})",
    )
    return list(parts)


def _loaded(task: TaskSpec, name: SplitName, recorder: Recorder, label_names: Names | None = None) -> Split:
    split = load_split(task, name, label_names)
    for reason, count in split.count.skipped.items():
        recorder.note(
            "data",
            f"{task.name} {name}: {count} of {split.count.read} rows left out ({reason}): "
            f"{split.count.described(reason)}",
        )
    spanning = split.reading.get("spanning", 0)
    if spanning and split.reading.get("separator") == "tab":
        recorder.note("data", f"{task.name} {name}: {spanning} quoted fields span more than one line of a tab file")
    return split


def _divided(
    spec: RunSpec,
    fraction: float,
    data: Mapping[str, TaskData],
    whole: Mapping[str, Sequence[Split]],
    recorder: Recorder,
) -> tuple[dict[str, TaskData], dict[str, EncodedSplit], list[DataNote]]:
    """Return the data with the part of dev that chooses the epoch, the rest of dev as test splits, and their issues.

    `whole` has each task's train and dev.
    """
    selecting, tests, issues = {}, {}, list[DataNote]()
    for task in spec.tasks:
        dev = data[task.name].dev
        rows, rest = divide(task, dev, fraction)
        selecting[task.name] = replace(data[task.name], dev=dev.take(rows))
        tests[task.name] = dev.take(rest)
        recorder.note("data", f"{task.name} dev: {len(rows)} examples choose the epoch, {len(rest)} are the test split")
        train, own = whole[task.name]
        chosen, rest_of_dev = (replace(own, examples=tuple(own.examples[row] for row in part)) for part in (rows, rest))
        issues += _noted_doubts(task, (train, chosen, replace(rest_of_dev, name="test")), recorder)
    return selecting, tests, issues


def _noted_doubts(task: TaskSpec, splits: Sequence[Split], recorder: Recorder) -> list[DataNote]:
    """Return the issues of train, dev and, where there is one, test, and note them in the run's log."""
    train, *scored = splits
    issues = [doubt for split in scored for doubt in doubts(task, train.examples, split.examples, split.name)]
    if len(scored) > 1:
        issues += overlap(task, scored[0].examples, scored[1].examples)
    for issue in issues:
        recorder.note("data", f"{task.name}: {issue.message}")
    return [issue.as_dict() for issue in issues]


def _check_groups(task: TaskSpec, split: Split) -> None:
    """Check that there are groups to resample where the task has a column of groups.

    Raises:
        DataError: all rows of a split are in one group.
    """
    if task.group and len({example.cluster for example in split.examples}) == 1:
        raise DataError(
            f"{task.name} {split.name}: all {len(split.examples)} rows have the same group in "
            f"'{clean(task.group, 40)}', which leaves nothing to resample for an interval",
            f'name another column, or set tasks.{task.name}.group=""',
        )


def _named(names: Names) -> str:
    """Describe which text stands for which class."""
    shown = ", ".join(f"{clean(name, 40)} = {label}" for label, name in enumerate(names[:_NAMES_TOLD]))
    return f"labels are texts: {shown}{', …' if len(names) > _NAMES_TOLD else ''}"


def _limited(split: Split, spec: RunSpec, recorder: Recorder) -> Split:
    """Return the examples within `train.limit_examples`, which are then augmented."""
    rows = limited_rows(split.task, len(split.examples), spec.train.limit_examples)
    if len(rows) == len(split.examples):
        return split
    _note_limit(recorder, split.task, len(rows), len(split.examples))
    return replace(split, examples=tuple(split.examples[row] for row in rows))


def _note_limit(recorder: Recorder, task: str, limit: int, count: int) -> None:
    recorder.note("data", f"{task} train: {limit} of {count} examples (train.limit_examples)")


def _augmented(
    augmenter: Augmenter, task: TaskSpec, train: Split, scored: Sequence[Split], recorder: Recorder
) -> Split:
    """Return the examples followed by the augmented ones."""
    guarded, message = guarded_texts(task, [example for split in scored for example in split.examples])
    if message is not None:
        recorder.note("augment", message)
    new = augmenter.new_rows(task.name, train.examples, guarded, _teller("augment", task.name, recorder))
    recorder.note("augment", new.described(task.name, len(train.examples)))
    settings = augmenter.settings
    if settings.uses_eda and (warning := advice(settings.eda.n_aug, len(train.examples), task.name)):
        recorder.note("augment", warning)
    examples = (*train.examples, *(row.example for row in new.rows))
    return replace(train, examples=examples, fingerprint=fingerprint(examples))


def _teller(phase: str, task: str, recorder: Recorder) -> Callable[[int, int], None]:
    return lambda done, total: recorder.progress(Progress(0, phase, task, done, total, 0, 0, None, now()))


def _encoded(split: Split, spec: RunSpec, tokenizer: Any, files: EncoderFiles, recorder: Recorder) -> EncodedSplit:
    joint = spec.encoder.pair_encoding == "joint"
    on_progress = _teller("tokenise", split.task, recorder)
    max_length, stride = spec.encoder.max_length, spec.encoder.stride
    encoded = encode_split(split, tokenizer, files.tokenizer_sha256, joint, max_length, on_progress, stride)
    pairs = joint and len(split.examples[0].texts) == 2
    content = content_of(encoded.parts, tokenizer, pairs)
    for message in check_content(content, split.task, split.name, files.name):
        recorder.note("data", message)
    long = described(encoded.input_lengths, max_length)
    if long is not None:
        recorder.note("data", f"{split.task} {split.name}: {long}")
    if encoded.words is not None and encoded.words.unseen:
        recorder.note(
            "data",
            f"{split.task} {split.name}: {encoded.words.unseen:,} of {len(encoded.words.pieces):,} words are cut off, "
            "or dropped by the tokeniser: they are not trained on, and count as O",
        )
    return encoded
