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
    """Check that peftbench's dependencies are installed."""
    import platform

    from peftbench.version import __version__

    installed = {name: _version(name) for name in NEEDED}
    absent = [name for name, number in installed.items() if number is None]
    if absent:
        return fail("versions", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}")
    peft = _version("peft")
    names = [f"peftbench {__version__}", f"Python {platform.python_version()}"]
    names += [f"{name} {installed[name]}" for name in _SHOWN]
    return ok("versions", ", ".join([*names, f"peft {peft}" if peft else "no peft (an extra)"]))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def torch_here() -> Finding:
    """Check the installed torch."""
    from peftbench.meters.survey import card_count

    try:
        from peftbench.meters.torch_build import torch_build
    except Exception as error:  # a broken installation may raise anything
        return fail("torch", f"it cannot be imported: {type(error).__name__}: {error}", "reinstall torch")
    build = torch_build()
    return torch_finding(build.version, build.cuda, build.cuda_works, card_count())


def torch_finding(number: str, cuda: str | None, works: bool, cards: int) -> Finding:
    """Check a build of torch: version, CUDA it was built for, whether CUDA works, and the number of GPUs."""
    there = f"this machine's {cards} GPU{'s' * (cards > 1)}"
    if cuda is None and not cards:
        return ok("torch", f"{number}, a CPU build")
    if cuda is None:
        return warn(
            "torch",
            f"{number}, a CPU build: runs do not use {there}",
            "install a CUDA build: https://pytorch.org/get-started/locally",
        )
    if works:
        return ok("torch", f"{number}, CUDA {cuda} works")
    if not cards:
        return ok("torch", f"{number}, built for CUDA {cuda}; without a GPU it runs on the CPU")
    return fail(
        "torch",
        f"{number} is built for CUDA {cuda} and cannot use {there}",
        "check that the driver is new enough for that CUDA, that CUDA_VISIBLE_DEVICES hides nothing, and the output of "
        'python -c "import torch; torch.zeros(1).cuda()"',
    )


def usable_cores() -> float:
    """Return the cores that this process may use: its affinity, limited by the cgroup's quota."""
    allowed = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota = _quota()
    return allowed if quota is None else min(allowed, quota)


def _quota() -> float | None:
    try:
        return quota_cores((_CGROUP / "cpu.max").read_text())
    except OSError:
        return None


def quota_cores(cpu_max: str) -> float | None:
    """Return the cores that a cgroup's `cpu.max` (`QUOTA PERIOD`) allows; None if unlimited."""
    quota, _, period = cpu_max.strip().partition(" ")
    return int(quota) / int(period or 100_000) if quota.isdigit() else None


def cores_here() -> Finding:
    """Check torch's thread count against the usable cores."""
    try:
        from peftbench.meters.torch_build import torch_build
    except Exception:  # reported by the torch check
        return skip("cores", f"{usable_cores():g} of {os.cpu_count()} cores usable; torch cannot be imported")
    return cores(usable_cores(), os.cpu_count() or 1, torch_build().threads)


def cores(usable: float, there: int, threads: int) -> Finding:
    """Check that torch has no more threads than usable cores."""
    detail = f"{usable:g} of {there} cores usable, torch uses {threads} threads"
    if threads <= max(usable, 1):
        return ok("cores", detail)
    return warn("cores", f"{detail}: oversubscription slows every operation", f"OMP_NUM_THREADS={max(int(usable), 1)}")


def others_cores(seconds: float) -> float | None:
    """Measure for some seconds how many cores other processes keep busy; None if not readable."""
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
    """Check that other processes do not load the machine."""
    if others is None:
        return skip("load", "CPU times cannot be read here")
    detail = f"other processes use {others:.1f} of {usable:g} cores"
    if others <= BUSY * usable:
        return ok("load", detail)
    return warn("load", f"{detail}: they affect times and CPU energy", "wait until they have ended")


def memory_here() -> Finding:
    """Check the machine's memory."""
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return memory_finding(memory.available / GIB, memory.total / GIB, swap.used / GIB, swap.total / GIB)


def memory_finding(free_gib: float, total_gib: float, swap_used_gib: float, swap_gib: float) -> Finding:
    """Check that a run fits into memory and that the machine is not swapping."""
    swap = f"{swap_used_gib:.1f} of {swap_gib:.1f} GiB swap used" if swap_gib else "no swap"
    detail = f"{free_gib:.1f} of {total_gib:.1f} GiB free, {swap}"
    if free_gib < LEAST_FREE_GIB:
        return warn("memory", detail, f"end other programs: a run on BERT-base needs {LEAST_FREE_GIB:.0f} GiB")
    if swap_gib and swap_used_gib > SWAPPED * swap_gib:
        return warn(
            "memory", f"{detail}: swapping in would disturb timed steps", "end the programs that swap, then swapoff -a"
        )
    return ok("memory", detail)


def rapl_here() -> Finding:
    """Check which RAPL counters can be read."""
    from peftbench.meters.rapl import RaplMeter

    return rapl_finding(RaplMeter().probe())


def rapl_finding(rapl: Capabilities) -> Finding:
    """Report RAPL's capabilities; a warning only if it exists but cannot be read for lack of permission."""
    if rapl.status == "ok":
        return ok("CPU energy", f"RAPL: {rapl.detail}")
    if rapl.status == "no_permission":
        return warn("CPU energy", f"RAPL: {rapl.detail}", "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj")
    return skip("CPU energy", rapl.detail)
