"""A simulated machine for tests: a scenario file, and processes that ask the real pynvml about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S
from tests.sim.library import environment
from tests.sim.scenario import Scenario, two_cards

EPOCH = 1_700_000_000.0
STILL = replace(two_cards(EPOCH), still_at_s=12.34)
MIB = 2**20

PRELUDE = """
import json, os, pathlib, time
import pynvml as n

def tried(call, *arguments):
    try:
        return call(*arguments)
    except n.NVMLError as error:
        return type(error).__name__.removeprefix("NVMLError_")

def fields(handle, *ids):
    values = n.nvmlDeviceGetFieldValues(handle, list(ids))
    return [v.value.ullVal if v.nvmlReturn == 0 else -v.nvmlReturn for v in values]

n.nvmlInit()
if n.nvmlDeviceGetCount():
    card = n.nvmlDeviceGetHandleByIndex(0)
"""


class Machine:
    """A scenario file, and processes that ask the library about it."""

    def __init__(self, library: Path, path: Path) -> None:
        self.library, self.path = library, path

    def play(self, scenario: Scenario) -> Machine:
        scenario.write(self.path)
        return self

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment(self.library, self.path), **variables}
        return subprocess.run(
            [sys.executable, "-c", PRELUDE + script], env=env, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def ask(self, *expressions: str, **variables: str) -> list[Any]:
        """Return what the expressions give in a process that has the first card's handle as `card`."""
        done = self.run(f"print(json.dumps([{', '.join(expressions)}]))", **variables)
        assert done.returncode == 0, done.stderr
        answers: list[Any] = json.loads(done.stdout)
        return answers
