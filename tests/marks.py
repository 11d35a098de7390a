"""What some tests need of the machine they run on."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import pytest


def real_data() -> Path:
    """The study's data: PEFTBENCH_TEST_DATA, else shared/data beside the repository."""
    given = os.environ.get("PEFTBENCH_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "cs224n").is_dir():
        pytest.skip("the study's data are not here: set PEFTBENCH_TEST_DATA")
    return folder


def needs_gpu() -> list[pytest.MarkDecorator]:
    """Return the marks of a module whose tests run on an NVIDIA GPU alone."""
    import torch

    return [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]


def soaked_but(kept: Container[Any], values: Iterable[Any]) -> list[Any]:
    """Leave all values but some to `make soak`: those that are kept show the same, sooner."""
    return [
        value
        if value in kept
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.soak)
        for value in values
    ]
