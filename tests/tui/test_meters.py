"""The meters of the dashboard: of the runs shown, or this machine's own readings; gauges of each GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from peftbench.plot import BRAILLE
from peftbench.store.meter_fields import SampleRow
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.lines import machine_lines
from peftbench.tui.machine import CardNow, Machine, MachineMeter
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.widgets.meters import Meters
from tests.tui.world import (
    CARD,
    NOW_S,
    ON_CARD,
    ON_CPU,
    Given,
    drive,
    going_on,
    run_record,
    screen_text,
    snapshot,
    until,
)


def readings(count: int = 60, **values: float) -> tuple[SampleRow, ...]:
    return tuple(SampleRow(0, NOW_S - count + second, None, **values) for second in range(count))  # type: ignore[arg-type]


def card(index: int, power_w: float) -> CardNow:
    history = readings(power_w=power_w, device_used_mib=2048.0, sm_clock_mhz=1980.0)
    return replace(CARD, index=index, power_w=power_w, history=history)


TWO_CARDS = replace(ON_CARD, cards=(card(0, 100.0), card(1, 222.0)))


def titles(app: PeftbenchApp) -> list[str]:
    return [str(strip._title) for strip in app.screen.query_one(Meters)._strips if strip.display]


def test_without_samples_each_gpu_has_its_own_history() -> None:
    """Regression: without pinned runs the meters were empty axes."""
    unmeasured = replace(snapshot(run_record()), machine=TWO_CARDS)
    bare = {run_id: replace(detail, samples=()) for run_id, detail in unmeasured.details.items()}

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert titles(app) == [
            "GPU memory, GiB: GPU0 2 GPU1 2",
            "power, W: GPU0 100 GPU1 222",
            "SM clock, MHz: GPU0 1980 GPU1 1980",
        ]
        assert "not measured" not in screen_text(app)

    drive(test, Given(replace(unmeasured, details=bare)))


def test_without_a_gpu_the_host_has_its_history_and_before_it_a_hint() -> None:
    nothing = snapshot(run_record(state="queued", epochs=0), machine=ON_CPU)
    later = replace(nothing, machine=replace(ON_CPU, history=readings(rss_mib=3072.0, cpu_pct=61.0)), now_s=NOW_S + 9)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert titles(app) == ["meters"]
        assert "the first readings come" in screen_text(app)
        assert isinstance(app.screen, Dashboard)
        app.poller.close()
        app.screen.show(later)
        await pilot.pause()
        assert titles(app) == ["machine memory, GiB: now 3", "machine CPU, %: now 61"]

    drive(test, Given(nothing))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
def test_every_gpu_can_be_reached(size: tuple[int, int]) -> None:
    source = Given(replace(snapshot(run_record(), going_on()), machine=TWO_CARDS))

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        if size[0] < 100:
            assert "g: +1 GPU" in screen_text(app)
            await pilot.press("m")
            await pilot.pause()
        of_runs = titles(app)
        assert of_runs[0].startswith("VRAM, GiB: ●")
        for index, power in ((0, "100"), (1, "222")):
            await pilot.press("g")
            await pilot.pause()
            assert f"power, W: GPU{index} {power}" in titles(app)
            assert f"GPU{index} mem" in screen_text(app)
        await pilot.press("g")
        await pilot.pause()
        assert titles(app) == of_runs

    drive(test, source, size=size)


@pytest.mark.slow
def test_all_meters_have_a_chart_on_a_narrow_screen_by_scrolling() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert not app.screen.query_one(Meters).display
        await pilot.press("m")
        await pilot.pause()
        meters = app.screen.query_one(Meters)
        assert app.screen.focused is meters
        assert [title.partition(",")[0] for title in titles(app)] == [
            *("VRAM", "power", "SM clock", "temperature", "GPU utilisation")
        ]
        assert "GPU utilisation" not in screen_text(app)
        await pilot.press("end")
        await until(pilot, lambda: "GPU utilisation" in screen_text(app))
        await pilot.press("m")
        await pilot.pause()
        assert not meters.display

    drive(test, Given(snapshot(run_record(), going_on())), size=(80, 24))


@pytest.mark.parametrize("cells", [78, 118, 198])
def test_clocks_stand_beside_what_limits_them(cells: int) -> None:
    """Regression: the reason of a throttled GPU displaced its clock."""
    for bits, word in ((0x40, "throttled"), (0x4, "at power cap"), (0, "not throttled"), (0x44, "throttled")):
        (line,) = machine_lines(Machine((replace(CARD, event_reasons=bits),)), cells, 1, BRAILLE)
        assert "SM 1980 MHz" in line.plain
        assert word in line.plain or not bits
        assert bits or "throttled" not in line.plain.replace("not throttled", "")


def test_lines_go_round_the_gpus() -> None:
    cards = tuple(replace(CARD, index=n) for n in range(8))
    shown = machine_lines(replace(ON_CARD, cards=cards), 120, 4, BRAILLE, 6)
    assert [line.plain[:4] for line in shown] == ["GPU6", "GPU7", "GPU0", "GPU1"]
    assert shown[-1].plain.endswith("g: +4 GPUs")


def test_readings_are_kept_up_to_a_bound() -> None:
    moment = [0.0]
    meter = MachineMeter(lambda: moment[0])
    for second in range(3):
        moment[0] = 2.0 * second
        machine = meter.read()
        assert len(machine.history) == second + 1
    assert machine.history[-1].rss_mib == machine.memory_used_mib
    assert meter._kept[None].maxlen == 1800
    meter.close()
