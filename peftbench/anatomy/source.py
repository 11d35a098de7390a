"""What a prediction needs of an encoder and its data, without its weights: configuration and largest batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peftbench.anatomy.parts import BatchShape
from peftbench.anatomy.shapes import has_data, largest_batch, lengths_of_data, lengths_of_study
from peftbench.encoder import (
    EMBEDDED_NAME,
    EncoderFiles,
    find_without_weights,
    load_config,
    load_tokenizer,
    set_dropout,
)
from peftbench.errors import MissingError
from peftbench.spec.model import EncoderSpec, RunSpec

KNOWN_ENCODER = "google-bert/bert-base-uncased"  # transformers' BertConfig without arguments is its published shape
PACKED_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")  # of the native path's architectures


@dataclass(frozen=True, slots=True)
class Source:
    """An encoder's configuration, the largest batch of each task, and what the user should know of both."""

    config: Any
    batches: dict[str, BatchShape]
    notes: tuple[str, ...]


def source_of(spec: RunSpec) -> Source:
    """Find what the spec's encoder is and how large its batches get.

    Raises:
        MissingError, DataError: the encoder's configuration or the data cannot be had or used.
        UsageError: a task's data are not here, and the study has no task of that name.
    """
    config, files, notes = encoder_of(spec.encoder)
    packed = spec.runtime == "native" and config.model_type in PACKED_TYPES
    batches, tokenizer = {}, None
    for task in spec.tasks:
        if has_data(task):
            if tokenizer is None:
                tokenizer = load_tokenizer(files)
            parts = lengths_of_data(spec, task, tokenizer, files.tokenizer_sha256)
        else:
            parts = lengths_of_study(spec, task)
        batches[task.name] = largest_batch(parts, spec, task, packed=packed)
    if unread := [task.name for task in spec.tasks if not has_data(task)]:
        notes.append(f"{', '.join(unread)}: lengths of the study's texts; --data DIR takes those of your files")
    if spec.augment is not None:
        notes.append("lengths are those of the rows as they are; rows that augmentation makes are about as long")
    return Source(config, batches, tuple(notes))


def encoder_of(spec: EncoderSpec) -> tuple[Any, EncoderFiles, list[str]]:
    """Return configuration, tokeniser's files and notes: what is here first, then the known shape, then the hub.

    Raises:
        MissingError: the encoder is nowhere.
    """
    try:
        files = find_without_weights(spec, local=True)
    except MissingError:
        if spec.name != KNOWN_ENCODER or spec.revision is not None:
            files = find_without_weights(spec)
            return load_config(spec, files), files, []
        return _known(spec)
    return load_config(spec, files), files, []


def _known(spec: EncoderSpec) -> tuple[Any, EncoderFiles, list[str]]:
    from transformers import BertConfig

    config = BertConfig()
    set_dropout(config, spec.dropout)
    files = find_without_weights(EncoderSpec(name=EMBEDDED_NAME))  # its WordPiece vocabulary is BERT's
    note = f"{spec.name} is not on this machine: its published shape is taken (12 layers, 768 wide, 30,522 pieces)"
    return config, files, [note]
