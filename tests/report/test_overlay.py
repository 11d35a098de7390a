"""Curves of several runs on common axes (values, names, ranges), and meter charts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peftbench.analysis.trajectory import AVERAGE, Axis
from peftbench.plot import ASCII, BRAILLE, Range, draw
from peftbench.report.charts.meter_charts import CARD_STRIPS, HOST_STRIPS, SLOWED, Sampled, strip_chart, strips_for
from peftbench.report.charts.overlay import Pinned, curves_of, overlay, stops, tasks_of
from peftbench.store.meter_fields import SampleRow
from tests.printing import HOSTILE
from tests.tiny import TASKS
from tests.tui.world import NOW_S, going_on, run_record, samples

FIRST = Pinned(run_record("run00001", "lora-r12-1"), 0, "cyan")
SECOND = Pinned(going_on("run00002", "dora-r12-1"), 1, "magenta")


def text_of(chart: object, cells: int = 100, rows: int = 20) -> str:
    return "\n".join("".join(part.text for part in row) for row in draw(chart, cells, rows))  # type: ignore[arg-type]


def test_the_legend_reads_the_last_values_or_those_at_the_cursor() -> None:
    curves = curves_of([FIRST, SECOND], AVERAGE, "epoch")
    dev = {one.of.slot: one.dev[1] for one in curves}
    told = text_of(overlay(curves, AVERAGE, "epoch"))
    assert f"lora-r12-1 {dev[0][-1]:.3f}/" in told
    at_two = text_of(overlay(curves, AVERAGE, "epoch", cursor_x=2.0))
    assert f"lora-r12-1 {dev[0][1]:.3f}/" in at_two
    assert f"dora-r12-1 {dev[1][1]:.3f}/" in at_two
    assert BRAILLE.cursor in at_two


def test_a_cursor_before_the_first_point_reads_nothing() -> None:
    (curves,) = curves_of([FIRST], "sst", "epoch")
    assert curves.reading(0.5) == "–/–"


def test_values_stand_at_the_ends_of_the_curves_where_there_is_room() -> None:
    curves = curves_of([FIRST, SECOND], AVERAGE, "epoch")
    ends = [f"{one.dev[1][-1]:.3f}" for one in curves]
    rows = text_of(overlay(curves, AVERAGE, "epoch")).splitlines()
    assert [any(row.rstrip().endswith(f" {end}") for row in rows) for end in ends] == [True, True]
    narrow = text_of(overlay(curves, AVERAGE, "epoch", legend_rows=0), cells=40).splitlines()
    assert not any(row.rstrip().endswith(end) for row in narrow for end in ends)


def test_two_ends_in_one_row_stand_beneath_each_other() -> None:
    same = [Pinned(run_record("run00001", f"r{n}"), n, "cyan") for n in range(3)]
    curves = curves_of(same, AVERAGE, "epoch")
    end = f" {curves[0].dev[1][-1]:.3f}"
    rows = text_of(overlay(curves, AVERAGE, "epoch", legend_rows=0)).splitlines()
    assert sum(row.rstrip().endswith(end) for row in rows) == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_ends_stand_in_the_order_of_their_values(order: tuple[int, ...]) -> None:
    """Regression: curves that ended in one row had their values in the order in which they were pinned."""
    values = (0.7002, 0.7001, 0.7000)
    runs = []
    for slot in order:
        record = run_record(f"run{slot}", f"r{slot}")
        scores = tuple(replace(score, value=values[slot] if score.epoch == 6 else 0.1) for score in record.scores)
        runs.append(Pinned(replace(record, scores=scores), slot, "cyan"))
    chart = overlay(curves_of(runs, "sst", "epoch"), "sst", "epoch", legend_rows=0)
    named = replace(chart, series=tuple(replace(s, end=f"end {s.name}" if s.name else "") for s in chart.series))
    ends = [row.rstrip()[-2:] for row in text_of(named).splitlines() if "end r" in row]
    assert ends == ["r0", "r1", "r2"]


def test_a_part_of_the_range_has_the_values_at_its_own_end() -> None:
    """Regression: a zoomed chart had the value of the last epoch beside the last visible one."""
    (curves,) = curves_of([FIRST], AVERAGE, "epoch")
    shown = text_of(overlay([curves], AVERAGE, "epoch", x=Range(2, 4), legend_rows=0)).splitlines()
    third, last = (f" {curves.dev[1][epoch - 1]:.3f}" for epoch in (4, 6))
    assert any(row.rstrip().endswith(third) for row in shown)
    assert not any(row.rstrip().endswith(last) for row in shown)


@pytest.mark.parametrize(
    ("axis", "x", "title"),
    [("epoch", 3.0, "epoch 3"), ("step", 1204.0, "step 1,204"), ("time", 2.41, "2.4 min"), ("energy", 0.5, "0.5 kJ")],
)
def test_the_title_says_where_values_are_read(axis: Axis, x: float, title: str) -> None:
    curves = curves_of([FIRST], AVERAGE, axis)
    assert overlay(curves, AVERAGE, axis, cursor_x=x).title.startswith(f"at {title}: mean of")
    assert overlay(curves, AVERAGE, axis).title.startswith("mean of")


def test_the_epochs_to_come_have_room_while_a_run_goes_on() -> None:
    alone, both = curves_of([FIRST], AVERAGE, "epoch"), curves_of([FIRST, SECOND], AVERAGE, "epoch")
    for curves, last in ((alone, 6), (both, 10)):
        shown = overlay(curves, AVERAGE, "epoch").x
        assert shown is not None
        assert (shown.low, shown.high) == (1, last)


def test_tasks_are_the_mean_and_then_the_workloads() -> None:
    assert tasks_of([FIRST, SECOND]) == (AVERAGE, *TASKS)
    assert tasks_of([]) == (AVERAGE,)


def test_stops_are_all_points_once() -> None:
    assert stops(curves_of([FIRST, SECOND], AVERAGE, "epoch")) == [1, 2, 3, 4, 5, 6]


def test_no_energy_is_said_and_not_drawn_as_zero() -> None:
    plain = Pinned(replace(FIRST.record, phases=()), 0, "cyan")
    told = text_of(overlay(curves_of([plain], AVERAGE, "energy"), AVERAGE, "energy"))
    assert "no energy was measured" in told


@pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text(name: str, glyphs: object) -> None:
    hostile = Pinned(replace(FIRST.record, run=replace(FIRST.record.run, name=name)), 0, "cyan")
    told = text_of(overlay(curves_of([hostile], AVERAGE, "epoch"), AVERAGE, "epoch", glyphs))  # type: ignore[arg-type]
    assert "\x1b" not in told
    assert "\u202e" not in told


class TestStrips:
    def test_a_card_has_its_own(self) -> None:
        assert strips_for([Sampled.of_run(FIRST, samples())]) == CARD_STRIPS
        bare = dict.fromkeys(("power_w", "process_vram_mib", "reserved_mib", "device_used_mib"))
        on_host = tuple(replace(s, **bare) for s in samples())
        assert strips_for([Sampled.of_run(FIRST, on_host)]) == HOST_STRIPS
        assert strips_for([]) == ()

    def test_the_cards_memory_stands_in_for_the_process_under_its_own_name(self) -> None:
        other = tuple(replace(s, process_vram_mib=None, reserved_mib=None) for s in samples(3))
        memory, power, *_ = strips_for([Sampled.of_run(FIRST, other)])
        assert (memory.name, memory.unit, power) == ("GPU memory", "GiB", CARD_STRIPS[1])
        assert [memory.value(sample) for sample in other] == [43_000 / 1024] * 3

    def test_what_is_not_measured_has_no_strip(self) -> None:
        cold = tuple(replace(s, temperature_c=None) for s in samples(3))
        names = [strip.name for strip in strips_for([Sampled.of_run(FIRST, cold)])]
        assert names == ["VRAM", "power", "SM clock", "GPU utilisation"]

    def test_the_machines_own_readings_are_named_as_such(self) -> None:
        rows = [SampleRow(0, NOW_S, None, rss_mib=2048.0, cpu_pct=50.0)]
        strips = strips_for([Sampled("now", "cyan", rows)])
        assert [(s.name, s.unit) for s in strips] == [
            ("machine memory", "GiB"),
            ("machine CPU", "%"),
        ]
        cards = [Sampled(f"GPU{n}", "cyan", [SampleRow(0, NOW_S, None, power_w=70.0 + n)]) for n in range(2)]
        (power,) = strips_for(cards)
        assert strip_chart(power, cards, NOW_S, 300).title == "power, W: GPU0 70 GPU1 71"

    def test_the_last_value_of_a_run_that_has_ended_is_not_the_current_one(self) -> None:
        both = [Sampled.of_run(FIRST, samples()), Sampled.of_run(SECOND, samples())]
        assert strip_chart(CARD_STRIPS[1], both, NOW_S, 300).title.startswith("power, W: ●(380) ▲380")

    @pytest.mark.parametrize(
        ("cells", "title"),
        [
            (80, "power, W: ▲380 ▲380 ▲380, red: throttled"),
            (30, "power, W: ▲380 ▲380 ▲380"),
            (21, "power, W: ▲380 +2"),
            (9, "power, W"),
            (5, "pow.."),
        ],
    )
    def test_a_title_has_as_many_values_as_there_is_room(self, cells: int, title: str) -> None:
        three = [Sampled.of_run(SECOND, samples())] * 3
        assert strip_chart(CARD_STRIPS[1], three, NOW_S, 300, BRAILLE, cells).title == title

    def test_throttling_is_drawn_where_it_happened(self) -> None:
        chart = strip_chart(CARD_STRIPS[2], [Sampled.of_run(SECOND, samples(100))], NOW_S, 300)
        curve, slowed = chart.series
        assert slowed.color == SLOWED
        there = [x for x, y in zip(slowed.xs, slowed.ys, strict=True) if y is not None]
        assert (min(there), max(there)) == (-50.0, -26.0)  # third quarter of 100 s
        assert "throttled" in chart.title
        assert max(y for y in curve.ys if y is not None) == 1980.0

    def test_time_is_before_now_while_a_run_goes_on_and_else_before_its_end(self) -> None:
        late = NOW_S + 1000
        going = strip_chart(CARD_STRIPS[1], [Sampled.of_run(SECOND, samples(10))], late, 3600)
        ended = strip_chart(CARD_STRIPS[1], [Sampled.of_run(FIRST, samples(10))], late, 3600)
        assert going.series[0].xs[-1] == pytest.approx(-1001)
        assert ended.series[0].xs[-1] == 0
        assert (going.x_label, ended.x_label) == ("s", "s before the end")

    def test_a_clock_that_was_put_back_leaves_a_curve(self) -> None:
        jumped = [*samples(5), replace(samples(1)[0], sequence=6, at_s=NOW_S - 100)]
        chart = strip_chart(CARD_STRIPS[1], [Sampled.of_run(SECOND, jumped)], NOW_S, 300)
        assert list(chart.series[0].xs) == sorted(chart.series[0].xs)

    def test_what_was_not_measured_says_so(self) -> None:
        bare = tuple(replace(sample, sm_clock_mhz=None) for sample in samples())
        assert "not measured" in text_of(strip_chart(CARD_STRIPS[2], [Sampled.of_run(SECOND, bare)], NOW_S, 300), 40, 8)
