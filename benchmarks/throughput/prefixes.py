"""Gain from the prefix cache: last-layer over ten epochs, and adapters on the upper half after the first epoch."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from benchmarks.throughput.columns import SHAPES, Setting, Stepper, huggingface, huggingface_model, new_encoder
from benchmarks.throughput.measure import spread
from peftbench.data.batches import Batcher, MakeBatch, random_batches
from peftbench.data.encode import EncodedSplit
from peftbench.model import MultitaskModel
from peftbench.spec import RunSpec, resolve
from peftbench.training.frozen_features import FrozenFeatures

EPOCHS = 10
TEXTS = 512  # per epoch in this benchmark
LEARNING_RATE = 1e-5


def prefixes(shape: str, size: int, split: EncodedSplit, rounds: int) -> dict[str, Any]:
    """Measure both, without dropout.

    `last-layer`: Hugging Face's loop computes the encoder in every epoch; one epoch is timed and multiplied by ten.
    peftbench is timed in full: the single pass, then ten epochs. `upper half`: an epoch of LoRA on the upper half of
    the layers, its lower half cached, against an epoch of LoRA on all layers, both peftbench's. Both include making
    batches.
    """
    split = split.take(np.arange(min(TEXTS, len(split))))
    last, upper = [], []
    for turn in range(rounds):
        last.append(_last_layer(shape, size, split, turn))
        upper.append(_upper_half(shape, size, split, turn))
    huggingface_model.cache_clear()
    return {
        "shape": shape,
        "batch": size,
        "texts": len(split),
        "last_layer_10_epochs": asdict(spread([theirs / ours for theirs, ours in last])),
        "upper_half_over_all_layers": asdict(spread([whole / half for whole, half in upper])),
    }


def _last_layer(shape: str, size: int, split: EncodedSplit, turn: int) -> tuple[float, float]:
    setting = Setting(shape, 0.0)
    theirs = huggingface(setting, method="last-layer")
    their_seconds = EPOCHS * _epoch(theirs, Batcher(False, 0, torch.device("cpu")), split, size, turn)
    ours, spec = _ours(setting, "last-layer")
    started = time.perf_counter()
    kept, _ = FrozenFeatures(ours.model, ours.model.batcher(0), spec).batcher("train", split, training=True)
    for epoch in range(EPOCHS):
        _epoch(ours, kept, split, size, epoch)
    return their_seconds, time.perf_counter() - started


def _upper_half(shape: str, size: int, split: EncodedSplit, turn: int) -> tuple[float, float]:
    setting, layers = Setting(shape, 0.0), SHAPES[shape].layers
    whole, _ = _ours(setting, "lora-r12")
    half, spec = _ours(setting, "lora-r12", f'method.layers="{layers // 2}-{layers - 1}"')
    part = split.take(np.arange(min(max(64, 2 * size), len(split))))  # a short epoch; both take the same batches
    makers = (
        whole.model.batcher(0),
        FrozenFeatures(half.model, half.model.batcher(0), spec).batcher("part", part, training=True)[0],
    )
    for stepper, make in zip((whole, half), makers, strict=True):
        stepper.step(make(part, np.arange(size)))  # creates the optimiser's state
    seconds = [_epoch(stepper, make, part, size, turn) for stepper, make in zip((whole, half), makers, strict=True)]
    return seconds[0], seconds[1]


def _ours(setting: Setting, preset: str, *overrides: str) -> tuple[Stepper, RunSpec]:
    pooling = f"encoder.pooling={SHAPES[setting.shape].pooling}"
    settings = [pooling, "encoder.token_types=false", "head.dropout=0", "encoder.dropout=0", *overrides]
    spec = resolve(preset, overrides=settings).spec
    spec = spec.model_copy(update={"tasks": spec.tasks[:1]})
    model = MultitaskModel(new_encoder(setting), spec).prepare(torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=LEARNING_RATE, fused=True)
    return Stepper(model.train(), optimizer), spec


def _epoch(stepper: Stepper, make: MakeBatch, split: EncodedSplit, size: int, turn: int) -> float:
    """Return the seconds of one epoch, including making batches."""
    started = time.perf_counter()
    for rows in random_batches(len(split), size, torch.Generator().manual_seed(turn)):
        stepper.step(make(split, rows))
    return time.perf_counter() - started
