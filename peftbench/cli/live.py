"""Live terminal view of a watched run, redrawn in place several times a second until the run ends."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from peftbench.analysis.machine_load import Others
from peftbench.cli.progress import Follower, end_line
from peftbench.report.watching import as_ascii, watch_view
from peftbench.store.reader import Reader
from peftbench.store.rows import ACTIVE_STATES

if TYPE_CHECKING:
    from rich.console import Console, ConsoleDimensions

    from peftbench.jobs.follow import Update
    from peftbench.plot import Glyphs
    from peftbench.store.rows import Run, RunRecord, SampleRow

_LOOK_EVERY_S = 2.0


class LiveFollower(Follower):
    """Redraw the view of a run at most once per interval; the last view stays above the end line."""

    def __init__(self, console: Console, database: Path, glyphs: Glyphs, interval_s: float) -> None:
        self.console, self.database, self.glyphs, self.interval_s = console, database, glyphs, interval_s
        self._opened = ExitStack()
        self._reader: Reader | None = None
        self._live: Live | None = None
        self._size: ConsoleDimensions | None = None
        self._drawn_at = self._looked_at = float("-inf")
        self._record: RunRecord | None = None
        self._sample: SampleRow | None = None
        self._busy = Others(None)
        self._others: list[Run] = []

    def take(self, update: Update, first: bool) -> None:
        """Redraw if the interval has passed, an epoch has finished or the run has ended."""
        self._busy.cores = update.run.conditions.get("cores")
        self._busy.take(update.samples)
        moment = time.monotonic()
        ended = update.run.state not in ACTIVE_STATES
        if moment - self._drawn_at < self.interval_s and not ended and not update.epochs:
            return
        self._drawn_at = moment
        record = self._read_record(update, moment)
        live, size = self._display_for_size()
        end_rows = -(-Text(end_line(update)).cell_len // size.width) if ended else 0
        picture = watch_view(
            record,
            update.progress,
            size.width,
            max(size.height - 1 - end_rows, 1),  # the cursor takes one row
            sample=None if ended else self._sample,
            busy=None if ended else self._busy,
            others=self._others,
            glyphs=self.glyphs,
            now_s=time.time(),
        )
        live.update(picture, refresh=True)

    def close(self) -> None:
        """Stop redrawing; the view stays, with the cursor below it."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._opened.close()
        self._reader = None

    def end(self, update: Update) -> None:
        """Print the run's result."""
        line = end_line(update)
        self.console.print(as_ascii(line) if self.glyphs.letters else line)

    def _read_record(self, update: Update, moment: float) -> RunRecord:
        """Read the latest sample and, every `_LOOK_EVERY_S`, what updates lack: notes, doubts, the other runs."""
        from peftbench.jobs.liveness import state_shown

        if self._reader is None:
            self._reader = self._opened.enter_context(Reader(self.database))
        after = self._sample.sequence if self._sample else 0
        self._sample = next(reversed(self._reader.samples(update.run.id, after)), self._sample)
        if self._record is None or update.epochs or moment - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = moment
            self._record = self._reader.record(update.run)
            active = [run for run in self._reader.active() if run.id != update.run.id]
            self._others = [run for run in active if state_shown(run) != "lost"]
        return dataclasses.replace(self._record, run=update.run)

    def _display_for_size(self) -> tuple[Live, ConsoleDimensions]:
        """Return the live display and its size; after a terminal resize, a new one on a cleared screen."""
        size = self.console.size
        if self._live is not None and size == self._size:
            return self._live, size
        if self._live is not None:
            self._live.stop()
            self.console.clear()  # a resized terminal rewraps lines: no overwriting
        self._live, self._size = Live(console=self.console, auto_refresh=False, vertical_overflow="crop"), size
        self._live.start()
        return self._live, size
