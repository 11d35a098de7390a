"""A run's memory: predicted before its first step, measured after its last one, and kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from peftbench.anatomy.measure import activation_bytes, measured
from peftbench.anatomy.parts import Anatomy, BatchShape
from peftbench.anatomy.predict import predict_for
from peftbench.anatomy.shapes import largest_rows
from peftbench.data.encode import EncodedSplit
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.training.prefix import Prefixes


class StepMemory:
    """What the largest training step of a run takes.

    Args:
        spec: the run's.
        model: prepared.
        train: the training split of each task.
    """

    def __init__(self, spec: RunSpec, model: MultitaskModel, train: Mapping[str, EncodedSplit]) -> None:
        self.spec, self.model, self.train = spec, model, train
        self.rows: dict[str, np.ndarray] = {}
        for task in spec.tasks:
            lengths = [part.lengths for part in train[task.name].parts]
            self.rows[task.name] = largest_rows(lengths, spec, task, packed=model.native is not None)

    def predicted(self) -> dict[str, Any]:
        """Return the anatomy that a step should have, in bytes by part.

        Raises:
            PeftbenchError: it cannot be predicted; see `predict_for`.
        """
        shapes = {
            task: BatchShape(
                tuple(tuple(int(length) for length in part.lengths[rows]) for part in self.train[task].parts)
            )
            for task, rows in self.rows.items()
        }
        on_gpu = next(self.model.heads.parameters()).device.type == "cuda"
        found = predict_for(self.model.encoder.config, self.spec, shapes, "cuda" if on_gpu else "cpu")
        return {**found.as_dict(), "tokens": {task: shape.tokens for task, shape in shapes.items()}}

    def measured(self, optimizer: torch.optim.Optimizer, prefixes: Prefixes, peak_bytes: int | None) -> dict[str, Any]:
        """Return the anatomy of the model as it is after training, in bytes by part.

        Args:
            optimizer: with the state of every task.
            prefixes: make batches as training had them; of what is measured alone, for not every process has them all.
            peak_bytes: the peak of torch's allocator while training, where it keeps books.
        """
        largest = 0
        for task in self.spec.tasks:
            self.model.switch_mode(task.name)
            split = self.train[task.name].take(self.rows[task.name])
            batcher, _ = prefixes.batcher(f"{task.name} largest batch", split, training=True)
            batch = batcher(split, np.arange(len(split)))
            largest = max(largest, activation_bytes(self.model, task, batch))
        found: Anatomy = measured(self.model, optimizer, largest, peak_bytes)
        return found.as_dict()
