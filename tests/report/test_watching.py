"""The view of a watched run: its size, and its content with known and unknown values."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from peftbench.analysis.machine_load import others_now
from peftbench.analysis.time_left import time_left_s
from peftbench.cli.progress import Disturbance
from peftbench.jobs.follow import Update
from peftbench.plot import ASCII, BRAILLE, draw
from peftbench.report.run_lines import meter_line, progress_line
from peftbench.report.watching import curves, watch_table, watch_view
from peftbench.store.rows import Event, Phase, Progress, RunRecord, SampleRow, Score, now
from tests.factories import record
from tests.printing import HOSTILE
from tests.tiny import TASKS

NOW_S = 1_767_261_661.0  # a minute after the run started
AT = "2026-01-01T10:01:00.000Z"
PROGRESS = Progress(4, "train", "paraphrase", 30, 120, 450, 1_200, 11.62, AT)
ON_CPU = SampleRow(3, NOW_S, "train", rss_mib=812.4, cpu_pct=196.2, others_cpu_pct=3.0)
ON_CARD = SampleRow(
    7,
    NOW_S,
    "train",
    power_w=312.4,
    energy_j=12_400.0,
    device_used_mib=2_345.0,
    process_vram_mib=1_234.0,
    sm_clock_mhz=1_980.0,
    temperature_c=61.0,
    gpu_util_pct=97.0,
    event_reasons=0x40,
    rss_mib=900.0,
)
GOING_ON = {"state": "running", "finished_at": None, "exit_code": None, "epochs_done": 3, "best_epoch": 3}


def going_on(epochs: int = 3, tasks: tuple[str, ...] = TASKS, **changed: Any) -> RunRecord:
    """Return a run of ten epochs with some finished."""
    whole = record(tasks=tasks, epochs=epochs, **{**GOING_ON, "epochs_done": epochs, **changed})
    run = dataclasses.replace(whole.run, epochs_planned=changed.get("epochs_planned", 10))
    walls = tuple(Phase("train", epoch.epoch, "sst", None, 10.0 * epoch.epoch, steps=120) for epoch in whole.epochs)
    return dataclasses.replace(whole, run=run, phases=walls)


def seen(width: int, height: int, shown: RunRecord, progress: Progress | None = PROGRESS, **more: Any) -> str:
    """Return the output for a terminal of that size without styles, after checking that it fits exactly."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False, color_system=None)
    console.print(watch_view(shown, progress, width, height, now_s=NOW_S, **more))
    lines = out.getvalue().splitlines()
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    return out.getvalue()


def test_at_80_x_24_all_of_it_is_seen() -> None:
    text = seen(80, 24, going_on(), sample=ON_CPU, others=[record(name="dora-r12-1", **GOING_ON).run])
    for said in (
        "preset lora-r12 on workload quickstart",
        "seed 0",
        "running  1 min 00 s  epoch 3/10 done",
        "━ dev, ╍ train",
        "● sst 0.103/0.103  ▲ paraphrase 0.203/0.203  ■ sts 0.303/0.303",
        "train paraphrase  30/120  11.6 it/s  all 37 %",
        "RSS 812 MiB  CPU 196 %  others 3 %",
        "data: 2 rows left out",
        "other runs",
        "dora-r12-1",
    ):
        assert said in text, f"{said!r} is not in\n{text}"
    assert re.search(r"\n *1 +2 +3 ", text), "epochs below the axis"


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (120, 36), (200, 60), (400, 100), (1, 1)])
@pytest.mark.parametrize("tasks", [("sst",), TASKS, ("a", "b", "c", "d", "e", "f", "g", "h")])
@pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
def test_it_fits_any_size(size: tuple[int, int], tasks: tuple[str, ...], glyphs) -> None:
    others = [record(name=f"other-{n}", id=f"other{n}", **GOING_ON).run for n in range(9)]
    text = seen(*size, going_on(tasks=tasks), sample=ON_CARD, others=others, glyphs=glyphs)
    if glyphs is ASCII:
        assert text.isascii()


@settings(max_examples=60)
@given(
    st.integers(1, 140),
    st.integers(1, 50),
    st.integers(0, 6),
    st.sampled_from([None, PROGRESS, dataclasses.replace(PROGRESS, phase="idle", task=None, steps=0, total=0)]),
    st.sampled_from(["starting", "running", "failed", "interrupted", "finished"]),
)
def test_it_fits_whatever_the_run_is_at(width, height, epochs, progress, state) -> None:
    reason = "out of memory: " + "x" * 200 if state == "failed" else None
    shown = going_on(epochs, state=state, reason=reason, best_epoch=epochs or None)
    assert "None" not in seen(width, height, shown, progress)


def test_a_larger_terminal_gives_its_rows_to_the_chart() -> None:
    small, large = seen(80, 24, going_on()), seen(80, 40, going_on())
    assert large.count("│") + large.count("┤") == small.count("│") + small.count("┤") + 16


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_from_outside_cannot_act(text: str) -> None:
    shown = going_on(name=text, encoder=text, workload=text, reason=text, state="failed")
    run = dataclasses.replace(shown.run, preset=text)
    shown = dataclasses.replace(shown, run=run, events=(Event(1, "t", "data", text),))
    other = record(name=text, **GOING_ON).run
    for glyphs in (BRAILLE, ASCII):
        plain = seen(120, 30, shown, dataclasses.replace(PROGRESS, task=text), others=[other], glyphs=glyphs)
        assert plain.replace("\n", "").isprintable()


def test_without_colour_nothing_but_weight_is_sent() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system="256", no_color=True, highlight=False)
    console.print(watch_view(going_on(), PROGRESS, 80, 24, sample=ON_CARD))
    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", out.getvalue()) for code in found.split(";")}
    assert codes <= {"0", "1", "2"}, codes


def test_a_line_that_is_cut_says_so() -> None:
    text = seen(60, 24, going_on(state="failed", reason="out of memory " * 9))
    assert [line for line in text.splitlines() if line.startswith("out of memory out") and line.endswith("…")]


class TestCurves:
    def test_each_task_has_a_colour_with_a_solid_dev_and_a_dashed_train_curve(self) -> None:
        chart = curves(going_on(epochs=4))
        train, dev = chart.series[:3], chart.series[3:]
        assert all(one.dashed for one in train)
        assert not any(one.dashed for one in dev)
        assert [one.color for one in train] == [one.color for one in dev]
        assert len({one.color for one in dev}) == len({one.marker for one in dev}) == 3
        assert list(dev[1].xs) == [1, 2, 3, 4]
        assert dev[1].ys == pytest.approx([0.201, 0.202, 0.203, 0.204])
        assert [one.name for one in dev] == list(TASKS)
        assert not any(one.name for one in train)

    def test_the_x_axis_is_all_epochs_planned_from_1(self) -> None:
        span = curves(going_on()).x
        assert span is not None
        assert (span.low, span.high) == (1, 10)
        only = curves(going_on(epochs=1, epochs_planned=1))
        assert [line for line in draw(only, 60, 14) if "".join(s.text for s in line).split() == ["epoch", "1"]]

    def test_a_metric_that_is_missing_is_a_gap_and_a_note(self) -> None:
        shown = going_on(epochs=2)
        lost = Score(2, "sts", "dev", "pearson", None, "constant predictions", 0.5, 300)
        kept = tuple(s for s in shown.scores if not (s.task == "sts" and s.epoch == 2 and s.split == "dev"))
        shown = dataclasses.replace(shown, scores=(*kept, lost))
        assert curves(shown).series[-1].ys[-1] is None
        assert "epoch 2, sts dev: no pearson: constant predictions" in seen(80, 24, shown)
        assert "sts –/0.302" in seen(80, 24, shown)

    def test_another_metric_is_named_with_its_tasks(self) -> None:
        assert curves(going_on()).title.startswith("accuracy, Pearson r of sts:")
        assert curves(going_on(tasks=("sst",))).title.startswith("accuracy:")

    def test_before_the_first_epoch_it_says_so(self) -> None:
        text = seen(80, 24, going_on(epochs=0, best_epoch=None, dev_avg=None), None)
        assert "no epoch has finished yet" in text
        assert "loading data and model" in text


class TestLines:
    def line(self, progress: Progress | None, width: int = 120, now_s: float = NOW_S, **changed: Any) -> str:
        return "".join(line.plain for line in progress_line(going_on(**changed), progress, width, now_s, BRAILLE))

    def test_a_bar_shows_the_share_of_the_phase(self) -> None:
        assert self.line(PROGRESS).startswith("━" * 6 + "─" * 18 + "  train")
        assert self.line(dataclasses.replace(PROGRESS, step=120)).startswith("━" * 24 + "  train")
        narrow = self.line(PROGRESS, 80)
        assert narrow.startswith("━" * (narrow.index("─")))
        assert "left" in narrow
        assert len(narrow) <= 80

    def test_a_run_that_says_nothing_for_long_is_told_from_one_at_work(self) -> None:
        assert "no word" not in self.line(PROGRESS, now_s=NOW_S + 8)
        assert "no progress for 31.0 s" in self.line(PROGRESS, now_s=NOW_S + 30)

    def test_the_time_left_is_by_finished_epochs_then_by_pace_else_unknown(self) -> None:
        assert time_left_s(going_on(epochs=3), PROGRESS) == pytest.approx((1 - 450 / 1200) * 10 * 20.0)
        assert time_left_s(going_on(epochs=0), PROGRESS) == pytest.approx(750 / 11.62)
        assert time_left_s(going_on(epochs=0), dataclasses.replace(PROGRESS, its=None)) is None
        assert time_left_s(going_on(epochs=0), dataclasses.replace(PROGRESS, total=0)) is None
        assert "left" not in self.line(dataclasses.replace(PROGRESS, its=None), epochs=0)

    def test_idle_is_in_seconds_and_evaluation_in_examples(self) -> None:
        assert "idle  2/5 s" in self.line(Progress(0, "idle", None, 2, 5, 0, 0, None, AT))
        assert "eval dev sst  32/300 examples" in self.line(Progress(1, "eval dev", "sst", 32, 300, 50, 500, None, AT))

    def test_a_run_that_has_ended_is_at_nothing(self) -> None:
        assert self.line(None, state="finished") == ""
        assert self.line(None, state="starting", created_at=now()) == "waiting for its worker"

    def test_the_meters_of_a_card_come_first_and_throttling_is_said(self) -> None:
        (line,) = meter_line(ON_CARD, 160)
        assert line.plain == (
            "VRAM 1,234 MiB  GPU memory 2,345 MiB  312 W  throttled: hardware thermal slowdown  SM 1,980 MHz"
            "  61 °C  GPU 97 %  run 12.4k J  RSS 900 MiB"
        )

    def test_what_no_meter_read_is_left_out(self) -> None:
        assert [line.plain for line in meter_line(ON_CPU, 80)] == ["RSS 812 MiB  CPU 196 %  others 3 %"]
        assert meter_line(SampleRow(1, NOW_S, None), 80) == meter_line(None, 80) == []
        zero = dataclasses.replace(ON_CPU, others_cpu_pct=0.0)
        assert "others 0 %" in meter_line(zero, 80)[0].plain


class TestTable:
    def test_those_left_out_are_counted(self) -> None:
        runs = [record(name=f"run-{n}", **GOING_ON).run for n in range(5)]
        lines = [line.plain for line in watch_table(runs, 80, 3)]
        assert lines[0] == "other runs (and 2 more)"
        assert [line.split()[0] for line in lines[1:]] == ["run-0", "run-1", "run-2"]
        assert lines[1].split()[1:] == ["running", "epoch", "3/10", "dev", "avg", "0.765"]

    def test_no_other_run_no_line(self) -> None:
        assert watch_table([]) == []
        assert watch_table([record().run], 80, 0) == []

    def test_wide_names_keep_the_columns(self) -> None:
        lines = watch_table([record(name=name, **GOING_ON).run for name in ("日本語のとても長い名前です", "a")])
        at = [cell_len(line.plain[: line.plain.index("running")]) for line in lines[1:]]
        assert at[0] == at[1]


def used_by_others(*cores: float) -> list[SampleRow]:
    """Return one sample per second with a given CPU load by other processes."""
    return [SampleRow(n, NOW_S + n, "train", rss_mib=812.0, others_cpu_pct=100 * c) for n, c in enumerate(cores, 1)]


@pytest.mark.parametrize(
    ("cores", "busy"),
    [
        ([0.0] * 20, None),
        ([0.4] * 20, None),  # a fifth of two cores: not busy
        ([0.5] * 4, None),  # too few samples
        ([0.5] * 5, 0.5),
        ([2.0] * 20, 2.0),
        ([0.0] * 60 + [2.0] * 2, None),  # only briefly
        ([0.0] * 60 + [2.0] * 3, 0.6),
        ([1.0] * 20 + [0.3] * 20, 0.3),  # was busy, still above the lower threshold
        ([1.0] * 20 + [0.1] * 20, None),
        ([1.0] * 20 + [0.1] * 20 + [0.3] * 20, None),  # was not busy, still below the upper threshold
    ],
)
def test_the_machine_is_busy_from_a_quarter_of_its_cores_until_a_tenth(cores: list[float], busy: float | None) -> None:
    found = others_now(used_by_others(*cores), {"cores": 2}).busy_cores
    assert found == (None if busy is None else pytest.approx(busy))


def test_of_a_machine_that_is_not_known_nothing_is_said() -> None:
    assert others_now(used_by_others(*[2.0] * 20), {}).busy_cores is None
    unread = [SampleRow(n, NOW_S + n, "train") for n in range(20)]
    assert others_now(unread, {"cores": 2}).busy_cores is None


def test_a_busy_machine_is_said_in_the_picture() -> None:
    samples = used_by_others(*[1.4] * 12)
    busy = others_now(samples, {"cores": 2})
    assert "the machine is busy: others use 1.4 of 2 cores" in seen(80, 24, going_on(), sample=samples[-1], busy=busy)
    quiet = others_now(used_by_others(*[0.0] * 12), {"cores": 2})
    assert "busy" not in seen(80, 24, going_on(), sample=samples[-1], busy=quiet)


def test_the_line_of_a_run_says_it_as_well() -> None:
    busy = others_now(used_by_others(*[1.4] * 12), {"cores": 2})
    wide, narrow = (progress_line(going_on(), PROGRESS, width, NOW_S, BRAILLE, busy)[0].plain for width in (140, 110))
    assert "the machine is busy: others use 1.4 of 2 cores" in wide
    assert "busy: others use 1.4 cores" in narrow


def test_a_follower_says_when_it_begins_and_ends_and_no_more() -> None:
    clock = [0.0]
    run = dataclasses.replace(going_on().run, conditions={"cores": 2})
    told = Disturbance(lambda: clock[0])

    def lines(*cores: float) -> list[str]:
        rows = [dataclasses.replace(row, at_s=clock[0] + row.at_s) for row in used_by_others(*cores)]
        clock[0] += len(cores)
        return list(told.take(Update(run, None, (), RunRecord(run), tuple(rows))))

    assert lines(*[0.0] * 30) == []
    assert lines(*[1.5] * 10) == ["the machine is busy: others use 1.5 of 2 cores"]
    assert lines(*[1.5] * 40) == []
    assert lines(*[0.0] * 20) == ["the machine is no longer busy, after 1 min 00 s"]
    assert lines(*[1.5] * 20) == [], "so soon after the last word"
    assert lines(*[1.5] * 20) == ["the machine is busy: others use 1.5 of 2 cores"]
