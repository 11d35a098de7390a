"""The form of a new run: Enter starts what the screen shows for the fields as they are, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Button, Input, Select

from peftbench.errors import StorageError
from peftbench.spec.resolve import Resolved
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.run_actions import RunActions
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.dashboard import Dashboard
from peftbench.tui.screens.help import Help
from peftbench.tui.screens.new_run import NewRunScreen
from tests.tui.world import ON_CPU, Given, drive, run_record, screen_lines, screen_text, snapshot, until

EMPTY = snapshot(machine=ON_CPU)


class Queue:
    """Takes the place of the actions that queue runs; waits for `go` before it returns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queued: list[list[Resolved]] = []
        self.go = threading.Event()
        self.go.set()
        self.error: StorageError | None = None

        def queue(actions: RunActions, runs: list[Resolved], device: str | None) -> list[str]:
            assert self.go.wait(60)
            if self.error is not None:
                raise self.error
            self.queued.append(runs)
            return [f"run{number:05d}" for number, _ in enumerate(runs)]

        def demo(actions: RunActions) -> str:
            assert self.go.wait(60)
            self.queued.append([])
            return "queued the demo"

        monkeypatch.setattr(RunActions, "queue", queue)
        monkeypatch.setattr(RunActions, "queue_demo", demo)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr("peftbench.tui.screens.new_run._LATER_S", 1e6)  # no prediction of memory
    made = Queue(monkeypatch)
    yield made
    made.go.set()


async def opened(pilot: Pilot[int], app: PeftbenchApp) -> NewRunScreen:
    """Open the form and wait until it has shown what it would run."""
    await pilot.press("n")
    await until(pilot, lambda: "Enter starts" in screen_text(app))
    assert isinstance(app.screen, NewRunScreen)
    return app.screen


@pytest.mark.slow
def test_enter_on_a_list_opens_it_and_starts_nothing(queue: Queue) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        form = await opened(pilot, app)
        preset = form.query_one("#preset", Select)
        assert app.focused is preset
        await pilot.press("enter")
        assert preset.expanded
        await pilot.press(*"full", "enter")
        assert not preset.expanded
        assert preset.value == "full"
        assert queue.queued == []

    drive(test, Given(EMPTY))


@pytest.mark.slow
def test_enter_starts_only_what_is_on_the_screen_for_these_fields(queue: Queue) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        form = await opened(pilot, app)
        field = form.query_one("#overrides", Input)
        field.focus()
        await pilot.pause()
        field.value = "train.epochs=2"
        form.action_start()  # before the changed fields have been checked
        form.action_start()  # and before the check has been drawn
        assert queue.queued == []
        await until(pilot, lambda: "2 epochs" in screen_text(app) and form._shown is not None)
        await pilot.press("enter")
        await until(pilot, lambda: bool(queue.queued))
        assert [run.spec.train.epochs for run in queue.queued[0]] == [2]

    drive(test, Given(EMPTY))


@pytest.mark.slow
def test_what_is_wrong_starts_nothing(queue: Queue) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        form = await opened(pilot, app)
        form.query_one("#overrides", Input).focus()
        await pilot.press(*"train.epoch=2", "enter", "enter")
        await until(pilot, lambda: "did you mean 'epochs'" in screen_text(app))
        await pilot.press("enter")
        assert isinstance(app.screen, NewRunScreen)
        assert queue.queued == []

    drive(test, Given(EMPTY))


@pytest.mark.slow
def test_keys_of_one_read_reach_the_fields_they_were_typed_for(queue: Queue) -> None:
    """Regression: all went to the focused list, the text was lost, and Enter started the default run."""

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        names = {"\t": "tab", "\r": "enter", ".": "full_stop", "=": "equals_sign"}
        for character in "n\t\t\ttrain.epochs=2\r":  # posted without a pause, as the driver does
            app.post_message(Key(names.get(character, character), character))
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen) and not app.keys._busy)
        await until(pilot, lambda: "2 epochs" in screen_text(app))
        form = app.screen
        assert isinstance(form, NewRunScreen)
        assert form.query_one("#overrides", Input).value == "train.epochs=2"
        assert queue.queued == []
        await until(pilot, lambda: form._shown is not None)
        await pilot.press("enter")
        await until(pilot, lambda: [run.spec.train.epochs for runs in queue.queued for run in runs] == [2])

    drive(test, Given(EMPTY))


@pytest.mark.slow
def test_a_key_whose_widget_does_not_answer_holds_up_no_others(queue: Queue) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        app.keys._busy = True  # as if a key had gone to a widget that was removed
        app.keys._given += 1
        number = app.keys._given
        app.post_message(Key("question_mark", "?"))
        await pilot.pause()
        assert isinstance(app.screen, Dashboard)
        app.keys._handled(number - 1)  # one that came late
        await pilot.pause()
        assert isinstance(app.screen, Dashboard)
        app.keys._handled(number)
        await until(pilot, lambda: isinstance(app.screen, Help))

    drive(test, Given(EMPTY))


@pytest.mark.slow
def test_while_runs_are_queued_the_form_says_so(queue: Queue) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        form = await opened(pilot, app)
        queue.go.clear()
        queue.error = StorageError("database test.db: cannot be written: it is locked")
        form.query_one("#seed", Input).focus()
        await pilot.press("enter")
        await until(pilot, lambda: "queuing 1 run …" in screen_text(app))
        assert form.query_one("#start", Button).disabled
        await pilot.press("escape", "enter")
        assert app.screen is form  # neither left nor sent twice
        queue.go.set()
        await until(pilot, lambda: "it is locked" in screen_text(app))
        assert not form.query_one("#start", Button).disabled

    drive(test, Given(EMPTY))


@pytest.mark.slow
@pytest.mark.parametrize(("key", "queued"), [("y", 1), ("n", 0), ("enter", 0), ("escape", 0)])
def test_the_demo_is_asked_for(queue: Queue, key: str, queued: int) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        queue.go.clear()
        await pilot.press("D")
        assert isinstance(app.screen, Confirm)
        shown = " ".join(screen_text(app).split())
        assert "Train 4 runs" in shown
        assert all(preset in shown for preset in ("last-layer", "full", "lora-r12", "dora-r12"))
        assert "time: " in shown
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        assert ("queuing the demo …" in screen_lines(app)[0]) == bool(queued)
        queue.go.set()
        await until(pilot, lambda: len(queue.queued) == queued and not app.doing)
        assert "queuing" not in screen_lines(app)[0]

    drive(test, Given(snapshot(run_record())))
