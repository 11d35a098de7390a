"""The study's own runs, predicted as it ran them (`study` says how it is read), and the same on the native path."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType

import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.anatomy.parts import Anatomy, BatchShape
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
    return [Compared(row, as_the_study(row.preset, {TASK: padded_batch()}), _native(row.preset)) for row in ROWS]


def as_the_study(preset: str, batches: Mapping[str, BatchShape], *, formed: bool = True) -> Anatomy:
    """Predict a preset as the study ran it.

    Args:
        preset: of the paper workload.
        batches: of the tasks that have been trained; in two parts where the texts of a pair are encoded separately.
        formed: an adapted layer forms its weight and multiplies once; else the low-rank part has a path of its own.
    """
    separate = any(len(shape.parts) > 1 for shape in batches.values())
    encoding = f"encoder.pair_encoding={'separate' if separate else 'joint'}"
    spec = resolve(preset, WORKLOAD, overrides=["runtime=transformers", encoding]).spec
    config, _, _ = encoder_of(spec.encoder)
    change = form_weights if formed else None
    return predict_for(config, spec, batches, "cuda", attention="eager", change=change)


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
