"""Benchmarks run as files have their folder first on sys.path: none may shadow a module that is imported."""

from __future__ import annotations

import sys
from pathlib import Path


def test_no_benchmark_hides_a_module_of_python() -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert len(names) > 8
    assert names & set(sys.stdlib_module_names) == set()
