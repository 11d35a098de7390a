"""The interface through which training reports what happens. It knows nothing of who receives it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Unpack

from peftbench.store.conditions import Conditions, RunFacts
from peftbench.store.rows import EpochResult, HeldOutResult, InterimScore, Phase, Progress, SampleRow, TrainPoint


class Recorder(Protocol):
    """Receives the events of a run, in order."""

    def describe(self, *, conditions: Conditions, **facts: Unpack[RunFacts]) -> None:
        """Take facts of the loaded run (`data_hash`, `weights_total`, ...) and the conditions it is measured under."""

    def closing(self) -> None:
        """The run is over and its end is being written: do not interrupt it from here on."""

    def deferred(self) -> AbstractContextManager[None]:
        """Within it, a stop by a signal is kept until the next `progress`: no step is left half done."""

    def asked(self) -> bool:
        """Return, at no cost, whether such a stop is pending."""

    def samples(self, rows: Sequence[SampleRow]) -> None:
        """Take thinned samples of the meters."""

    def ending(
        self, phase: Phase, samples: Sequence[SampleRow], conditions: Conditions, **facts: Unpack[RunFacts]
    ) -> None:
        """Take what is known only at the end, however the run ended: the phase over the run, last samples, facts."""

    def from_the_beginning(self) -> None:
        """Training starts with the first epoch: epochs reported before are void."""

    def note(self, kind: str, message: str) -> None:
        """Take an event for the log: rows left out, inputs truncated."""

    def progress(self, progress: Progress) -> None:
        """Take the progress of the run.

        Raises:
            Interrupted: the run is to stop. The state is then that after the last complete step.
        """

    def train_points(self, points: Sequence[TrainPoint], *, in_place_of_all: bool = False) -> None:
        """Take points of the training curve, new ones, or all that remain of a curve that was thinned.

        A resumed run may report points, or an epoch, again: the later ones replace the earlier.
        """

    def interim(self, scores: Sequence[InterimScore]) -> None:
        """Take scores on a part of dev within an epoch; a resumed run may report them again."""

    def phases(self, phases: Sequence[Phase]) -> None:
        """Take measured phases outside an epoch."""

    def epoch(self, result: EpochResult) -> None:
        """Take a finished epoch."""

    def held_out(self, result: HeldOutResult) -> None:
        """Take the scores on the test split, after the last epoch; a resumed run may report them again."""
