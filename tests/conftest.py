"""What the tests share: a tiny encoder on disk, a spec that trains in about a second, a private cache."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from peftbench.errors import PeftbenchError
from peftbench.spec import Resolved, resolve
from tests.sim.library import library_for_session
from tests.tiny import tiny_encoder_into, tiny_overrides

# An example may take as long as a busy machine lets it: no test fails by the clock.
settings.register_profile("untimed", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=500)  # for `make soak`
settings.register_profile("fast", settings.get_profile("untimed"), max_examples=20)  # for `make test-fast`
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of one session share: what one of them computed, the others find there."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _private_cache(session_folder: Path) -> Iterator[None]:
    """Keep the fixtures of modules too away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEFTBENCH_CACHE", str(session_folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True)
def _private_folders(
    tmp_path_factory: pytest.TempPathFactory, session_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep every test away from the user's own database and cache."""
    monkeypatch.setenv("PEFTBENCH_CACHE", str(session_folder / "cache"))
    monkeypatch.setenv("PEFTBENCH_DB", str(tmp_path_factory.mktemp("db") / "peftbench.db"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, session_folder: Path) -> Path:
    """A randomly initialised two-layer BERT (hidden 32) with the embedded encoder's real tokeniser."""
    folder = session_folder / "tiny-bert"
    if not folder.exists():
        made = tiny_encoder_into(tmp_path_factory.mktemp("tiny-bert"))
        with suppress(OSError):  # another process was first
            made.rename(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return folder


@pytest.fixture
def no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs do without the prediction of their memory, which takes longer than they: for tests of other things."""

    def refused(self: object) -> None:
        raise PeftbenchError("not wanted in this test")

    monkeypatch.setattr("peftbench.memory.step_memory.StepMemory.predicted", refused)


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
