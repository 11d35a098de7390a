"""The machine checks, each with the conditions that trigger it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from peftbench.doctor import machine
from peftbench.meters.rapl import RaplMeter


def test_versions_name_what_is_installed_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.versions()
    assert found.state == "ok"
    assert "torch 2" in found.detail
    monkeypatch.setattr(machine, "NEEDED", (*machine.NEEDED, "no-such-package-here"))
    broken = machine.versions()
    assert (broken.state, broken.detail) == ("fail", "not installed: no-such-package-here")
    assert broken.remedy == "pip install no-such-package-here"


@pytest.mark.parametrize(
    ("cuda", "works", "cards", "state"),
    [
        (None, False, 0, "ok"),
        (None, False, 2, "warn"),
        ("12.8", True, 2, "ok"),
        ("12.8", False, 0, "ok"),
        ("12.8", False, 1, "fail"),
    ],
)
def test_torch_must_be_able_to_use_the_cards_that_are_there(
    cuda: str | None, works: bool, cards: int, state: str
) -> None:
    found = machine.torch_finding("2.9.0", cuda, works, cards)
    assert found.state == state
    assert (found.remedy is not None) == (state in ("warn", "fail"))


def test_torch_that_cannot_be_imported_fails_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "peftbench.meters.torch_build", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = machine.torch_here()
    assert (found.state, "cannot be imported: " in found.detail) == ("fail", True)
    assert machine.cores_here().state == "skip"


def test_torch_here_is_what_torch_says() -> None:
    import torch

    assert torch.__version__ in machine.torch_here().detail


@pytest.mark.parametrize(
    ("usable", "threads", "state"), [(8, 8, "ok"), (8, 4, "ok"), (2, 8, "warn"), (0.5, 1, "ok"), (1.5, 2, "warn")]
)
def test_more_threads_than_cores_are_named(usable: float, threads: int, state: str) -> None:
    found = machine.cores(usable, 8, threads)
    assert found.state == state
    if state == "warn":
        assert found.remedy == f"OMP_NUM_THREADS={int(usable)}"


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000\n", None), ("200000 100000\n", 2.0), ("50000 100000", 0.5), ("150000", 1.5)]
)
def test_the_quota_of_a_control_group(text: str, quota: float | None) -> None:
    assert machine.quota_cores(text) == quota


@pytest.mark.parametrize(("others", "state"), [(None, "skip"), (0.1, "ok"), (0.8, "ok"), (0.9, "warn"), (7.5, "warn")])
def test_other_peoples_load(others: float | None, state: str) -> None:
    assert machine.load(others, 8).state == state


def test_the_load_of_others_does_not_count_our_own() -> None:
    others = machine.others_cores(0.05)
    assert others is not None
    assert others >= 0


@pytest.mark.parametrize(
    ("memory", "state"),
    [
        ((10.0, 16.0, 0.0, 0.0), "ok"),
        ((10.0, 16.0, 0.1, 8.0), "ok"),
        ((1.5, 16.0, 0.0, 0.0), "warn"),
        ((10.0, 16.0, 4.0, 8.0), "warn"),
    ],
)
def test_memory_and_swap(memory: tuple[float, float, float, float], state: str) -> None:
    assert machine.memory_finding(*memory).state == state


def zone(folder: Path) -> Path:
    package = folder / "intel-rapl:0"
    package.mkdir()
    for name, text in {"name": "package-0", "max_energy_range_uj": "1000", "energy_uj": "5"}.items():
        (package / name).write_text(text)
    return package


def test_rapl_is_ok_where_it_can_be_read_and_skipped_where_there_is_none(tmp_path: Path) -> None:
    assert machine.rapl_finding(RaplMeter(tmp_path).probe()).state == "skip"
    zone(tmp_path)
    assert machine.rapl_finding(RaplMeter(tmp_path).probe()).state == "ok"


def test_rapl_that_is_roots_alone_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = zone(tmp_path) / "energy_uj"
    read = Path.read_text

    def refusing(self: Path, *arguments: object, **named: object) -> str:
        if self == counter:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refusing)
    found = machine.rapl_finding(RaplMeter(tmp_path).probe())
    assert found.state == "warn"
    assert str(counter) in found.detail
    assert found.remedy is not None
    assert found.remedy.startswith("sudo chmod a+r")
