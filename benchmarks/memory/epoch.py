"""Memory that an epoch of SST would reserve: the storages of a step of each length, replayed in batch order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.memory.allocator import Allocator, Block
from peftbench.kernels.device import fake_device
from peftbench.kernels.linear import onednn, onednn_bf16
from peftbench.memory.fake_tensors import Kernels, fake_batch, placeholder_encoder, without_values
from peftbench.memory.inputs import encoder_of
from peftbench.memory.measure import resident
from peftbench.memory.parts import BatchShape
from peftbench.memory.storages import LiveBytes
from peftbench.memory.typical_lengths import WHOLE
from peftbench.model import MultitaskModel
from peftbench.spec import resolve
from peftbench.study.memory import BATCH_SIZE, TASK, WORKLOAD
from peftbench.study.memory_check import form_weights
from peftbench.training.metrics import loss_of

Event = tuple[int, int]  # a storage's serial number, and its bytes on allocation or -1 on release


class _Trace(LiveBytes):
    """Records every storage allocated and released."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def made(self, serial: int, count: int) -> None:
        self.events.append((serial, count))

    def gone(self, serial: int, count: int) -> None:
        self.events.append((serial, -1))

    def cut(self) -> list[Event]:
        """Return the events since the last cut."""
        events, self.events = self.events, []
        return events


def sst_lengths() -> list[int]:
    """Return the padded length of each batch of an epoch, in a random order."""
    tokens = np.random.default_rng(0).permutation(np.array(WHOLE[TASK]))
    return [int(tokens[at : at + BATCH_SIZE].max()) for at in range(0, len(tokens), BATCH_SIZE)]


def reserved_bytes(preset: str, order: Sequence[int], *, formed: bool) -> int:
    """Return what the allocator has reserved after steps of these padded lengths.

    Gradients are kept between steps, as in `training.loop` while the next step runs forward.
    """
    traces = _traces(preset, sorted(set(order)), formed=formed)
    allocator, known = Allocator(), {}
    for length in [0, *order]:
        _replay(traces[length], allocator, known)
    return allocator.reserved


def _replay(events: Sequence[Event], allocator: Allocator, known: dict[int, Block]) -> None:
    """Replay allocations and releases; a storage that outlives a replayed step replaces that of the previous replay."""
    for serial, count in events:
        if count > 0:
            if serial in known:
                allocator.give(known.pop(serial))
            known[serial] = allocator.take(count)
        elif count < 0 and serial in known:
            allocator.give(known.pop(serial))


def _traces(preset: str, lengths: Sequence[int], *, formed: bool) -> dict[int, list[Event]]:
    """Return the storages of a step of each length; under key 0, those of loading and the first step."""
    spec = resolve(preset, WORKLOAD, overrides=["runtime=transformers"]).spec
    task = spec.tasks[0]
    onednn(), onednn_bf16()  # their probes need real values, before fake tensors are on
    config, _, _ = encoder_of(spec.encoder)
    model = MultitaskModel(placeholder_encoder(config, "eager"), spec)
    if formed:
        form_weights(model)
    mode, trace, found = FakeTensorMode(), _Trace(), {}
    without_values(model, mode, model.method)
    with fake_device("cuda"), mode, Kernels("cuda"), trace:
        model.prepare(torch.device("cpu"))
        trace.take(resident(model))
        optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), 1e-3), fused=True)
        model.switch_mode(task.name)
        model.train()
        for place, length in [(0, lengths[0]), *((length, length) for length in lengths)]:
            batch = fake_batch(task, BatchShape(((length,) * BATCH_SIZE,)), model.batcher(0), mode)
            loss = loss_of(task, model(batch), batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            del batch, loss
            found[place] = trace.cut()
    return found
