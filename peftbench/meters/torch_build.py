"""What this installation of torch can compute on. Importing it imports torch, which may itself fail."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """A build of torch: the CUDA it was built for (None: a CPU build), whether that works here, its threads."""

    version: str
    cuda: str | None
    cuda_works: bool
    threads: int


def torch_build() -> TorchBuild:
    """Ask torch. No context is made on a card."""
    return TorchBuild(torch.__version__, torch.version.cuda, torch.cuda.is_available(), torch.get_num_threads())
