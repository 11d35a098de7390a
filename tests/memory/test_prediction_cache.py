"""Predictions are computed once per set of determinants, and never read from an altered file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftbench.memory import prediction_cache
from peftbench.memory.prediction_cache import known_or


class Computed:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, Any]:
        self.times += 1
        return {"weights": 100, "workspace": None, "tokens": {"sst": 7}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path))
    return tmp_path / "memory"


def test_it_is_computed_once_for_the_same(folder: Path) -> None:
    compute = Computed()
    first = known_or(compute, "config", "group", [("sst", (3, 4))], "cpu")
    assert known_or(compute, "config", "group", [("sst", (3, 4))], "cpu") == first == Computed()()
    assert compute.times == 1


@pytest.mark.parametrize(
    "other", [("config", "another", "cpu"), ("another", "group", "cpu"), ("config", "group", "cuda")]
)
def test_something_else_is_computed_anew(folder: Path, other: tuple[str, ...]) -> None:
    compute = Computed()
    known_or(compute, "config", "group", "cpu")
    known_or(compute, *other)
    assert compute.times == 2


def test_another_version_computes_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Computed()
    known_or(compute, "x")
    monkeypatch.setattr(prediction_cache, "__version__", "another")
    known_or(compute, "x")
    assert compute.times == 2


@pytest.mark.parametrize(
    "harm", [lambda c: c[:-5], lambda c: c.replace(b"100", b"900"), lambda c: b"", lambda c: b"\xff"]
)
def test_an_altered_file_is_made_anew(folder: Path, harm: Any) -> None:
    compute = Computed()
    known_or(compute, "x")
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    assert known_or(compute, "x") == Computed()()
    assert (compute.times, path.read_bytes()) == (2, whole)


def test_without_a_place_it_is_computed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "file"))
    compute = Computed()
    assert known_or(compute, "x") == known_or(compute, "x")
    assert compute.times == 2
