"""Where a queued run goes: its turn, its card, its share of the machine."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from peftbench.jobs import places
from peftbench.jobs.places import allowed_devices, free_place, threads_each
from peftbench.store.rows import MeterSettings, Run
from tests.jobs.rows import run

CARDS = ("GPU-aaaa", "GPU-bbbb")


def start(first: Run, working: list[Run], cards: tuple[str, ...] = CARDS, slots: int = 2, cooling=()) -> object:
    found = free_place(first, working, allowed_devices(cards, {}), slots, cooling)
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


def test_a_card_rests_between_two_runs() -> None:
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
def test_torchs_build_is_told_without_importing_it(
    text: str, built: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('it was imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2'\n{text}\nhip = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert places.torch_has_cuda() is built


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
    monkeypatch.setattr(places, "torch_has_cuda", lambda: True)
    monkeypatch.setattr("peftbench.meters.nvml_library.open_nvml", lambda: (library, ""))
    monkeypatch.setattr("peftbench.meters.nvml_library.cards", lambda nvml: iter(known))
    assert places.cards_here() == ("MIG-0", "MIG-1", "GPU-1")


def test_workers_side_by_side_share_the_cores() -> None:
    assert [threads_each(8, slots) for slots in (1, 2, 3, 16)] == [8, 4, 2, 1]
