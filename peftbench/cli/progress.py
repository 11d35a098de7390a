"""Following a run: bars on a terminal, one plain line an epoch elsewhere, nothing for `--json`."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peftbench.report import figures
from peftbench.report.tables import run_title
from peftbench.text import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from peftbench.jobs.follow import Update
    from peftbench.jobs.launch import Launched
    from peftbench.store.rows import Run


class Follower:
    """Follows a run to its end without a word."""

    def follow(self, updates: Iterable[Update]) -> Run:
        """Follow a run's updates to their end and return the run as it ended."""
        last: Update | None = None
        try:
            for update in updates:
                self.take(update, first=last is None)
                last = update
        finally:
            self.close()
        assert last is not None
        self.end(last)
        return last.run

    def take(self, update: Update, first: bool) -> None:
        """Take what is new of the run."""

    def close(self) -> None:
        """Leave the terminal as it was found."""

    def end(self, update: Update) -> None:
        """Take the run as it ended."""


class LineFollower(Follower):
    """One plain line an epoch: for pipes, logs and screen readers."""

    def take(self, update: Update, first: bool) -> None:
        """Print the title at first, then a line for each new epoch."""
        if first:
            print(run_title(update.run).plain, flush=True)
        for line in epoch_lines(update):
            print(line, flush=True)

    def end(self, update: Update) -> None:
        """Print the run's result."""
        print(end_line(update), flush=True)


class BarFollower(Follower):
    """Two bars, epochs and the steps of the task at hand, with it/s and the time that is left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Progress | None = None

    def take(self, update: Update, first: bool) -> None:
        """Redraw the bars; finished epochs stay above them."""
        if self._bars is None:
            self.console.print(run_title(update.run))
            self._bars, self._whole, self._part = self._start(update.run)
        for line in epoch_lines(update):
            self._bars.console.print(line)
        progress = update.progress
        if progress is None:
            return
        self._bars.update(
            self._whole, completed=progress.done, total=progress.total or None, note="", what=_epoch_word(update)
        )
        its = f"{progress.its:.1f} it/s" if progress.its else ""
        self._bars.update(
            self._part,
            completed=progress.step,
            total=progress.steps,
            what=f"{progress.phase} {clean(progress.task or '', 12)}",
            note=its,
            visible=True,
        )

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def end(self, update: Update) -> None:
        """Print the run's result."""
        self.console.print(end_line(update))

    def _start(self, run: Run) -> tuple[Progress, TaskID, TaskID]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bars = Progress(
            TextColumn("{task.fields[what]:<22}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]:>11}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        bars.start()
        whole = bars.add_task("", total=None, what="loading", note="")
        part = bars.add_task("", total=None, what="", note="", visible=False)
        return bars, whole, part


def epoch_lines(update: Update) -> Iterator[str]:
    """Yield a line for each epoch that is new: Dev Avg, each task's dev metric, time so far."""
    run = update.run
    for epoch in update.epochs:
        tasks = []
        for task in update.record.tasks:
            score = update.record.score(task, "dev", epoch.epoch)
            tasks.append(f"{clean(task)} {figures.score(score.value if score else None)}")
        spent = sum(phase.wall_s for phase in update.record.phases if phase.epoch == epoch.epoch)
        width = len(str(run.epochs_planned))
        yield (
            f"epoch {epoch.epoch:>{width}}/{run.epochs_planned}  dev avg {figures.score(epoch.dev_avg)}"
            f"  ({', '.join(tasks)})  {figures.seconds(spent)}"
        )


def end_line(update: Update) -> str:
    """Return how the run ended, and with what."""
    run = update.run
    if run.best_epoch is None:
        return f"{clean(run.name)} {run.state}"
    return (
        f"{clean(run.name)} {run.state}: best epoch {run.best_epoch}, dev avg {figures.score(run.dev_avg)}, "
        f"leaderboard {figures.score(run.leaderboard)}, {figures.count(run.weights_trainable)} weights trained"
    )


@contextmanager
def stop_on_ctrl_c(launched: Launched) -> Iterator[None]:
    """Stop the run on Ctrl-C or SIGTERM, and go on following it until it has ended.

    A closed terminal (SIGHUP) leaves it running: the worker has a session of its own.
    """

    def stop(number: int, frame: object) -> None:
        launched.stop()

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _epoch_word(update: Update) -> str:
    assert update.progress is not None
    if update.progress.phase == "idle":
        return "idle power, in seconds"
    if update.progress.phase == "augment":
        return "making new training rows"
    return f"epoch {update.progress.epoch} of {update.run.epochs_planned}"
