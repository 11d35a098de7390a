"""Unit tests of dashboard parts: pins, listing, lines, columns, footer, machine, replay, form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from peftbench.analysis.run_filter import parsed
from peftbench.errors import UsageError
from peftbench.plot import ASCII, BRAILLE
from peftbench.store.rows import InterimScore, TrainPoint
from peftbench.tui.actions import ACTIONS, FIRST_SHOWN
from peftbench.tui.form import Form, choices, plan, summary, time_needed
from peftbench.tui.lines import bar, header, machine_lines, run_lines
from peftbench.tui.listing import ORDERS, listed
from peftbench.tui.machine import Machine, MachineMeter
from peftbench.tui.pins import Pins, color_of
from peftbench.tui.replay import ReplaySource
from peftbench.tui.source import MOST_PINNED
from peftbench.tui.state import StateRequest
from peftbench.tui.widgets.key_bar import that_fit
from peftbench.tui.widgets.runs_table import Mark, cells, columns_for, short_time
from tests.sim.library import environment
from tests.sim.scenario import two_cards
from tests.tui.world import NOW_S, ON_CARD, ON_CPU, going_on, run_record, samples, snapshot


class TestPins:
    def test_until_somebody_pins_the_source_chooses(self) -> None:
        pins = Pins()
        pins.take(("a", "b"), "abc")
        assert (pins.wanted, pins.slots) == (None, {"a": 0, "b": 1})
        pins.take(("b", "c"), "abc")
        assert pins.slots == {"b": 1, "c": 0}  # b keeps its marker

    def test_what_was_chosen_stays_and_what_is_gone_goes(self) -> None:
        pins = Pins()
        pins.take(("a", "b"), "abc")
        assert pins.toggle("c")
        pins.take(("x",), "abcx")
        assert pins.wanted == ("a", "b", "c")
        pins.take((), "ac")
        assert pins.wanted == ("a", "c")
        assert pins.toggle("a")
        assert pins.wanted == ("c",)

    def test_a_run_that_was_just_queued_may_come_later(self) -> None:
        pins = Pins()
        pins.add(["new"])
        pins.take((), "ab")
        assert pins.wanted == ("new",)
        pins.take(("new",), ["a", "new"])
        pins.take((), "a")
        assert pins.wanted == ()

    @given(st.lists(st.integers(0, 40), max_size=80))
    def test_no_two_share_a_place(self, toggled: list[int]) -> None:
        pins = Pins()
        for number in toggled:
            pins.toggle(str(number))
            assert len(set(pins.slots.values())) == len(pins.slots) <= MOST_PINNED
            assert all(place <= MOST_PINNED for place in pins.slots.values())


class TestListing:
    LINES = snapshot(
        run_record("run00001", "b", dev_avg=0.5), going_on("run00002", "a"), run_record("run00003", "c")
    ).lines

    def test_words_are_all_needed(self) -> None:
        assert [line.run.name for line in listed(self.LINES, parsed("RUNNING"), ORDERS[0])] == ["a"]
        assert listed(self.LINES, parsed("running finished"), ORDERS[0]) == []
        assert len(listed(self.LINES, parsed("  quickstart "), ORDERS[0])) == 3

    def test_every_order_has_all_of_them(self) -> None:
        for order in ORDERS:
            assert {line.run.id for line in listed(self.LINES, parsed(""), order)} == {
                line.run.id for line in self.LINES
            }
        assert [line.run.name for line in listed(self.LINES, parsed(""), ORDERS[-1])] == ["a", "b", "c"]
        assert listed(self.LINES, parsed(""), ORDERS[2])[0].run.name == "a"


class TestLines:
    @pytest.mark.parametrize("width", [10, 40, 80, 200])
    @pytest.mark.parametrize("machine", [ON_CARD, ON_CPU, Machine()])
    @pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
    def test_every_line_fits(self, width: int, machine: Machine, glyphs: object) -> None:
        shown = snapshot(run_record(), going_on(), machine=machine)
        told = [header(shown, Path("a-database-of-a-long-name.db"), width, "replay x20")]
        told += machine_lines(machine, width, 2, glyphs)  # type: ignore[arg-type]
        for line in shown.lines:
            told += run_lines(shown.details[line.run.id], line, width, NOW_S, glyphs)  # type: ignore[arg-type]
        assert all(cell_len(text.plain) <= width and "\n" not in text.plain for text in told)

    def test_the_run_at_the_cursor(self) -> None:
        shown = snapshot(going_on())
        first, second = run_lines(shown.details["run00002"], shown.lines[0], 120, NOW_S, BRAILLE)
        assert "epoch 4/10 done" in first.plain
        assert "train paraphrase" in second.plain
        assert "11.6 it/s" in second.plain

    def test_what_it_cost_when_it_has_ended(self) -> None:
        shown = snapshot(run_record())
        _, second = run_lines(shown.details["run00001"], shown.lines[0], 120, NOW_S, BRAILLE)
        assert second.plain.startswith("cost")
        assert "it/s" in second.plain

    def test_a_bar_is_as_full_as_its_share(self) -> None:
        for share, full in ((-1.0, 0), (0.0, 0), (0.5, 5), (1.0, 10), (7.0, 10)):
            assert bar(share, 10, BRAILLE).plain.count("█") == full

    def test_cards_that_have_no_line_are_counted(self) -> None:
        cards = tuple(replace(ON_CARD.cards[0], index=n) for n in range(8))
        told = machine_lines(replace(ON_CARD, cards=cards), 120, 4, BRAILLE)
        assert len(told) == 4
        assert "+4 GPUs" in told[-1].plain


class TestTable:
    def test_columns_by_width_and_machine(self) -> None:
        lines = snapshot(run_record()).lines
        assert [c.name for c in columns_for(lines, 80)] == ["run", "state", "epoch", "dev", "gap", "VRAM", "left"]
        assert "J" in [c.name for c in columns_for(lines, 120)]
        on_cpu = [replace(line, figures=replace(line.figures, vram_mib=None, energy_j=None)) for line in lines]
        names = [c.name for c in columns_for(on_cpu, 120)]
        assert "RSS" in names
        assert "VRAM" not in names

    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_a_row_fits_its_screen(self, width: int) -> None:
        shown = columns_for(snapshot(run_record()).lines, width)
        assert sum(column.cells + 2 for column in shown) + 3 + 2 <= width

    def test_cells_are_as_wide_as_their_columns_at_most(self) -> None:
        line = snapshot(run_record(name="名前" * 20)).lines[0]
        shown = columns_for([line], 200)
        for cell, column in zip(cells(line, Mark("●", "red"), shown)[1:], shown, strict=True):
            assert cell_len(cell.plain) <= column.cells

    @pytest.mark.parametrize(
        ("seconds", "told"),
        [
            (0, "0s"),
            (59.4, "59s"),
            (59.6, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86400 * 5, "5d00h"),
            (3.6e5, "4d04h"),
        ],
    )
    def test_short_times(self, seconds: float, told: str) -> None:
        assert short_time(seconds) == told

    @given(st.floats(0, 8.6e7))
    def test_times_are_short(self, seconds: float) -> None:
        assert len(short_time(seconds)) <= 7


class TestKeys:
    def test_the_most_needed_have_room_first(self) -> None:
        keys = [(action.name, len(action.label) + 3) for action in ACTIONS if action.shown]
        for room in range(0, 200, 7):
            kept = that_fit(keys, room)
            assert sum(keys[place][1] for place in kept) <= room
        six = [keys[place][0] for place in sorted(that_fit(keys, 68))]
        assert set(FIRST_SHOWN[:5]) <= set(six)

    def test_no_key_is_used_twice(self) -> None:
        assert len({action.key for action in ACTIONS}) == len(ACTIONS)

    def test_every_colour_is_one(self) -> None:
        from rich.style import Style

        for place in range(30):
            for dark, ansi in ((True, False), (False, False), (True, True)):
                assert Style.parse(color_of(place, dark, ansi)).color is not None


class TestMachine:
    def test_no_card_is_said(self) -> None:
        machine = MachineMeter().read()
        assert machine.cores >= 1
        assert machine.memory_total_mib
        assert machine.cards or machine.why_none

    def test_it_is_read_once_a_second(self) -> None:
        moment = [0.0]
        meter = MachineMeter(lambda: moment[0])
        first = meter.read()
        assert meter.read() is first
        moment[0] = 1.5
        assert meter.read() is not first

    def test_cards_through_nvml(self, nvml_library: Path, tmp_path: Path) -> None:
        import json
        import os
        import subprocess
        import sys
        import time

        scenario = two_cards(time.time())
        path = tmp_path / "cards.scenario"
        scenario.write(path)
        code = (
            "import dataclasses, json; from peftbench.tui.machine import MachineMeter;"
            "m = MachineMeter(); print(json.dumps(dataclasses.asdict(m.read()))); m.close()"
        )
        told = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment(nvml_library, path)},
            capture_output=True,
            check=True,
        )
        cards = json.loads(told.stdout)["cards"]
        assert [card["index"] for card in cards] == [0, 1]
        assert cards[0]["name"] == scenario.cards[0].name
        assert cards[0]["power_w"] > 0
        assert cards[0]["total_mib"] > cards[0]["used_mib"] >= 0


class TestReplay:
    def test_it_goes_from_nothing_to_all_of_it(self) -> None:
        whole = run_record()
        clock = [0.0]
        played = ReplaySource(whole, samples(60), 10.0, lambda: clock[0])
        (line,) = played.look(StateRequest()).lines
        assert (line.state, line.run.epochs_done, line.run.best_epoch) == ("running", 0, None)
        done = []
        while line.state == "running":
            clock[0] += max(played.end_s - played.start_s, 10) / 500
            found = played.look(StateRequest())
            (line,) = found.lines
            done.append(line.run.epochs_done)
            record = found.details[whole.run.id].record
            assert {score.epoch for score in record.scores} == set(range(1, len(record.epochs) + 1))
            assert all(sample.at_s <= found.now_s for sample in found.details[whole.run.id].samples)
        assert done == sorted(done)
        assert found.details[whole.run.id].record == whole
        clock[0] += 1e6
        assert played.look(StateRequest()).lines == found.lines  # it stays at the end

    def test_an_average_of_zero_is_better_than_one_below_it(self) -> None:
        record = run_record()
        epochs = tuple(replace(epoch, dev_avg=0.0 if epoch.epoch == 1 else -0.1) for epoch in record.epochs)
        test = replace(record.scores[0], epoch=1, split="test")
        played = ReplaySource(replace(record, epochs=epochs, scores=(*record.scores, test)), samples(60), 10.0)
        shown, _ = played.at(played.end_s - 1e-3)
        assert len(shown.epochs) > 1 and shown.run.best_epoch == 1
        assert test not in shown.scores, "it was scored at the end"

    def test_it_is_paused_and_moved(self) -> None:
        clock = [0.0]
        played = ReplaySource(run_record(), samples(60), 1.0, lambda: clock[0])
        whole = played.end_s - played.start_s
        clock[0] += 0.25 * whole
        assert not played.pause()
        clock[0] += 10 * whole
        assert played.now_s == pytest.approx(played.start_s + 0.25 * whole)
        played.seek(0.5)
        assert played.now_s == pytest.approx(played.start_s + 0.75 * whole)
        assert played.pause()
        clock[0] += 0.1 * whole
        assert played.now_s == pytest.approx(played.start_s + 0.85 * whole)
        played.seek(-2)
        assert played.now_s == played.start_s
        played.seek(5)
        assert played.now_s == played.end_s

    def test_what_came_later_is_not_shown_before(self) -> None:
        interim = tuple(InterimScore(step, 1, "sst", "accuracy", 0.5, None, 1.0, 9) for step in (1, 10**7))
        points = tuple(TrainPoint(step, 1, "sst", 1, 1.0) for step in (1, 10**7))
        whole = replace(run_record(), interim=interim)
        clock = [0.0]
        played = ReplaySource(whole, samples(60), 1.0, lambda: clock[0], points=points)
        clock[0] = (played.end_s - played.start_s) / 2
        detail = played.look(StateRequest()).details[whole.run.id]
        assert [score.step for score in detail.record.interim] == [point.step for point in detail.points] == [1]
        clock[0] = 1e9
        detail = played.look(StateRequest()).details[whole.run.id]
        assert len(detail.record.interim) == len(detail.points) == 2

    def test_it_was_faster_by_so_much(self) -> None:
        clock = [0.0]
        played = ReplaySource(run_record(), (), 4.0, lambda: clock[0])
        before = played.look(StateRequest()).now_s
        clock[0] = 2.0
        assert played.look(StateRequest()).now_s == pytest.approx(min(before + 8.0, played.end_s))


class TestPlan:
    def test_a_form_makes_runs(self) -> None:
        runs = plan(Form("dora-r12", "quickstart", "", "train.epochs=2 method.rank=4", "3", "2"))
        assert [run.spec.seed for run in runs] == [3, 4]
        assert all(run.spec.train.epochs == 2 for run in runs)
        assert "2 runs, seeds 3 to 4" in summary(runs)
        assert "unknown" in time_needed(runs, [], "host")

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            (Form("lora-r13", "quickstart"), "did you mean 'lora-r12'"),
            (Form("lora-r12", "quickstart", overrides="train.epoch=2"), "did you mean 'epochs'"),
            (Form("lora-r12", "quickstart", overrides="'open"), "overrides"),
            (Form("lora-r12", "quickstart", overrides="seed=7"), "first seed"),
            (Form("lora-r12", "quickstart", seed="x"), "seed: 'x' is not an integer"),
            (Form("lora-r12", "quickstart", seeds="0"), "seeds: 0: must be at least 1"),
            (Form("lora-r12", "quickstart", seeds="100000"), "at most 1,000"),
            (Form("lora-r12", "quickstart", data="/nowhere/at/all"), "not a folder"),
        ],
    )
    def test_what_is_wrong_is_named(self, form: Form, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            plan(form)
        assert said in f"{caught.value.message} {caught.value.hint}"

    def test_files_of_the_folder_can_be_chosen(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text('[method]\nname = "lora"\n')
        (tmp_path / "data.toml").write_text('[tasks.sst]\nkind = "classes"\n')
        (tmp_path / "other.toml").write_text("x = 1\n")
        (tmp_path / "broken.toml").write_text("[[[\n")
        assert choices("preset", tmp_path)[-1] == "./mine.toml"
        assert choices("workload", tmp_path)[-1] == "./data.toml"
        assert "lora-r12" in choices("preset", tmp_path)
