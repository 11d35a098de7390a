"""Steppers of small models, and batches for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peftbench.data.batches import Batch
from peftbench.encoder import find_encoder, load_encoder
from peftbench.model import MultitaskModel
from peftbench.spec import RunSpec
from peftbench.training.plan import Plan
from peftbench.training.stepper import Stepper
from tests.models import CPU, texts


def stepping(spec: RunSpec, steps: int = 10) -> Stepper:
    model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec).prepare(CPU)
    model.train()
    return Stepper(spec, model, Plan(dict.fromkeys(model.heads, steps), 1, 1, None))


def batches(of: Stepper, groups: Sequence[Sequence[int]]) -> list[Batch]:
    split = texts([5, 17, 9, 1, 30, 9, 9, 12])
    return [of.model.batcher(0)(split, np.array(rows)) for rows in groups]
