"""The device of a run, and torch's deterministic mode."""

from __future__ import annotations

import os

import torch


def choose_device() -> torch.device:
    """Return the GPU where torch can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic(device: torch.device) -> None:
    """Turn on torch's deterministic algorithms; on a GPU, where some kernels have none, it only warns (in the log)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
