"""Progress output while a run is followed: bars on a terminal, else a line per epoch; none for `--json`."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peftbench import formatting
from peftbench.analysis.machine_load import Others
from peftbench.analysis.scores import summary
from peftbench.analysis.time_left import time_left_s
from peftbench.report.headlines import scores_line
from peftbench.report.run_lines import busy_words
from peftbench.report.tables import run_title
from peftbench.text import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from peftbench.jobs.follow import Update
    from peftbench.jobs.launch import Launched
    from peftbench.store.rows import Run


TOLD_EVERY_S = 30.0  # minimum interval between notices that the machine is busy or idle again


class Follower:
    """Follow a run until it ends, without output."""

    def follow(self, updates: Iterable[Update]) -> Run:
        """Consume a run's updates and return the run in its final state."""
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
        """Process an update of the run."""

    def close(self) -> None:
        """Restore the terminal."""

    def end(self, update: Update) -> None:
        """Process the final update of the run."""


class Disturbance:
    """Notices when other processes start and stop loading the machine, at most one per `TOLD_EVERY_S`.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._others = Others(None)
        self._since_s: float | None = None  # time of the last "busy" notice
        self._told_at = float("-inf")

    def take(self, update: Update) -> Iterator[str]:
        """Process an update of a run and yield a notice if the load state has changed."""
        self._others.cores = update.run.conditions.get("cores")
        self._others.take(update.samples)
        moment, words = self.clock(), busy_words(self._others)
        if bool(words) == (self._since_s is not None) or moment - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = moment
        if self._since_s is None:
            self._since_s = moment
            yield words
        else:
            since_s, self._since_s = self._since_s, None
            yield f"the machine is no longer busy, after {formatting.seconds(moment - since_s)}"


class LineFollower(Follower):
    """One plain line per epoch, for pipes, logs and screen readers."""

    def __init__(self) -> None:
        self._disturbance = Disturbance()

    def take(self, update: Update, first: bool) -> None:
        """Print the title and what scores are of on the first update, then a line for each new epoch."""
        if first:
            print(run_title(update.run).plain, scores_line(update.run), sep="\n", flush=True)
        for line in (*epoch_lines(update), *self._disturbance.take(update)):
            print(line, flush=True)

    def end(self, update: Update) -> None:
        """Print the run's result."""
        print(end_line(update), flush=True)


class BarFollower(Follower):
    """Two progress bars, one for all steps and one for the current task, with it/s and the time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Progress | None = None
        self._disturbance = Disturbance()

    def take(self, update: Update, first: bool) -> None:
        """Redraw the bars; lines of finished epochs stay above them."""
        if self._bars is None:
            self.console.print(run_title(update.run))
            self.console.print(scores_line(update.run), markup=False)
            self._bars, self._whole, self._part = self._start(update.run)
        for line in (*epoch_lines(update), *self._disturbance.take(update)):
            self._bars.console.print(line)
        progress = update.progress
        if progress is None:
            return
        left_s = time_left_s(dataclasses.replace(update.record, run=update.run), progress)
        self._bars.update(
            self._whole,
            completed=progress.done,
            total=progress.total or None,
            what=_epoch_word(update),
            left="" if left_s is None else f"{formatting.seconds(left_s)} left",
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
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def end(self, update: Update) -> None:
        """Print the run's result."""
        self.console.print(end_line(update))

    def _start(self, run: Run) -> tuple[Progress, TaskID, TaskID]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        bars = Progress(
            TextColumn("{task.fields[what]:<22}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]:>11}", markup=False),
            TextColumn("{task.fields[left]:>13}", markup=False),
            console=self.console,
            transient=True,
        )
        bars.start()
        overall = bars.add_task("", total=None, what="loading", note="", left="")
        part = bars.add_task("", total=None, what="", note="", left="", visible=False)
        return bars, overall, part


def epoch_lines(update: Update) -> Iterator[str]:
    """Yield a line for each new epoch: Dev Avg, each task's dev metric, duration of the epoch."""
    run = update.run
    for epoch in update.epochs:
        tasks = []
        for task in update.record.tasks:
            score = update.record.score(task, "dev", epoch.epoch)
            tasks.append(f"{clean(task)} {formatting.score(score.value if score else None)}")
        spent = sum(phase.wall_s for phase in update.record.phases if phase.epoch == epoch.epoch)
        width = len(str(run.epochs_planned))
        yield (
            f"epoch {epoch.epoch:>{width}}/{run.epochs_planned}  dev avg {formatting.score(epoch.dev_avg)}"
            f"  ({', '.join(tasks)})  {formatting.seconds(spent)}"
        )


def end_line(update: Update) -> str:
    """Return a line with the final state and scores of a run."""
    run = update.run
    if run.best_epoch is None:
        return f"{clean(run.name)} {run.state}"
    board = f"leaderboard {formatting.score(run.leaderboard)}, " if run.leaderboard is not None else ""
    tested = summary(update.record, "test")[0]
    test = f"test avg {formatting.score(tested)}, " if tested is not None else ""
    return (
        f"{clean(run.name)} {run.state}: best epoch {run.best_epoch}, dev avg {formatting.score(run.dev_avg)}, "
        f"{test}{board}{formatting.count(run.weights_trainable)} weights trained"
    )


@contextmanager
def stop_on_ctrl_c(launched: Launched) -> Iterator[None]:
    """Stop the run on Ctrl-C or SIGTERM, and keep following it until it has ended.

    After SIGHUP (a closed terminal) the run continues: the worker has its own session.
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
    if update.progress.phase == "tokenise":
        return "tokenising"
    return f"epoch {update.progress.epoch} of {update.run.epochs_planned}"
