"""The frozen prefix: outputs of the layers below the first trained weight, computed once per example and cached.

With the encoder's dropout off they are constant per example in every epoch; in evaluation they always are. For a
frozen encoder the prefix is each text's vector; for adapters on the upper layers only, the first one's input.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from peftbench.data.batches import (
    Batch,
    Batcher,
    MakeBatch,
    PrefixText,
    averaged,
    pack,
    packed_tokens,
    sorted_batches,
)
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.encoder.layout import hidden_size
from peftbench.model import MultitaskModel
from peftbench.paths import cache_folder
from peftbench.spec.model import RunSpec

MEMORY_LIMIT = 2**30  # bytes of all prefixes of a run kept in memory; further ones go to disk
DISK_RESERVE = 2**30  # bytes to leave free on disk


class FrozenFeatures:
    """Makes batches that start from the cached prefix, where there is one.

    Args:
        model: prepared; only its native path has prefixes.
        batcher: makes the batches of splits without a cached prefix.
        spec: whether to cache prefixes, the encoder's dropout, the batch size.
    """

    def __init__(self, model: MultitaskModel, batcher: Batcher, spec: RunSpec) -> None:
        self.model, self.plain = model, batcher
        self.batch_size = spec.eval.batch_size
        native = model.native
        has_prefix = native is not None and (self._is_whole or 0 < native.first_trained < len(native.layers))
        self.wanted = spec.train.cache_frozen_features and has_prefix
        self.is_constant_in_training = native is not None and not native.drops
        self.in_memory = 0
        self.known: dict[str, MakeBatch] = {}

    def is_settled(self, key: str, *, training: bool) -> bool:
        """Tell whether `batcher` has nothing to compute for this split: it is cached, or no cache applies."""
        return key in self.known or not self.wanted or (training and not self.is_constant_in_training)

    def batcher(
        self, key: str, split: EncodedSplit, *, training: bool, on_batch: Callable[[int], None] = lambda done: None
    ) -> tuple[MakeBatch, str | None]:
        """Return the batch maker of a split, and where its prefix is cached if that was computed now.

        Args:
            key: cache key of the split; the first call with it computes the prefix.
            split: the examples.
            training: the batches are trained on, for which the prefix is not constant with dropout.
            on_batch: receives the number of examples done.
        """
        if self.is_settled(key, training=training):
            return self.known.setdefault(key, self.plain), None
        pooled = self._is_whole and split.words is None  # token tasks need the states of all tokens
        sizes = [len(part.lengths) if pooled else int(part.offsets[-1]) for part in split.parts]
        size = 4 * sum(sizes) * self._width
        if self.in_memory + size <= MEMORY_LIMIT:
            self.in_memory += size
            stores = [torch.empty(rows, self._width) for rows in sizes]
            location = f"{size / 2**20:.1f} MiB in memory"
        elif size + DISK_RESERVE <= shutil.disk_usage(_folder()).free:
            stores = [_on_disk(rows, self._width) for rows in sizes]
            location = f"{size / 2**20:.1f} MiB on disk"
        else:
            self.known[key] = self.plain
            return self.plain, f"not cached: {size / 2**20:.0f} MiB exceed 1 GiB of memory and the free disk space"
        self._fill(split, stores, pooled, on_batch)
        self.known[key] = _FromPrefix(self.plain, stores, pooled)
        native = self.model.native
        assert native is not None
        kept = "the encoder's vectors" if pooled else f"the output of layer {native.first_trained - 1}"
        return self.known[key], f"{kept}, computed once: {location}"

    @property
    def _width(self) -> int:
        return hidden_size(self.model.encoder)

    @property
    def _is_whole(self) -> bool:
        return not self.model.encoder_trains

    @torch.inference_mode()
    def _fill(self, split: EncodedSplit, stores: list[Tensor], pooled: bool, on_batch: Callable[[int], None]) -> None:
        native = self.model.native
        assert native is not None
        for part, store in zip(split.parts, stores, strict=True):
            done = 0
            for rows in sorted_batches(part.lengths, self.batch_size):
                text = pack(part, rows, self.plain.device)
                if pooled:
                    store[torch.from_numpy(rows)] = averaged(native(text, False), text).cpu()
                else:
                    states = native.run(native.embed(text, False), 0, native.first_trained, text, False)
                    positions = packed_tokens(part, rows)
                    store[torch.from_numpy(positions)] = states[: len(positions)].cpu()
                done += len(rows)
                on_batch(done)


class _FromPrefix:
    """Makes batches from cached states."""

    def __init__(self, plain: Batcher, stores: list[Tensor], is_whole: bool) -> None:
        self.plain, self.stores, self.is_whole = plain, stores, is_whole

    def __call__(self, split: EncodedSplit, rows: np.ndarray) -> Batch:
        texts = tuple(self._text(part, store, rows) for part, store in zip(split.parts, self.stores, strict=True))
        return self.plain.batch(texts, split, rows)

    def _text(self, part: Ragged, store: Tensor, rows: np.ndarray) -> PrefixText:
        if self.is_whole:
            return PrefixText(store[torch.from_numpy(rows)].to(self.plain.device), None)
        text = pack(part, rows, self.plain.device)
        positions = np.zeros(text.layout.rows, dtype=np.int64)  # any state will do for padding rows
        positions[: text.layout.tokens] = packed_tokens(part, rows)
        return PrefixText(store[torch.from_numpy(positions)].to(self.plain.device), text)


def _on_disk(rows: int, width: int) -> Tensor:
    """Return a matrix in an unnamed file, which is deleted when the process ends."""
    with tempfile.TemporaryFile(dir=_folder()) as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, width)))


def _folder() -> str:
    folder = cache_folder() / "prefixes"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
