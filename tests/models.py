"""Models whose adapters do something, texts for them, and the gradients they give."""

from __future__ import annotations

import re
import zlib

import numpy as np
import torch

from peftbench.data.batches import Batcher
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.encoder import find_encoder, load_encoder
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved

CPU = torch.device("cpu")
PADDED, PACKED = Batcher(False, 0, CPU), Batcher(True, 0, CPU)
TOLERANCE = 1e-5


def model_with_adapters(resolved: Resolved, runtime: str, **changes: object) -> MultitaskModel:
    """Build a model whose adapters do something: the same ones whatever the runtime."""
    spec = resolved.spec.model_copy(update={"runtime": runtime, **changes})
    model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)
    for name, weight in sorted(named(model).items()):
        rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if name.endswith((".A", ".B")):  # B starts at zero, where half of the gradients vanish
            weight.data.normal_(0, 0.1, generator=rng)
        elif name.endswith(".m"):
            weight.data.mul_(torch.empty_like(weight).uniform_(0.5, 1.5, generator=rng))
        elif ".adapters." in name:
            weight.data.add_(torch.empty_like(weight).normal_(0, 0.1, generator=rng))
    return model.prepare(CPU)


def ours(name: str) -> str:
    """PEFT's name of a weight, as ours."""
    for theirs, mine in (("lora_A", "A"), ("lora_B", "B"), ("lora_magnitude_vector", "m")):
        name = re.sub(rf"\.{theirs}\.task-(\w+)\.weight$", rf".adapters.\1.{mine}", name)
    return re.sub(r"\.modules_to_save\.task-(\w+)\.", r".adapters.\1.", name)


def named(model: MultitaskModel) -> dict[str, torch.nn.Parameter]:
    """The trained weights by our names."""
    return {ours(name): weight for name, weight in model.trainable().items()}


def texts(lengths: list[int], seed: int = 0, types: bool = True) -> EncodedSplit:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1000, 30000, offsets[-1]).astype(np.int32)
    kinds = rng.integers(0, 2 if types else 1, offsets[-1]).astype(np.int32)
    names = tuple(map(str, range(len(lengths))))
    return EncodedSplit((Ragged(ids, kinds, offsets),), rng.random(len(lengths)), names, 0, False)


def gradients(model: MultitaskModel, batch: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    logits = model(batch)
    weight = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * weight).sum().backward()
    return logits.detach(), {n: w.grad.clone() for n, w in named(model).items() if w.grad is not None}
