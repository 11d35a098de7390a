"""What an epoch of SST would reserve: the storages of a step of each length, replayed in the order of the batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.memory.allocator import Allocator, Block
from peftbench.anatomy.as_study import form_weights
from peftbench.anatomy.fake import Kernels, fake_batch, placeholder_encoder, without_values
from peftbench.anatomy.lengths import WHOLE
from peftbench.anatomy.measure import resident
from peftbench.anatomy.parts import BatchShape
from peftbench.anatomy.source import encoder_of
from peftbench.anatomy.storage import LiveBytes
from peftbench.anatomy.study import BATCH_SIZE, TASK, WORKLOAD
from peftbench.kernels.linear import onednn, onednn_bf16
from peftbench.kernels.place import imagined
from peftbench.model import MultitaskModel
from peftbench.spec import resolve
from peftbench.training.metrics import loss_of

Event = tuple[int, int]  # a storage's number, and its bytes when it is made or -1 when it goes


class _Trace(LiveBytes):
    """Notes every storage made and gone."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def made(self, serial: int, count: int) -> None:
        self.events.append((serial, count))

    def gone(self, serial: int, count: int) -> None:
        self.events.append((serial, -1))

    def cut(self) -> list[Event]:
        """Return what was noted since the last cut."""
        events, self.events = self.events, []
        return events


def sst_lengths() -> list[int]:
    """Return the padded length of each batch of an epoch, in a random order."""
    tokens = np.random.default_rng(0).permutation(np.array(WHOLE[TASK]))
    return [int(tokens[at : at + BATCH_SIZE].max()) for at in range(0, len(tokens), BATCH_SIZE)]


def reserved_bytes(preset: str, order: Sequence[int], *, formed: bool) -> int:
    """Return what the allocator has reserved after steps of these padded lengths.

    Gradients stay from step to step, as in `training.loop` while the next one runs forward.
    """
    traces = _traces(preset, sorted(set(order)), formed=formed)
    allocator, known = Allocator(), {}
    for length in [0, *order]:
        _replay(traces[length], allocator, known)
    return allocator.reserved


def _replay(events: Sequence[Event], allocator: Allocator, known: dict[int, Block]) -> None:
    """Take and give; what outlives a step that is replayed many times has taken the place of what was there before."""
    for serial, count in events:
        if count > 0:
            if serial in known:
                allocator.give(known.pop(serial))
            known[serial] = allocator.take(count)
        elif count < 0 and serial in known:
            allocator.give(known.pop(serial))


def _traces(preset: str, lengths: Sequence[int], *, formed: bool) -> dict[int, list[Event]]:
    """Return the storages of a step of each length; below 0, those of loading and the first step."""
    spec = resolve(preset, WORKLOAD, overrides=["runtime=transformers"]).spec
    task = spec.tasks[0]
    onednn(), onednn_bf16()  # they probe with values
    config, _, _ = encoder_of(spec.encoder)
    model = MultitaskModel(placeholder_encoder(config, "eager"), spec)
    if formed:
        form_weights(model)
    mode, trace, found = FakeTensorMode(), _Trace(), {}
    without_values(model, mode, model.method)
    with imagined("cuda"), mode, Kernels("cuda"), trace:
        model.prepare(torch.device("cpu"))
        trace.take(resident(model))
        optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), 1e-3), fused=True)
        model.switch_mode(task.name)
        model.train()
        for place, length in [(0, lengths[0]), *((length, length) for length in lengths)]:
            batch = fake_batch(BatchShape(((length,) * BATCH_SIZE,)), model.batcher(0), mode)
            loss = loss_of(task, model(batch), batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            del batch, loss
            found[place] = trace.cut()
    return found
