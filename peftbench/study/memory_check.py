"""Memory predictions of the study's runs, as the study ran them (see `study.memory`), and on the native path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MethodType

import torch.nn.functional as F
from torch import Tensor, nn

from peftbench.memory.inputs import encoder_of
from peftbench.memory.parts import Anatomy, BatchShape
from peftbench.memory.predict import predict_for
from peftbench.memory.shapes import largest_batch, lengths_of_study
from peftbench.methods.lora import LoraAdapter
from peftbench.model import MultitaskModel
from peftbench.spec import resolve
from peftbench.study.memory import ROWS, TASK, WORKLOAD, MemoryComparison, StudyRow, padded_batch


def compare_with_study(rows: Sequence[StudyRow] = ROWS) -> list[MemoryComparison]:
    """Predict rows of the study's Table 2 as the study ran them, and on the native path.

    Raises:
        MissingError: the encoder's configuration is not available.
    """
    return [
        MemoryComparison(row, as_the_study(row.preset, {TASK: padded_batch()}), _native(row.preset)) for row in rows
    ]


def as_the_study(preset: str, batches: Mapping[str, BatchShape], *, formed: bool = True) -> Anatomy:
    """Predict a preset as the study ran it.

    Args:
        preset: a preset, on the paper workload.
        batches: the batches of the trained tasks; in two parts if the texts of a pair are encoded separately.
        formed: adapted layers materialise their weight and multiply once; else the low-rank path is separate.
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
    """Make every adapter materialise its full weight and multiply by it, as in the printed equations."""
    for module in model.modules():
        if isinstance(module, LoraAdapter):
            module.forward = MethodType(_forward_with_formed_weight, module)  # type: ignore[method-assign]


def _forward_with_formed_weight(adapter: LoraAdapter, x: Tensor, base: nn.Linear) -> Tensor:
    return F.linear(x, adapter.weight(base), base.bias)
