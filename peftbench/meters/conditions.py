"""What a run is measured under: versions, device, threads. Two runs that differ here may not be comparable."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from peftbench.store.conditions import Conditions
from peftbench.threads import waiting


def measured_under(device: torch.device, quantized_by: Literal["bitsandbytes", "torchao"] | None = None) -> Conditions:
    """Return the facts of program, libraries and machine that a comparison should know.

    `quantized_by`: the library that the encoder's weights are quantized by; None: they are not.
    """
    import transformers

    from peftbench.version import __version__

    on_gpu = device.type == "cuda"
    return {
        "peftbench": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **_version_of(quantized_by),
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "device_type": device.type,
        "cuda": torch.version.cuda if on_gpu else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": waiting(os.environ),
        "malloc": {key: value for key, value in os.environ.items() if key.startswith("MALLOC_")},
        "platform": platform.platform(terse=True),
    }


def _version_of(library: Literal["bitsandbytes", "torchao"] | None) -> Conditions:
    if library is None:
        return {}
    return {"torchao": version("torchao")} if library == "torchao" else {"bitsandbytes": version("bitsandbytes")}


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
