"""The fixture of this folder's tests: a machine that plays what it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.machine import Machine


@pytest.fixture
def machine(nvml_library: Path, tmp_path: Path) -> Machine:
    return Machine(nvml_library, tmp_path / "cards.scenario")
