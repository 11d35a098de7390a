"""Assignment of queued runs: order, GPU and share of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from peftbench.errors import MissingError
from peftbench.jobs import devices
from peftbench.jobs.devices import allowed_devices, free_slot, threads_each
from peftbench.store.rows import MeterSettings, Run
from tests.factories import run_row as run
from tests.sim.library import environment
from tests.sim.scenario import two_cards

CARDS = ("GPU-aaaa", "GPU-bbbb")


def start(first: Run, working: list[Run], cards: tuple[str, ...] = CARDS, slots: int = 2, cooling=()) -> object:
    found = free_slot(first, working, allowed_devices(cards, {}), slots, cooling)
    return "waits" if found is None else found.device


def test_one_run_at_a_time_without_a_card() -> None:
    first, second = run("a"), run("b")
    assert start(first, [], (), 1) is None
    assert start(second, [first], (), 1) == "waits"
    assert start(second, [first], (), 2) is None


def test_one_run_on_each_card() -> None:
    a, b, c = run("a"), run("b", device=CARDS[0]), run("c", device=CARDS[1])
    assert start(a, []) == CARDS[0]
    assert start(a, [b]) == CARDS[1]
    assert start(a, [b, c]) == "waits"
    assert start(a, [b, c], slots=3) == CARDS[0]


def test_a_card_cools_down_between_two_runs() -> None:
    assert start(run("a"), [], cooling={CARDS[0]}) == CARDS[1]
    assert start(run("a"), [], cooling=set(CARDS)) == "waits"
    assert start(run("a"), [], (), 1, cooling={None}) == "waits"


def test_locked_clocks_take_the_whole_card() -> None:
    locked = MeterSettings(lock_clocks_mhz=1410)
    sharing = run("b", device=CARDS[0]), run("c", device=CARDS[1])
    assert start(run("a", meter_settings=locked), list(sharing), slots=8) == "waits"
    assert start(run("a", meter_settings=locked), [sharing[0]], slots=8) == CARDS[1]
    alone = run("b", device=CARDS[0], meter_settings=locked)
    assert start(run("a"), [alone], (CARDS[0],), slots=8) == "waits"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, CARDS),
        ("1", CARDS[1:]),
        ("GPU-bb", CARDS[1:]),
        ("1,0", CARDS),
        ("", (None,)),
        ("-1", (None,)),
        ("7", (None,)),
        ("nonsense", (None,)),
    ],
)
def test_a_run_has_the_cards_that_its_user_made_visible(said: str | None, expected: tuple[str | None, ...]) -> None:
    variables = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    assert allowed_devices(CARDS, variables) == expected


def test_without_cards_it_is_the_cpu_whatever_is_visible() -> None:
    assert allowed_devices((), {"CUDA_VISIBLE_DEVICES": "0"}) == (None,)


@pytest.mark.parametrize(
    ("text", "built"), [("cuda: Optional[str] = '12.8'", True), ("cuda = None", False), ("", False)]
)
def test_cuda_build_is_detected_without_importing_torch(
    text: str, built: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('it was imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2'\n{text}\nhip = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert devices.torch_has_cuda() is built


def test_a_sliced_card_counts_by_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    from peftbench.meters.nvml_library import Card

    known = [
        Card("h0", "GPU-0", "A100", 0, False, "h0"),
        Card("s0", "MIG-0", "A100", None, True, "h0"),
        Card("s1", "MIG-1", "A100", None, True, "h0"),
        Card("h1", "GPU-1", "A100", 1, False, "h1"),
    ]
    library = ModuleType("library")
    library.close = lambda: None
    monkeypatch.setattr(devices, "torch_has_cuda", lambda: True)
    monkeypatch.setattr("peftbench.meters.nvml_library.open_nvml", lambda: (library, ""))
    monkeypatch.setattr("peftbench.meters.nvml_library.cards", lambda nvml: iter(known))
    assert devices.cards_here() == ("MIG-0", "MIG-1", "GPU-1")


def test_workers_side_by_side_share_the_cores() -> None:
    assert [threads_each(8, slots) for slots in (1, 2, 3, 16)] == [8, 4, 2, 1]


class TestDeviceNamed:
    def test_any_and_the_cpu(self) -> None:
        assert devices.device_named(None) is None
        assert devices.device_named("cpu") == ""
        assert allowed_devices(CARDS, {"CUDA_VISIBLE_DEVICES": ""}) == (None,)

    def test_a_card_where_torch_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "torch_has_cuda", lambda: False)
        with pytest.raises(MissingError, match="--device 0: the installed torch is CPU-only"):
            devices.device_named("0")

    def test_a_card_without_a_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "torch_has_cuda", lambda: True)
        monkeypatch.setattr("peftbench.meters.nvml_library.open_nvml", lambda: (None, "no driver"))
        with pytest.raises(MissingError, match="no NVIDIA card found: no driver"):
            devices.device_named("0")

    def test_a_card_by_its_index(self, nvml_library: Path, tmp_path: Path) -> None:
        scenario = two_cards(time.time())
        scenario.write(tmp_path / "cards.scenario")
        code = (
            "from peftbench.jobs import devices; devices.torch_has_cuda = lambda: True;"
            "print(devices.device_named('1')); devices.device_named('7')"
        )
        told = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment(nvml_library, tmp_path / "cards.scenario")},
            capture_output=True,
            text=True,
        )
        assert told.stdout.strip() == scenario.cards[1].uuid
        assert "no such card" in told.stderr


def test_a_run_for_the_cpu_is_not_assigned_a_card() -> None:
    assert free_slot(run("a"), [], allowed_devices(CARDS, {"CUDA_VISIBLE_DEVICES": ""}), 1) == devices.Slot(None)
