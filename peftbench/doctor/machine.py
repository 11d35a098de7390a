"""The machine without its cards: versions, torch's build, cores, other people's load, memory, processor energy."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from peftbench.doctor.findings import Check, Finding, fail, ok, skip, warn
from peftbench.doctor.options import Options
from peftbench.meters.readings import Capabilities

NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "huggingface-hub", "datasets", "nvidia-ml-py", "psutil")
_SHOWN = ("torch", "transformers", "nvidia-ml-py")
GIB = 2**30
LEAST_FREE_GIB = 2.0  # BERT-base, its gradients, AdamW's two moments and torch itself fit
BUSY = 0.1  # of the machine, used by others
SWAPPED = 0.25  # of the swap space
_CGROUP = Path("/sys/fs/cgroup")


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks."""
    return (
        Check("versions", versions),
        Check("torch", torch_here),
        Check("cores", cores_here),
        Check("load", lambda: load(others_cores(options.load_s), usable_cores())),
        Check("memory", memory_here),
        Check("CPU energy", rapl_here),
    )


def versions() -> Finding:
    """See that what peftbench needs is installed."""
    import platform

    from peftbench.version import __version__

    found = {name: _version(name) for name in NEEDED}
    absent = [name for name, number in found.items() if number is None]
    if absent:
        return fail("versions", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}")
    peft = _version("peft")
    names = [f"peftbench {__version__}", f"Python {platform.python_version()}"]
    names += [f"{name} {found[name]}" for name in _SHOWN]
    return ok("versions", ", ".join([*names, f"peft {peft}" if peft else "no peft (an extra)"]))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def torch_here() -> Finding:
    """Ask torch what it is and judge it."""
    from peftbench.meters.survey import card_count

    try:
        from peftbench.meters.torch_build import torch_build
    except Exception as error:  # a broken installation raises whatever its parts raise
        return fail("torch", f"it cannot be imported: {type(error).__name__}: {error}", "install torch anew")
    build = torch_build()
    return torch_finding(build.version, build.cuda, build.cuda_works, card_count())


def torch_finding(number: str, cuda: str | None, works: bool, cards: int) -> Finding:
    """Judge a build of torch: its version, the CUDA it was built for, whether that works, and the driver's cards."""
    there = f"this machine's {cards} GPU{'s' * (cards > 1)}"
    if cuda is None and not cards:
        return ok("torch", f"{number}, a build for the CPU")
    if cuda is None:
        return warn(
            "torch",
            f"{number}, a build for the CPU: runs do not use {there}",
            "install a CUDA build: https://pytorch.org/get-started/locally",
        )
    if works:
        return ok("torch", f"{number}, CUDA {cuda} works")
    if not cards:
        return ok("torch", f"{number}, built for CUDA {cuda}; without a GPU it computes on the CPU")
    return fail(
        "torch",
        f"{number} is built for CUDA {cuda} and cannot use {there}",
        "see that the driver is new enough for that CUDA, that CUDA_VISIBLE_DEVICES hides nothing, and what "
        'python -c "import torch; torch.zeros(1).cuda()" says',
    )


def usable_cores() -> float:
    """Return the cores that this process may use: its affinity, cut by the control group's quota."""
    allowed = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota = _quota()
    return allowed if quota is None else min(allowed, quota)


def _quota() -> float | None:
    try:
        return quota_cores((_CGROUP / "cpu.max").read_text())
    except OSError:
        return None


def quota_cores(cpu_max: str) -> float | None:
    """Return the cores that a control group's `cpu.max` allows (`QUOTA PERIOD`); None where it sets no limit."""
    quota, _, period = cpu_max.strip().partition(" ")
    return int(quota) / int(period or 100_000) if quota.isdigit() else None


def cores_here() -> Finding:
    """Read the cores and torch's threads and judge them."""
    try:
        from peftbench.meters.torch_build import torch_build
    except Exception:  # the check of torch says why
        return skip("cores", f"{usable_cores():g} of {os.cpu_count()} cores usable; torch cannot be asked")
    return cores(usable_cores(), os.cpu_count() or 1, torch_build().threads)


def cores(usable: float, there: int, threads: int) -> Finding:
    """See that torch has no more threads than cores to run them on."""
    found = f"{usable:g} of {there} cores usable, torch computes with {threads} threads"
    if threads <= max(usable, 1):
        return ok("cores", found)
    return warn(
        "cores", f"{found}: they wait for each other at every operation", f"OMP_NUM_THREADS={max(int(usable), 1)}"
    )


def others_cores(seconds: float) -> float | None:
    """Watch the processor for some seconds and return how many cores others kept busy; None where it cannot be told."""
    from peftbench.meters.host import HostMeter

    meter = HostMeter()
    before, began = meter.sample().values, time.monotonic()
    time.sleep(seconds)
    after, elapsed = meter.sample().values, time.monotonic() - began
    if not {"machine_cpu_s", "cpu_s"} <= before.keys() & after.keys() or elapsed <= 0:
        return None
    grown = {name: after[name] - before[name] for name in ("machine_cpu_s", "cpu_s")}
    return max(0.0, grown["machine_cpu_s"] - grown["cpu_s"]) / elapsed


def load(others: float | None, usable: float) -> Finding:
    """See that nobody else computes here."""
    if others is None:
        return skip("load", "the processor's times cannot be read here")
    found = f"other processes use {others:.1f} of {usable:g} cores"
    if others <= BUSY * usable:
        return ok("load", found)
    return warn("load", f"{found}: times and CPU energy are theirs too", "wait until they have ended")


def memory_here() -> Finding:
    """Read the machine's memory and judge it."""
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return memory_finding(memory.available / GIB, memory.total / GIB, swap.used / GIB, swap.total / GIB)


def memory_finding(free_gib: float, total_gib: float, swap_used_gib: float, swap_gib: float) -> Finding:
    """See that a run fits into memory and that the machine does not swap."""
    swap = f"{swap_used_gib:.1f} of {swap_gib:.1f} GiB swap used" if swap_gib else "no swap"
    found = f"{free_gib:.1f} of {total_gib:.1f} GiB free, {swap}"
    if free_gib < LEAST_FREE_GIB:
        return warn("memory", found, f"end other programs: a run on BERT-base wants {LEAST_FREE_GIB:.0f} GiB")
    if swap_gib and swap_used_gib > SWAPPED * swap_gib:
        return warn(
            "memory", f"{found}: what is swapped comes back in the middle of a step", "end what swaps, then swapoff -a"
        )
    return ok("memory", found)


def rapl_here() -> Finding:
    """Ask RAPL what it can read."""
    from peftbench.meters.rapl import RaplMeter

    return rapl_finding(RaplMeter().probe())


def rapl_finding(rapl: Capabilities) -> Finding:
    """Judge what RAPL can read: only where it is there and refused is there something to do."""
    if rapl.status == "ok":
        return ok("CPU energy", f"RAPL: {rapl.detail}")
    if rapl.status == "no_permission":
        return warn("CPU energy", f"RAPL: {rapl.detail}", "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj")
    return skip("CPU energy", rapl.detail)
