"""Compiling the simulated NVML library, the environment that makes a process load it, and what it leaves behind.

Beside the scenario file the library keeps `<scenario>.state` (clock locks, which are the machine's and outlive a
process) and `<scenario>.calls` (a line for every Init, Shutdown, lock and unlock); it reads `<scenario>.later`
(`scenario.play_later`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden")


@dataclass(frozen=True)
class Call:
    """One line of the log of calls."""

    pid: int
    t_s: float
    function: str
    card: int | None
    """None for a call on the library."""
    result: int
    """The NVML return code; 0 is success."""
    arguments: tuple[int, ...]


def build(folder: Path) -> Path:
    """Compile the library into a folder and return it. Raises CalledProcessError, its stderr the compiler's words."""
    library = folder / "libnvidia-ml.so.1"
    sources = sorted(str(source) for source in _HERE.glob("*.c"))
    subprocess.run(
        ["gcc", *_FLAGS, "-Wl,-soname,libnvidia-ml.so.1", *sources, "-o", str(library), "-lm", "-pthread", "-ldl"],
        check=True,
        capture_output=True,
        text=True,
    )
    return library


def library_for_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library in a folder of the test session; skips the asking test where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("the simulated NVML library needs gcc")
    return build(tmp_path_factory.mktemp("nvml"))


def environment(library: Path, scenario: Path) -> dict[str, str]:
    """Return the variables under which a new process loads the library and plays the scenario."""
    others = os.environ.get("LD_LIBRARY_PATH")
    folders = str(library.parent) + (f"{os.pathsep}{others}" if others else "")
    return {"LD_LIBRARY_PATH": folders, "PEFTBENCH_SIM_SCENARIO": str(scenario)}


def read_calls(scenario: Path) -> list[Call]:
    """Return the calls that processes made under a scenario file so far, in their order."""
    log = Path(f"{scenario}.calls")
    return [_call(line) for line in log.read_text().splitlines()] if log.exists() else []


def read_locks(scenario: Path) -> dict[int, tuple[int, int]]:
    """Return the locked cards, card to (min, max) MHz."""
    state = Path(f"{scenario}.state")
    lines = state.read_text().replace("\0", " ").splitlines() if state.exists() else []
    found = {int(card): (int(low), int(high)) for card, low, high in (line.split() for line in lines)}
    return {card: clocks for card, clocks in found.items() if clocks != (0, 0)}


def _call(line: str) -> Call:
    pid, t_s, function, card, result, *arguments = line.split()
    on = None if card == "-" else int(card)
    return Call(int(pid), float(t_s), function, on, int(result), tuple(int(value) for value in arguments))
