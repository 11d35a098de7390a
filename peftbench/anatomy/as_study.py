"""The study's own runs, predicted as it ran them (`study` says how it is read), and the same on the native path."""

from __future__ import annotations

from types import MethodType

import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.anatomy.parts import Anatomy
from peftbench.anatomy.predict import predict_for
from peftbench.anatomy.shapes import largest_batch, lengths_of_study
from peftbench.anatomy.source import encoder_of
from peftbench.anatomy.study import ROWS, TASK, WORKLOAD, Compared, padded_batch
from peftbench.methods.lora import LoraAdapter
from peftbench.model import MultitaskModel
from peftbench.spec import resolve


def compare_with_study() -> list[Compared]:
    """Predict every row of the study's Table 2 twice: as the study ran it, and on the native path.

    Raises:
        MissingError: the encoder's configuration cannot be had.
    """
    return [Compared(row, _as_study(row.preset), _native(row.preset)) for row in ROWS]


def _as_study(preset: str) -> Anatomy:
    spec = resolve(preset, WORKLOAD, overrides=["runtime=transformers"]).spec
    config, _, _ = encoder_of(spec.encoder)
    return predict_for(config, spec, {TASK: padded_batch()}, "cuda", attention="eager", change=form_weights)


def _native(preset: str) -> Anatomy:
    spec = resolve(preset, WORKLOAD).spec
    config, _, _ = encoder_of(spec.encoder)
    task = next(task for task in spec.tasks if task.name == TASK)
    batch = largest_batch(lengths_of_study(spec, task), spec, task, packed=True)
    return predict_for(config, spec, {TASK: batch}, "cuda")


def form_weights(model: MultitaskModel) -> None:
    """Let every adapter form its whole weight and multiply by that: the equations as they are printed."""
    for module in model.modules():
        if isinstance(module, LoraAdapter):
            module.forward = MethodType(_by_its_weight, module)  # type: ignore[method-assign]


def _by_its_weight(adapter: LoraAdapter, x: Tensor, base: nn.Linear) -> Tensor:
    return F.linear(x, adapter.weight(base), base.bias)
