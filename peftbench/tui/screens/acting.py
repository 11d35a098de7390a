"""What can be done to one run, from every screen that has one at hand: stop, resume, retry, delete, export, its log."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from textual.screen import Screen

from peftbench.store.rows import Run
from peftbench.tui import doing
from peftbench.tui.host import Host
from peftbench.tui.screens.confirm import Confirm
from peftbench.tui.screens.export import Export
from peftbench.tui.screens.log import LogView
from peftbench.tui.snapshot import Snapshot


class ActsOnRun(Screen[None]):
    """A screen with a run at hand."""

    app: Host

    @property
    @abstractmethod
    def run_at_hand(self) -> str | None:
        """The id of the run that is meant."""

    @abstractmethod
    def show(self, snapshot: Snapshot) -> None:
        """Show the newest snapshot."""

    def action_stop(self) -> None:
        """Stop the run at hand."""
        self.with_run(lambda run: self.app.do(lambda: doing.stop(self.app.database, run)))

    def action_resume(self) -> None:
        """Go on with the run at hand."""
        self.with_run(lambda run: self.app.do(lambda: doing.resume(self.app.database, run)))

    def action_retry(self) -> None:
        """Run the spec of the run at hand once more."""
        self.with_run(lambda run: self.app.do(lambda: doing.retry(self.app.database, run)))

    def action_delete(self) -> None:
        """Delete the run at hand, after a question."""

        def ask(run: Run) -> None:
            def answered(yes: bool | None) -> None:
                if yes:
                    self.app.do(lambda: doing.delete(self.app.database, run))

            question = f"Delete {run.name} ({run.id}): its rows, its log and its trained weights?"
            self.app.push_screen(Confirm(question, "Delete"), answered)

        self.with_run(ask)

    def action_export(self) -> None:
        """Write the run at hand into files."""

        def ask(run: Run) -> None:
            def answered(chosen: tuple[str, str] | None) -> None:
                if chosen is not None:
                    self.app.say(f"writing {chosen[1]} …")
                    self.app.do(lambda: doing.export(self.app.database, run, *chosen))

            self.app.push_screen(Export(run), answered)

        self.with_run(ask)

    def action_log(self) -> None:
        """Follow the log of the run at hand."""
        self.with_run(lambda run: self.app.push_screen(LogView(run.id)), acts=False)

    def with_run(self, act: Callable[[Run], object], acts: bool = True) -> None:
        """Do something with the run at hand, where there is one, and where something may be done to it here."""
        line = self.app.snapshot.line(self.run_at_hand)
        if line is None:
            self.app.say("there is no run at the cursor", wrong=True)
        elif not acts or self.may_act():
            act(line.run)

    def may_act(self) -> bool:
        """Whether runs can be started and stopped here; where not, it is said."""
        if not self.app.can_act:
            why = self.app.showing or "the database cannot be read"
            self.app.say(f"{why}: nothing can be started or stopped here", wrong=True)
        return self.app.can_act
