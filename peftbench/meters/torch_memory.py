"""torch's allocator as a meter: what tensors hold (allocated) and what the process keeps for them (reserved)."""

from __future__ import annotations

import torch

from peftbench.meters.readings import TORCH_FIELDS, Capabilities, Reading, nothing

MIB = 2**20
_BOOKS = {"allocated_mib": "allocated_bytes.all.current", "reserved_mib": "reserved_bytes.all.current"}


class TorchMemory:
    """Reads the CUDA caching allocator of a device. The CPU's allocator keeps no books."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.on_gpu = device.type == "cuda"

    def probe(self) -> Capabilities:
        """Return whether there is an allocator with books."""
        if self.on_gpu:
            return Capabilities("torch", "ok", str(self.device), dict.fromkeys(TORCH_FIELDS, "ok"))
        reason = "torch keeps no books of memory on the CPU"
        return Capabilities("torch", "unsupported", reason, dict.fromkeys(TORCH_FIELDS, "unsupported"))

    def sample(self) -> Reading:
        """Return what is allocated and reserved now."""
        if not self.on_gpu:
            return nothing(TORCH_FIELDS, "unsupported")
        try:
            books = torch.cuda.memory_stats(self.device)
        except RuntimeError:  # the device is gone
            return nothing(TORCH_FIELDS, "lost")
        return Reading({name: books.get(key, 0) / MIB for name, key in _BOOKS.items()})  # empty before the first tensor

    def has_work(self) -> bool:
        """Tell whether this process has given the device anything yet."""
        known = getattr(torch._C, "_cuda_hasPrimaryContext", None)
        if not self.on_gpu or not torch.cuda.is_initialized():
            return False
        return bool(known(self.device.index or 0)) if known else torch.cuda.memory_reserved(self.device) > 0

    def synchronise(self) -> None:
        """Wait until the device has done all that it was given; on the CPU it has.

        A GPU that was given nothing is left alone: a context made by this would be in the idle figures.
        """
        if self.has_work():
            torch.cuda.synchronize(self.device)

    def reset_peaks(self) -> None:
        """Start new peaks. Never `empty_cache`: that would change what is measured."""
        if self.on_gpu and torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats(self.device)

    def peaks_mib(self) -> tuple[float | None, float | None]:
        """Return the peaks of allocated and reserved memory since the last reset, in MiB."""
        if not self.on_gpu:
            return None, None
        allocated, reserved = torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved
        return allocated(self.device) / MIB, reserved(self.device) / MIB

    def close(self) -> None:
        """Hold nothing."""
