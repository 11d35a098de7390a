"""Predict a run's memory before it runs, from one training step of the real model on fake tensors.

The model is the run's own (method, runtime, kernels), so that its memory use is not modelled separately here.
Forward, backward and AdamW are run once for the largest batch of each task, and live storages are counted.
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

from peftbench.encoder import attention_of, check_pooling, is_known_causal
from peftbench.errors import PeftbenchError, UsageError
from peftbench.kernels.device import DeviceType, fake_device
from peftbench.kernels.linear import onednn, onednn_bf16
from peftbench.memory.fake_tensors import Kernels, placeholder_encoder, without_values
from peftbench.memory.inputs import encoder_source_of
from peftbench.memory.parts import Anatomy, BatchShape
from peftbench.memory.step import FakeSteps
from peftbench.memory.storages import LiveBytes
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.tasks import TaskSpec
from peftbench.text import clean

CANNOT = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)
"""Exceptions raised by torch for operations whose results or shapes depend on values."""

Change = Callable[[MultitaskModel], None]


@dataclass(frozen=True, slots=True)
class StepPrediction:
    """A predicted anatomy with its conditions: the device's code path, batches, and notes for the user.

    `adapted`: the names of the encoder's modules with adapters.
    """

    anatomy: Anatomy
    device: DeviceType
    batches: Mapping[str, BatchShape]
    notes: tuple[str, ...]
    adapted: tuple[str, ...] = ()


def predict(spec: RunSpec, device: DeviceType = "cuda") -> StepPrediction:
    """Predict a run's memory from its spec; neither weights nor a GPU are needed.

    Raises:
        MissingError, DataError: the encoder's configuration, or a task's data, is not available or not usable.
        UsageError: see `encoder_source_of` and `predict_for`.
        PeftbenchError: the method depends on values during training.
    """
    source = encoder_source_of(spec)
    notes = source.notes
    if device == "cuda" and not torch.cuda.is_available():
        notes = (*notes, "torch finds no GPU here: for a run on this machine, see --device cpu")
    adapted: list[str] = []
    anatomy = predict_for(
        source.config, spec, source.batches, device, change=lambda model: adapted.extend(model.method.adapted)
    )
    return StepPrediction(anatomy, device, source.batches, notes, tuple(adapted))


def predict_for(
    model_config: Any,
    spec: RunSpec,
    batches: Mapping[str, BatchShape],
    device: DeviceType,
    *,
    attention: str | None = None,
    change: Change | None = None,
) -> Anatomy:
    """Return the anatomy of a run's largest training step, after every task in `batches` has been trained.

    Args:
        model_config: transformers' configuration of the encoder, with its dropout set; not modified.
        spec: of the run.
        batches: the largest batch of each trained task, by task name; at least one.
        device: the code path, "cuda" or "cpu". Nothing is computed, and no GPU is needed.
        attention: transformers' attention for its forward pass; None: as in runs, see `attention_of`.
        change: called with the model after its method is attached, to read it or modify its computation.

    Raises:
        UsageError: a task is unknown, none is given, or the method cannot attach to this encoder.
        MissingError: transformers cannot build the encoder, or the method needs a package that is not installed.
        PeftbenchError: the method depends on values during training, which fake tensors do not have.
    """
    known = _tasks(spec, batches)
    onednn(), onednn_bf16()  # probed with real values, once, and cached
    encoder = placeholder_encoder(model_config, attention or attention_of(model_config))
    has_pooler = getattr(encoder, "pooler", None) is not None
    check_pooling(
        spec.encoder.pooling,
        f"a {model_config.model_type}",
        causal=is_known_causal(model_config),
        has_pooler=has_pooler,
    )
    with torch.random.fork_rng(devices=[]):
        model = MultitaskModel(encoder, spec)
    if change is not None:
        change(model)
    try:
        return _run_fake_steps(model, spec, known, batches, device)
    except CANNOT as error:
        raise PeftbenchError(
            f"method {spec.method.name} (runtime {spec.runtime}): its memory cannot be predicted, since it depends on "
            f"values during training ({clean(error, 120)})",
            "run it to measure its memory",
        ) from error


def _tasks(spec: RunSpec, batches: Mapping[str, BatchShape]) -> list[TaskSpec]:
    """Return the tasks of the batches, after checking that the batches match the spec's input format."""
    if not batches:
        raise UsageError("no batch to predict for", f"tasks of the spec: {', '.join(task.name for task in spec.tasks)}")
    tasks = []
    for name, shape in batches.items():
        task = spec.task(name)
        if task is None:
            raise UsageError(
                f"a batch for task '{clean(name)}', which is not in the spec",
                f"tasks of the spec: {', '.join(task.name for task in spec.tasks)}",
            )
        parts = 2 if task.is_pair and spec.encoder.pair_encoding == "separate" else 1
        if len(shape.parts) != parts:
            raise UsageError(
                f"task {task.name}: a batch with {len(shape.parts)} texts per example, expected {parts}",
                f"encoder.pair_encoding is '{spec.encoder.pair_encoding}'",
            )
        tasks.append(task)
    return tasks


def _run_fake_steps(
    model: MultitaskModel,
    spec: RunSpec,
    tasks: list[TaskSpec],
    batches: Mapping[str, BatchShape],
    device: DeviceType,
) -> Anatomy:
    """Convert a model to fake tensors and run a training step on each task's batch."""
    mode, live = FakeTensorMode(), LiveBytes()
    without_values(model, mode, model.method)
    with ExitStack() as stack:
        for each in (fake_device(device, lambda: Kernels(device)), mode, Kernels(device), live):
            stack.enter_context(each)
        model.prepare(torch.device("cpu"))
        steps, packed = FakeSteps(model, spec, mode, live), model.native is not None
        measured_steps = [steps.run(task, batches[task.name]) for task in _largest(tasks, batches, packed=packed)]
        for task in tasks:
            steps.remember(task)
        return max((steps.anatomy(step) for step in measured_steps), key=lambda parts: parts.total or 0)


def _largest(tasks: list[TaskSpec], batches: Mapping[str, BatchShape], *, packed: bool) -> list[TaskSpec]:
    """Return the tasks whose batches no other dominates in tokens and attention: one of them has the largest step."""
    loads = {task: batches[task.name].load(packed=packed) for task in tasks}
    largest: list[TaskSpec] = []
    for task in sorted(tasks, key=lambda task: (loads[task], task.outputs), reverse=True):
        if not any(loads[other][1] >= loads[task][1] for other in largest):  # `largest` has at least as many tokens
            largest.append(task)
    return largest
