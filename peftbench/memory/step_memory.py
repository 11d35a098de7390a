"""A run's memory: predicted before its first step, measured after its last one, and stored with the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import torch

from peftbench.data.encode import EncodedSplit
from peftbench.memory.measure import activation_bytes, measured
from peftbench.memory.parts import Anatomy
from peftbench.memory.predict import predict_for
from peftbench.memory.prediction_cache import known_or
from peftbench.memory.shapes import largest_rows, shape_of
from peftbench.methods.registry import method_info
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.store.conditions import MemoryParts
from peftbench.training.frozen_features import FrozenFeatures


class StepMemory:
    """The memory of a run's largest training step.

    Args:
        spec: of the run.
        model: prepared.
        train: the training split of each task.
    """

    def __init__(self, spec: RunSpec, model: MultitaskModel, train: Mapping[str, EncodedSplit]) -> None:
        self.spec, self.model, self.train = spec, model, train
        self.rows: dict[str, np.ndarray] = {}
        for task in spec.tasks:
            lengths = [part.lengths for part in train[task.name].parts]
            self.rows[task.name] = largest_rows(lengths, spec, task, packed=model.native is not None)

    def predicted(self) -> MemoryParts:
        """Return the predicted anatomy of a step, in bytes by part.

        Raises:
            PeftbenchError: prediction is not possible; see `predict_for`.
        """
        shapes = {
            task: shape_of([part.lengths for part in self.train[task].parts], rows, self.spec)
            for task, rows in self.rows.items()
        }
        device: Literal["cpu", "cuda"] = "cuda" if next(self.model.heads.parameters()).device.type == "cuda" else "cpu"
        config: Any = self.model.encoder.config

        def compute() -> MemoryParts:
            anatomy = predict_for(config, self.spec, shapes, device)
            return {**anatomy.as_dict(), "tokens": {task: shape.tokens for task, shape in shapes.items()}}

        if not method_info(self.spec.method.name).options.__module__.startswith("peftbench."):
            return compute()  # not cached: changes in another package's method cannot be detected
        determinants = (config.to_json_string(), self.spec.group_hash(), sorted(shapes.items()), device)
        return cast("MemoryParts", known_or(compute, *determinants))

    def measured(
        self, optimizer: torch.optim.Optimizer, prefixes: FrozenFeatures, peak_bytes: int | None
    ) -> MemoryParts:
        """Return the measured anatomy of the model after training, in bytes by part.

        Args:
            optimizer: with the state of every task.
            prefixes: builds batches as in training, only for the measured rows, since a process may lack the others.
            peak_bytes: the peak of torch's allocator during training, if it is recorded.
        """
        largest = 0
        for task in self.spec.tasks:
            self.model.switch_mode(task.name)
            split = self.train[task.name].take(self.rows[task.name])
            batcher, _ = prefixes.batcher(f"{task.name} largest batch", split, training=True)
            batch = batcher(split, np.arange(len(split)))
            largest = max(largest, activation_bytes(self.model, task, batch))
        anatomy: Anatomy = measured(self.model, optimizer, largest, peak_bytes)
        return anatomy.as_dict()
