"""What the tests share: a tiny encoder on disk, a spec that trains in about a second, a private cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from peftbench.spec import Resolved, resolve
from tests.sim.library import library_for_session
from tests.tiny import tiny_encoder_into, tiny_overrides

# An example may take as long as a busy machine lets it: no test fails by the clock.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("untimed"), max_examples=20)  # for `make test-fast`
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's own database and cache."""
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("PEFTBENCH_DB", str(tmp_path_factory.mktemp("db") / "peftbench.db"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised two-layer BERT (hidden 32) with the embedded encoder's real tokeniser."""
    folder = tiny_encoder_into(tmp_path_factory.mktemp("tiny-bert"))
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return folder


@pytest.fixture
def tiny(tiny_encoder: Path) -> Callable[..., Resolved]:
    """Return a function that resolves a preset on the quickstart workload, shrunk to about a second."""

    def resolved(preset: str = "lora-r12", overrides: Sequence[str] = (), seed: int | None = None) -> Resolved:
        return resolve(preset, overrides=[*tiny_overrides(tiny_encoder), *overrides], seed=seed)

    return resolved


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated NVML library, compiled once; `tests.sim.library.environment` makes a process load it."""
    return library_for_session(tmp_path_factory)
