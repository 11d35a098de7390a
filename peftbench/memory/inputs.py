"""Inputs of a memory prediction, without weights: the encoder's configuration and the largest batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peftbench.encoder import (
    EMBEDDED_NAME,
    EncoderFiles,
    find_without_weights,
    load_config,
    load_tokenizer,
    set_dropout,
)
from peftbench.errors import MissingError
from peftbench.families import FAMILIES
from peftbench.memory.parts import BatchShape
from peftbench.memory.shapes import has_data, largest_batch, lengths_of_data, lengths_of_study
from peftbench.native import unsupported
from peftbench.spec.encoder import EncoderSpec
from peftbench.spec.model import RunSpec

KNOWN_ENCODER = "google-bert/bert-base-uncased"  # its published shape is transformers' default BertConfig
PACKED_TYPES = tuple(family.model_type for family in FAMILIES if family.native)


@dataclass(frozen=True, slots=True)
class EncoderSource:
    """An encoder's configuration, the largest batch of each task, and notes for the user."""

    config: Any
    batches: dict[str, BatchShape]
    notes: tuple[str, ...]


def encoder_source_of(spec: RunSpec) -> EncoderSource:
    """Determine the configuration of the spec's encoder and its largest batches.

    Raises:
        MissingError, DataError: the encoder's configuration or the data is not available or not usable.
        UsageError: a task's data is not available, and the study has no task of that name.
    """
    config, files, notes = encoder_of(spec.encoder)
    packed = spec.runtime == "native" and config.model_type in PACKED_TYPES and unsupported(config) is None
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
        notes.append(f"{', '.join(unread)}: lengths of the study's texts; use --data DIR for those of your files")
    if spec.augment is not None:
        notes.append("lengths are those of the original rows; augmented rows have similar lengths")
    return EncoderSource(config, batches, tuple(notes))


def encoder_of(spec: EncoderSpec) -> tuple[Any, EncoderFiles, list[str]]:
    """Return configuration, tokeniser files and notes: from local files, else the known shape, else the hub.

    Raises:
        MissingError: the encoder was not found.
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
    note = f"{spec.name} is not on this machine: its published shape is used (12 layers, 768 wide, 30,522 pieces)"
    return config, files, [note]
