"""A run's memory before it is run: one training step of the real model, on tensors that have no values.

The model is the run's own (its method, its runtime, its kernels), so that what it keeps is not modelled a second time
here. Forward, backward and AdamW are run once for the largest batch of each task; what lives is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)

from peftbench.anatomy.fake import Kernels, placeholder_encoder, without_values
from peftbench.anatomy.parts import Anatomy, BatchShape
from peftbench.anatomy.source import source_of
from peftbench.anatomy.step import Steps
from peftbench.anatomy.storage import LiveBytes
from peftbench.errors import PeftbenchError, UsageError
from peftbench.kernels.linear import onednn, onednn_bf16
from peftbench.kernels.place import DeviceType, imagined
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.text import clean

CANNOT = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)
"""What torch raises where an operation's result depends on values, or where it does not know its shape."""

Change = Callable[[MultitaskModel], None]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A run's anatomy, and what it was predicted for: the device's code path, batches, and notes for the user."""

    anatomy: Anatomy
    device: DeviceType
    batches: Mapping[str, BatchShape]
    notes: tuple[str, ...]


def predict(spec: RunSpec, device: DeviceType = "cuda") -> Prediction:
    """Return what a run will need, from its spec alone: neither weights nor a GPU are needed.

    Raises:
        MissingError, DataError: the encoder's configuration, or a task's data, cannot be had or used.
        UsageError: see `source_of` and `predict_for`.
        PeftbenchError: the method looks at values in training.
    """
    source = source_of(spec)
    notes = source.notes
    if device == "cuda" and not torch.cuda.is_available():
        notes = (*notes, "torch sees no GPU here: a run on this machine takes what --device cpu says")
    return Prediction(predict_for(source.config, spec, source.batches, device), device, source.batches, notes)


def predict_for(
    model_config: Any,
    spec: RunSpec,
    batches: Mapping[str, BatchShape],
    device: DeviceType,
    *,
    attention: str = "sdpa",
    change: Change | None = None,
) -> Anatomy:
    """Return the anatomy of a run's largest training step, once every task in `batches` has been trained.

    Args:
        model_config: transformers' configuration of the encoder, its dropout set; it is left as it is.
        spec: the run's.
        batches: the largest batch of each task that is trained, by the task's name; one at least.
        device: whose code path: "cuda" or "cpu". Nothing is computed, and no GPU is needed.
        attention: transformers' attention, where its forward is used: `sdpa` as runs have it, or `eager`.
        change: is given the model when its method is attached, to compute something otherwise.

    Raises:
        UsageError: a task is unknown, none is given, or the method cannot attach to this encoder.
        MissingError: transformers cannot build the encoder, or the method needs a package that is not here.
        PeftbenchError: the method looks at values in training, and here there are none.
    """
    known = _tasks(spec, batches)
    onednn(), onednn_bf16()  # they probe with values, once, and remember
    encoder = placeholder_encoder(model_config, attention)
    if spec.encoder.pooling == "pooler" and getattr(encoder, "pooler", None) is None:
        raise UsageError(
            f"encoder.pooling = 'pooler': a {clean(model_config.model_type)} has no pooler",
            "use --set encoder.pooling=mean, or cls",
        )
    with torch.random.fork_rng(devices=[]):
        model = MultitaskModel(encoder, spec)
    if change is not None:
        change(model)
    try:
        return _imagine(model, spec, known, batches, device)
    except CANNOT as error:
        raise PeftbenchError(
            f"method {spec.method.name} (runtime {spec.runtime}): its memory cannot be predicted, it decides by values "
            f"in training ({clean(error, 120)})",
            "run it: its memory is then measured",
        ) from error


def _tasks(spec: RunSpec, batches: Mapping[str, BatchShape]) -> list[TaskSpec]:
    """Return the tasks of the batches, and see that these are in the form that the spec's inputs have."""
    if not batches:
        raise UsageError("no batch to predict for", f"tasks of the spec: {', '.join(task.name for task in spec.tasks)}")
    found = []
    for name, shape in batches.items():
        task = spec.task(name)
        if task is None:
            raise UsageError(
                f"a batch of task '{clean(name)}' to predict for, which the spec has not",
                f"tasks of the spec: {', '.join(task.name for task in spec.tasks)}",
            )
        parts = 2 if task.is_pair and spec.encoder.pair_encoding == "separate" else 1
        if len(shape.parts) != parts:
            raise UsageError(
                f"task {task.name}: a batch of {len(shape.parts)} texts an example to predict for, not {parts}",
                f"encoder.pair_encoding is '{spec.encoder.pair_encoding}'",
            )
        found.append(task)
    return found


def _imagine(
    model: MultitaskModel,
    spec: RunSpec,
    tasks: list[TaskSpec],
    batches: Mapping[str, BatchShape],
    device: DeviceType,
) -> Anatomy:
    """Take the values out of a model and train it on each task's batch."""
    mode, live = FakeTensorMode(), LiveBytes()
    without_values(model, mode, model.method)
    with ExitStack() as stack:
        for each in (imagined(device, lambda: Kernels(device)), mode, Kernels(device), live):
            stack.enter_context(each)
        model.prepare(torch.device("cpu"))
        steps, packed = Steps(model, spec, mode, live), model.native is not None
        found = [steps.run(task, batches[task.name]) for task in _largest(tasks, batches, packed=packed)]
        for task in tasks:
            steps.remember(task)
        return max((steps.anatomy(step) for step in found), key=lambda parts: parts.total or 0)


def _largest(tasks: list[TaskSpec], batches: Mapping[str, BatchShape], *, packed: bool) -> list[TaskSpec]:
    """Return the tasks of which no other's batch has as many tokens and as much attention: one has the largest step."""
    loads = {task: batches[task.name].load(packed=packed) for task in tasks}
    found: list[TaskSpec] = []
    for task in sorted(tasks, key=lambda task: (loads[task], task.outputs), reverse=True):
        if not any(loads[other][1] >= loads[task][1] for other in found):  # they have as many tokens
            found.append(task)
    return found
