"""Replay of a finished run: reconstructs the database's content at each point in time of the run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from peftbench.analysis.scores import run_sign
from peftbench.analysis.trajectory import best_gap
from peftbench.store.rows import Epoch, Progress, Run, RunRecord, SampleRow, State, TrainPoint
from peftbench.tui.state import DashboardState, Detail, Figures, RunLine, StateRequest


class ReplaySource:
    """Plays one run from its start to its end, and then stays at the end.

    Args:
        record: the run with its epochs, scores and phases.
        samples: all of its samples.
        speed: playback speed as a multiple of real time.
        clock: monotonic clock in seconds.
        points: all points of its training curve.
    """

    def __init__(
        self,
        record: RunRecord,
        samples: Sequence[SampleRow],
        speed: float,
        clock: Callable[[], float] = time.monotonic,
        points: Sequence[TrainPoint] = (),
    ) -> None:
        self.record, self.samples, self.speed, self.clock, self.points = record, samples, speed, clock, points
        self._begun, self._played_s = clock(), 0.0  # when playing began or went on, and the run's seconds until then
        self._playing = True
        ends = [_unix(record.run.finished_at)] if record.run.finished_at else []
        ends += [_unix(epoch.finished_at) for epoch in record.epochs[-1:]]
        self.start_s = _unix(record.run.started_at or record.run.created_at)
        self.end_s = max([self.start_s, *ends, *(sample.at_s for sample in samples[-1:])])

    def look(self, wanted: StateRequest) -> DashboardState:
        """Return the run as it was at the current point of the replay."""
        now_s = self.now_s
        record, progress = self.at(now_s)
        held = [sample for sample in self.samples if sample.at_s <= now_s]
        shown = held if wanted.window_s is None else held[-wanted.window_s :]
        last = held[-1] if held else None
        figures = Figures(
            best_gap(record),
            last.vram_mib if last else None,
            last.rss_mib if last else None,
            last.energy_j if last else None,
            self.end_s - now_s or None,
        )
        run = record.run
        done = progress.done if progress is not None else math.inf
        points = tuple(point for point in self.points if point.step <= done)
        detail = Detail(record, progress, tuple(shown), points)
        return DashboardState(now_s, (RunLine(run, run.state, progress, figures),), (run.id,), {run.id: detail})

    @property
    def now_s(self) -> float:
        """The replayed moment, as Unix time."""
        since = (self.clock() - self._begun) * self.speed if self._playing else 0.0
        return min(max(self.start_s + self._played_s + since, self.start_s), self.end_s)

    def pause(self) -> bool:
        """Stop playing, or go on; return whether it plays."""
        self._go_to(self.now_s)
        self._playing = not self._playing
        return self._playing

    def seek(self, share: float) -> None:
        """Move forwards, or backwards, by a share of the run."""
        self._go_to(self.now_s + share * (self.end_s - self.start_s))

    def _go_to(self, moment_s: float) -> None:
        self._played_s = min(max(moment_s, self.start_s), self.end_s) - self.start_s
        self._begun = self.clock()

    def close(self) -> None:
        """Do nothing: the source holds no resources."""

    def at(self, now_s: float) -> tuple[RunRecord, Progress | None]:
        """Return the record and the progress of the run as of a Unix time."""
        if now_s >= self.end_s:
            return self.record, None
        epochs = tuple(epoch for epoch in self.record.epochs if _unix(epoch.finished_at) <= now_s)
        done = {epoch.epoch for epoch in epochs}
        phases = tuple(
            phase
            for phase in self.record.phases
            if (phase.epoch in done if phase.epoch is not None else _ended(phase.usage, now_s))
        )
        scores = tuple(score for score in self.record.scores if score.epoch in done and score.split != "test")
        best = max(epochs, key=lambda epoch: _goodness(epoch, run_sign(self.record.run)), default=None)
        state: State = "running"
        run = replace(
            self.record.run,
            state=state,
            reason=None,
            finished_at=None,
            worker=None,
            epochs_done=len(epochs),
            best_epoch=best.epoch if best else None,
            dev_avg=best.dev_avg if best else None,
            leaderboard=best.leaderboard if best else None,
        )
        events = tuple(event for event in self.record.events if _unix(event.at) <= now_s)
        progress = self._progress(run, len(epochs), now_s)
        interim = tuple(score for score in self.record.interim if score.step <= progress.done)
        of_then = replace(self.record, run=run, epochs=epochs, scores=scores, phases=phases, events=events)
        return replace(of_then, task_bests=(), interim=interim), progress

    def _progress(self, run: Run, done: int, now_s: float) -> Progress:
        """Return the progress interpolated from time: single steps are not stored."""
        ends = [self.start_s, *(_unix(epoch.finished_at) for epoch in self.record.epochs)]
        begun, ends_s = ends[done], ends[done + 1] if done + 1 < len(ends) else self.end_s
        share = (now_s - begun) / (ends_s - begun) if ends_s > begun else 1.0
        epoch = done + 1
        steps = sum(p.steps or 0 for p in self.record.phases if p.epoch == epoch and p.phase in ("warmup", "train"))
        total_steps = sum(p.steps or 0 for p in self.record.phases if p.phase in ("warmup", "train"))
        before = sum(
            p.steps or 0
            for p in self.record.phases
            if p.epoch is not None and p.epoch < epoch and p.phase in ("warmup", "train")
        )
        step = round(share * steps)
        moment = datetime.fromtimestamp(now_s).astimezone().isoformat(timespec="milliseconds")
        return Progress(
            min(epoch, run.epochs_planned), "train", None, step, steps, before + step, total_steps, None, moment
        )


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _ended(usage: object, now_s: float) -> bool:
    started_s, window_s = getattr(usage, "started_s", None), getattr(usage, "window_s", None)
    return started_s is not None and window_s is not None and started_s + window_s <= now_s


def _goodness(epoch: Epoch, sign: int) -> tuple[float, int]:
    """Return what the best epoch has most of: its dev average, and among equal ones it is the first."""
    return float("-inf") if epoch.dev_avg is None else sign * epoch.dev_avg, -epoch.epoch
