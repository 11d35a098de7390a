"""Base of screens with a selected run, and their actions: stop, resume, retry, delete, export, log."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from textual.screen import Screen

from peftbench.store.rows import Run
from peftbench.text import clean
from peftbench.tui.base_app import BaseApp
from peftbench.tui.screens.ask import Ask
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.export import Export
from peftbench.tui.screens.log import LogView
from peftbench.tui.screens.sized import Sized
from peftbench.tui.state import DashboardState


class RunScreen(Sized, Screen[None]):
    """A screen with a selected run."""

    app: BaseApp

    @property
    @abstractmethod
    def run_at_hand(self) -> str | None:
        """The id of the selected run."""

    @abstractmethod
    def show(self, snapshot: DashboardState) -> None:
        """Show a snapshot."""

    def take(self, snapshot: DashboardState) -> None:
        """Note a snapshot, also while the screen is covered by another one."""

    def on_screen_resume(self) -> None:
        """Show the latest snapshot: while the screen was covered, nothing was drawn."""
        self.show(self.app.snapshot)

    def action_stop(self) -> None:
        """Stop the selected run."""
        self.with_run(
            lambda run: self.app.run_in_thread(lambda: self.app.run_actions.stop(run), f"stopping {run.name}")
        )

    def action_resume(self) -> None:
        """Resume the selected run."""
        self.with_run(
            lambda run: self.app.run_in_thread(lambda: self.app.run_actions.resume(run), f"resuming {run.name}")
        )

    def action_retry(self) -> None:
        """Run the spec of the selected run again."""
        self.with_run(
            lambda run: self.app.run_in_thread(lambda: self.app.run_actions.retry(run), f"queuing {run.name}")
        )

    def action_delete(self) -> None:
        """Delete the selected run after confirmation."""

        def ask(run: Run) -> None:
            def answered(yes: bool | None) -> None:
                if yes:
                    self.app.run_in_thread(lambda: self.app.run_actions.delete(run), f"deleting {run.name}")

            question = f"Delete {run.name} ({run.id}): its rows, its log and its trained weights?"
            self.app.push_screen(Confirm(question, "Delete"), answered)

        self.with_run(ask)

    def action_export(self) -> None:
        """Export the selected run."""

        def ask(run: Run) -> None:
            def answered(chosen: tuple[str, str] | None) -> None:
                if chosen is not None:
                    self.app.run_in_thread(lambda: self.app.run_actions.export(run, *chosen), f"exporting {run.name}")

            self.app.push_screen(Export(run, self.app.run_actions), answered)

        self.with_run(ask)

    def action_tag(self) -> None:
        """Ask for the tags of the selected run."""

        def ask(run: Run) -> None:
            def answered(text: str | None) -> None:
                if text is not None:
                    self.app.run_in_thread(lambda: self.app.run_actions.tag(run, text.split()), f"tagging {run.name}")

            self.app.push_screen(Ask(f"Tags of {clean(run.name)}, apart by spaces", " ".join(run.tags)), answered)

        self.with_run(ask)

    def action_log(self) -> None:
        """Follow the log of the selected run."""
        self.with_run(lambda run: self.app.push_screen(LogView(run.id)), acts=False)

    def with_run(self, act: Callable[[Run], object], acts: bool = True) -> None:
        """Call `act` with the selected run, if there is one and (for changes) actions are allowed."""
        line = self.app.snapshot.line(self.run_at_hand)
        if line is None:
            self.app.show_message("no run is selected", wrong=True)
        elif not acts or self.may_act():
            act(line.run)

    def may_act(self) -> bool:
        """Return whether runs can be changed here; if not, notify the user."""
        if not self.app.can_act:
            reason = self.app.refused or "the database cannot be read"
            self.app.show_message(f"{reason}: runs cannot be started, stopped, deleted or exported here", wrong=True)
        return self.app.can_act
