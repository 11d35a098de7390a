"""Dashboard tests by key presses: display, pins, filter, charts, full screen, error messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.command import CommandList
from textual.events import MouseScrollUp
from textual.pilot import Pilot
from textual.widgets import Input

from peftbench import formatting
from peftbench.plot import ASCII
from peftbench.report.tables import run_page
from peftbench.tui.actions import ACTIONS
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.pins import SELECTED_SLOT, Pins
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.help import Help
from peftbench.tui.screens.log import LogView
from peftbench.tui.screens.run_view import RunView
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.chart_view import ChartView
from peftbench.tui.widgets.curve_chart import CurveChart
from peftbench.tui.widgets.runs_table import RunsTable
from tests.printing import printed
from tests.tui.world import (
    NOW_S,
    ON_CPU,
    Given,
    drive,
    going_on,
    row_of,
    run_record,
    screen_lines,
    screen_text,
    snapshot,
    until,
)

FULL, DORA, LORA = run_record("run00003", "full-1", method="full"), going_on(), run_record("run00001", "lora-r12-1")
THREE = snapshot(FULL, DORA, LORA)
ONE_CHART = (99, 36)  # a screen with room for one


def chart(app: PeftbenchApp) -> CurveChart:
    return app.screen.query_one(CurveChart)


def test_a_run_has_its_figures_in_one_row_as_the_tables_have_them() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        row = row_of(app, "dora-r12-1")
        for told in ("▶ running", "4/10", formatting.score(DORA.run.dev_avg), "+0.080", "18.0G", "184k", "3m05s"):
            assert told in row, told
        header = screen_lines(app)[0]
        for told in ("peftbench", "test.db", "1 running", "2 finished", "GPU0 NVIDIA H100"):
            assert told in header, told
        assert "312/700 W" in screen_text(app)

    drive(test, Given(THREE))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60), (60, 16), (30, 10)])
def test_it_fits_every_size_with_the_most_needed_on_it(size: tuple[int, int]) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        lines = screen_lines(app)
        assert any("dora-r12-1" in line for line in lines)
        assert "New run" in lines[-1]
        if size[0] >= 80:
            keys = lines[-1]
            assert all(word in keys for word in ("New run", "Pin", "Compare", "Help", "Quit", "palette"))
        if size[1] >= 24:
            assert sum("⣀" in line or "⠒" in line or "⠤" in line for line in lines) >= 4  # the curves
        assert (app.screen.query_one("#meters").region.width > 0) == (size[0] >= 100)

    drive(test, Given(THREE), size=size)


@pytest.mark.slow
def test_it_can_be_resized_at_any_time() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        for number, size in enumerate(((80, 24), (200, 60), (20, 6), (1, 1), (120, 36))):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert isinstance(app.screen, Dashboard)
            app.screen.show(replace(app.snapshot, now_s=app.snapshot.now_s + number))
            await pilot.pause()
        assert "dora-r12-1" in screen_text(app)

    drive(test, Given(THREE))


@pytest.mark.slow
def test_the_space_bar_pins_and_unpins_and_the_rest_keeps_its_marker() -> None:
    source = Given(THREE)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        signs = {name: row_of(app, name)[1] for name in ("full-1", "dora-r12-1", "lora-r12-1")}
        assert sorted(signs.values()) == sorted("●▲■")
        await pilot.press("down", "space")
        await until(pilot, lambda: source.wanted.pinned == ("run00003", "run00001"))
        source.snapshot = replace(THREE, pinned=("run00003", "run00001"))
        await until(pilot, lambda: [p.slot for p in chart(app).pinned] == [0, 2, SELECTED_SLOT])
        assert row_of(app, "dora-r12-1")[1] == "★"  # it is still at the cursor
        await pilot.press("up")
        assert row_of(app, "dora-r12-1")[1] == " "
        await pilot.press("down")
        assert row_of(app, "lora-r12-1")[1] == signs["lora-r12-1"]
        await pilot.press("space")
        await until(pilot, lambda: source.wanted.pinned == ("run00003", "run00001", "run00002"))

    drive(test, source)


@pytest.mark.slow
def test_the_filter_takes_words_in_any_order_and_goes() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        table = app.screen.query_one(RunsTable)
        await pilot.press("slash", *"FINISHED lora-r12-1")
        await pilot.pause()
        assert table.row_count == 1
        assert "1 of 3" in screen_text(app)
        await pilot.press("enter")
        assert app.screen.focused is table
        assert table.run_id == "run00001"
        await pilot.press("escape")
        assert table.row_count == 3
        assert not app.screen.query_one("#filter", Input).has_class("-shown")

    drive(test, Given(THREE))


def test_the_filter_knows_fields_and_says_what_it_cannot_read() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        table = app.screen.query_one(RunsTable)
        await pilot.press("slash", *"method:full")
        await until(pilot, lambda: table.row_count == 1)
        await pilot.press(*" rank>")  # half typed: what was there before still holds
        await until(pilot, lambda: "it has no value after '>'" in screen_text(app))
        assert table.row_count == 1
        await pilot.press(*"99")
        await until(pilot, lambda: table.row_count == 0 and "it has no value" not in screen_text(app))
        await pilot.press("escape", "slash", *"rnak:3")
        await until(pilot, lambda: "no field 'rnak'" in screen_text(app))

    drive(test, Given(THREE))


def test_zero_shows_the_whole_range_without_focus() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        chart(app).focus()
        await pilot.press("plus")
        assert chart(app).view is not None
        app.screen.query_one(RunsTable).focus()
        await pilot.press("0")
        assert chart(app).view is None

    drive(test, Given(THREE))


def test_a_picture_is_written_without_a_folder_of_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: it failed where there is no ~/Downloads."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DOWNLOAD_DIR", str(tmp_path / "absent"))
    monkeypatch.chdir(tmp_path)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        app.action_screenshot()
        await until(pilot, lambda: any(path.read_text().endswith("</svg>\n") for path in tmp_path.glob("*.svg")))

    drive(test, Given(THREE))


@pytest.mark.slow
def test_the_cursor_stays_on_its_run_when_others_come() -> None:
    source = Given(THREE)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        table = app.screen.query_one(RunsTable)
        await pilot.press("down", "down")
        assert table.run_id == "run00001"
        source.snapshot = snapshot(run_record("run00009", "newer-1"), FULL, DORA, LORA)
        await until(pilot, lambda: table.row_count == 4)
        await pilot.pause()
        assert table.run_id == "run00001"

    drive(test, source)


@pytest.mark.slow
def test_an_order_by_score() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("o")
        names = [line.split()[1] for line in screen_lines(app)[3:6]]
        best = sorted((FULL, DORA, LORA), key=lambda found: -(found.run.dev_avg or 0))
        assert names == [found.run.name for found in best]
        assert "best first" in screen_text(app)

    drive(test, Given(THREE))


@pytest.mark.slow
def test_the_curves_follow_task_and_axis_and_the_cursor_reads_them() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        curves = chart(app)
        assert "mean of accuracy, Pearson r of sts" in screen_text(app)
        await pilot.press("t")
        assert "sst accuracy" in screen_text(app)
        await pilot.press("t", "t", "t")
        assert "no training step is recorded yet" in screen_text(app)
        await pilot.press("t")
        assert "mean of accuracy, Pearson r of sts" in screen_text(app)
        curves.focus()
        await pilot.press("right", "right")
        assert curves.cursor_x == 2.0
        dev = next(score.dev_avg for score in LORA.epochs if score.epoch == 2)
        assert f"lora-r12-1 {formatting.score(dev)}/" in screen_text(app)
        await pilot.press("left", "left")
        assert curves.cursor_x == 1.0
        await pilot.press("escape")
        assert curves.cursor_x is None
        await pilot.press("x")
        assert curves.axis == "step"

    drive(test, Given(THREE), size=ONE_CHART)


@pytest.mark.slow
def test_zoom_pan_and_fit() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        curves = chart(app)
        curves.focus()
        await pilot.press("plus", "plus")
        assert curves.view is not None
        narrow = curves.view
        assert 1 <= narrow.low < narrow.high <= 10
        await pilot.press("left_square_bracket")
        assert curves.view is not None
        assert curves.view.low < narrow.low
        for _ in range(8):
            await pilot.press("right_square_bracket")
        assert curves.view is not None
        assert curves.view.high == pytest.approx(10)  # limited to the data
        for _ in range(12):
            await pilot.press("plus")
        assert curves.view is not None
        for _ in range(30):
            await pilot.press("minus")
        assert curves.view is None
        await pilot.press("plus", "0")
        assert curves.view is None

    drive(test, Given(THREE))


@pytest.mark.slow
def test_the_mouse_reads_zooms_and_pans() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        curves = chart(app)
        await pilot.hover(CurveChart, offset=(40, 6))
        await pilot.pause()
        assert curves.cursor_x is not None
        await pilot._post_mouse_events([MouseScrollUp], CurveChart, offset=(40, 6), button=0)
        await pilot.pause()
        assert curves.view is not None
        before = curves.view
        await pilot.mouse_down(CurveChart, offset=(40, 6))
        await pilot.hover(CurveChart, offset=(20, 6))
        await pilot.mouse_up(CurveChart, offset=(20, 6))
        await pilot.pause()
        assert curves.view is not None
        assert curves.view.low > before.low

    drive(test, Given(THREE), size=ONE_CHART)


def test_maximise_and_back() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("tab")
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.maximized is chart(app)
        assert chart(app).size.height > 25
        await pilot.press("z")
        assert app.screen.maximized is None

    drive(test, Given(THREE))


@pytest.mark.slow
def test_everything_of_a_run_is_what_show_prints() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunView))
        await pilot.pause()
        shown = screen_text(app)
        for line in printed(run_page(FULL), 100).splitlines()[:12]:
            assert line.strip() in shown, line
        for key, word in (("2", "accuracy"), ("3", "step ms"), ("5", "encoder.name")):
            await pilot.press(key)
            await pilot.pause()
            assert word in screen_text(app), word
        await pilot.press("escape")
        assert isinstance(app.screen, Dashboard)

    drive(test, Given(THREE), size=(110, 60))


@pytest.mark.slow
def test_the_help_names_every_key_and_its_headless_twin() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        shown = screen_text(app)
        for action in ACTIONS:
            assert action.label in shown, action
        assert "peftbench compare RUN RUN" in shown
        await pilot.press("escape")
        assert isinstance(app.screen, Dashboard)

    drive(test, Given(THREE), size=(120, 80))


def test_the_palette_has_every_action() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert all(action.label in titles for action in ACTIONS)
        assert len(titles) == len(set(titles))
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"Order")
        found = app.screen.query_one(CommandList)
        await until(pilot, lambda: found.option_count > 0 and found.highlighted is not None)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Dashboard) and app.screen.order.label == "best first")

    drive(test, Given(THREE))


class TestStates:
    @pytest.mark.slow
    def test_no_runs_offers_the_demo(self) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            shown = screen_text(app)
            assert "No runs yet in test.db" in shown
            assert "run the demo" in shown
            assert "no GPU" in screen_lines(app)[0]
            assert "NVML Shared Library" in shown

        drive(test, Given(snapshot(machine=ON_CPU)))

    @pytest.mark.slow
    @pytest.mark.parametrize("records", [(), (FULL, DORA)])
    def test_a_problem_is_said_above_what_was_read(self, records: tuple[object, ...]) -> None:
        said = "the database test.db was deleted or moved"

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            assert said in screen_text(app)
            assert ("dora-r12-1" in screen_text(app)) == bool(records)

        drive(test, Given(snapshot(*records, problem=said)))  # type: ignore[arg-type]

    @pytest.mark.slow
    def test_a_lost_run_and_one_without_figures(self) -> None:
        lost = going_on("run00005", "lost-1")
        line = snapshot(lost).lines[0]
        bare = replace(line, state="lost", progress=None, figures=type(line.figures)())

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            row = row_of(app, "lost-1")
            assert "✗ lost" in row
            assert "–" in row
            assert " 0 " not in row

        drive(test, Given(replace(snapshot(lost), lines=(bare,))))

    @pytest.mark.slow
    def test_a_thousand_runs(self) -> None:
        runs = [run_record(f"run{n:05d}", f"lora-{n}") for n in range(1000)]
        lines = snapshot(*runs).lines

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            table = app.screen.query_one(RunsTable)
            assert table.row_count == 1000
            await pilot.press("end")
            await pilot.pause()
            assert table.run_id == "run00999"
            assert "lora-999" in screen_text(app)
            await pilot.press("slash", *"lora-77")
            await pilot.pause()
            assert table.row_count == 11

        drive(test, Given(DashboardState(NOW_S, lines, (), {}, ON_CPU)))

    @pytest.mark.slow
    def test_a_card_that_does_not_answer(self) -> None:
        card = replace(THREE.machine.cards[0], **dict.fromkeys(("used_mib", "power_w", "util_pct", "sm_clock_mhz")))
        dead = replace(card, mem_clock_mhz=None, temperature_c=None, event_reasons=None)

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            assert "no readings" in screen_text(app)

        drive(test, Given(replace(THREE, machine=replace(THREE.machine, cards=(dead,)))))

    @pytest.mark.slow
    def test_throttling_is_said(self) -> None:
        hot = replace(THREE.machine.cards[0], event_reasons=0x40)

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            assert "throttled: hardware thermal slowdown" in screen_text(app)

        drive(test, Given(replace(THREE, machine=replace(THREE.machine, cards=(hot,)))))

    @pytest.mark.slow
    def test_ascii_is_all_that_is_drawn_where_it_was_asked_for(self) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            assert not any("\u2800" <= character <= "\u28ff" for character in screen_text(app))
            assert "#" in row_of(app, "312/700 W")

        drive(test, Given(THREE), glyphs=ASCII)

    @pytest.mark.slow
    def test_a_defect_in_the_reading_thread_ends_it_with_its_traceback(self) -> None:
        class Broken(Given):
            def look(self, wanted: object) -> DashboardState:
                if self.wanted is not wanted:
                    self.wanted = wanted  # type: ignore[assignment]
                    return self.snapshot
                raise ZeroDivisionError("a defect")

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await until(pilot, lambda: not app.is_running)

        with pytest.raises(ZeroDivisionError, match="a defect"):
            drive(test, Broken(THREE))


class TestActing:
    def test_a_replay_starts_and_stops_nothing(self, tmp_path: Path) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            assert "replay x20" in screen_lines(app)[0]
            for key in ("n", "s", "r", "R", "d", "D"):
                await pilot.press(key)
                assert isinstance(app.screen, Dashboard), key
            assert not list(tmp_path.iterdir())

        drive(test, Given(THREE), database=tmp_path / "runs.db", refused="replay x20")

    def test_compare_wants_two(self) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("c")
            await pilot.pause()
            assert isinstance(app.screen, Dashboard)
            assert any("two runs" in notice.message for notice in app._notifications)

        drive(test, Given(snapshot(FULL)))

    def test_what_went_wrong_is_said(self, tmp_path: Path) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("r")  # a finished run
            await until(pilot, lambda: bool(app._notifications))
            (notice,) = app._notifications
            assert "nothing left to do" in notice.message
            assert notice.severity == "error"

        drive(test, Given(THREE), database=tmp_path / "runs.db")

    @pytest.mark.slow
    def test_delete_asks_and_enter_is_no(self) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("d")
            assert isinstance(app.screen, Confirm)
            assert "full-1 (run00003)" in screen_text(app)
            await pilot.press("enter")
            assert isinstance(app.screen, Dashboard)
            assert not app._notifications

        drive(test, Given(THREE))

    @pytest.mark.slow
    def test_a_log_that_is_not_there_yet(self, tmp_path: Path) -> None:
        from peftbench.paths import worker_log

        source = Given(snapshot(run_record("runaaaaa", "lora-r12-1")))

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("l")
            assert isinstance(app.screen, LogView)
            await pilot.pause()
            assert "the worker log is empty so far" in screen_text(app)
            log = worker_log(tmp_path / "runs.db", "runaaaaa")
            log.parent.mkdir(parents=True)
            log.write_text("epoch 1: \x1b[31mred\x1b[0m [@click=app.quit]x[/]\n")
            await until(pilot, lambda: "epoch 1: red [@click=app.quit]x[/]" in screen_text(app))
            await pilot.press("escape")
            assert isinstance(app.screen, Dashboard)

        drive(test, source, database=tmp_path / "runs.db")

    @pytest.mark.slow
    @pytest.mark.parametrize("key", ["s", "R", "d"])
    def test_a_database_that_is_gone_is_not_made_anew(self, tmp_path: Path, key: str) -> None:
        source = Given(snapshot(run_record("runaaaaa", "lora-r12-1")))

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press(key)
            if key == "d":
                await pilot.press("y")
            await until(pilot, lambda: bool(app._notifications))
            (notice,) = app._notifications
            assert "does not exist" in notice.message
            assert notice.severity == "error"
            assert not list(tmp_path.iterdir())

        drive(test, source, database=tmp_path / "runs.db")

    @pytest.mark.slow
    def test_a_database_that_cannot_be_read_is_not_acted_on(self, tmp_path: Path) -> None:
        source = Given(snapshot(FULL, problem="the database is gone", broken=True))

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            for key in ("n", "s", "R", "D"):
                await pilot.press(key)
            assert isinstance(app.screen, Dashboard)
            assert all("cannot be read" in notice.message for notice in app._notifications)
            assert not list(tmp_path.iterdir())

        drive(test, source, database=tmp_path / "runs.db")


class TestOpened:
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [(110, 60), (80, 24)])
    def test_its_title_stands_once_on_every_page(self, size: tuple[int, int]) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("enter")
            for key in "1234512":
                await pilot.press(key)
                await until(pilot, lambda: screen_text(app).count("full-1 (run00003)") == 1)

        drive(test, Given(THREE), size=size)

    @pytest.mark.slow
    def test_its_pages_are_as_wide_as_the_screen(self) -> None:
        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("enter", "2")
            await pilot.pause()
            assert app.screen.query_one(ChartView).size.width <= 120
            assert row_of(app, "└").rstrip().endswith("┬")

        drive(test, Given(THREE))

    @pytest.mark.slow
    def test_it_goes_on_when_the_filter_hides_it(self) -> None:
        source = Given(THREE)

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            await pilot.press("slash", *"running", "enter", "enter")
            assert isinstance(app.screen, RunView)
            ended = run_record("run00002", "dora-r12-1", state="failed", reason="no memory left")
            source.snapshot = snapshot(FULL, ended, LORA)
            await until(pilot, lambda: "no memory left" in screen_text(app))
            assert "run00002" in source.wanted.looked_at

        drive(test, source)

    @pytest.mark.slow
    def test_the_markers_of_others_stay(self) -> None:
        source = Given(THREE)

        async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
            assert isinstance(app.screen, Dashboard)
            before = dict(app.screen.pins.slots)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, RunView) and bool(source.wanted.looked_at))
            assert app.screen_stack[0].pins.slots == before  # type: ignore[attr-defined]
            assert source.wanted.pinned is None

        drive(test, source)

    def test_two_runs_that_are_compared_have_two_markers(self) -> None:
        pins = Pins()
        pins.take(("run00003",), {"run00003", "run00001"})
        assert pins.slots_of(["run00003", "run00001"]) == {"run00003": 0, "run00001": 1}
        pins.take((), {"run00001"})
        assert pins.slots_of(["run00009", "run00001"]) == {"run00009": 0, "run00001": 1}


@pytest.mark.slow
def test_the_filter_can_be_typed_while_something_is_maximised() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("z", "slash")
        await pilot.pause()
        assert app.screen.maximized is None
        assert app.screen.query_one("#filter").region.height == 1

    drive(test, Given(THREE))


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
def test_a_snapshot_that_says_nothing_new_draws_nothing(size: tuple[int, int]) -> None:
    """Regression: with finished runs an idle dashboard sent 35 KB/s to its terminal, by setting titles again."""
    finished = snapshot(FULL, LORA)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        app.poller.close()
        for _ in range(5):
            await pilot.pause()
        drawn: list[object] = []
        display = app._display
        app._display = lambda screen, shown: (drawn.append(shown), display(screen, shown))[1]  # type: ignore[method-assign, func-returns-value]
        assert isinstance(app.screen, Dashboard)
        for seconds in range(5):
            app.screen.show(replace(finished, now_s=NOW_S + seconds))
            await pilot.pause()
        assert drawn == []
        app.screen.show(snapshot(FULL, replace(LORA, run=replace(LORA.run, name="another-1"))))
        await pilot.pause()
        assert drawn
        assert "another-1" in screen_text(app)

    drive(test, Given(finished), size=size)
