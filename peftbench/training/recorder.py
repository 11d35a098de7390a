"""What training says of itself while it goes on. Who listens is not its business."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from peftbench.store.rows import Epoch, Phase, Prediction, Progress, SampleRow, Score, TaskBest


class Recorder(Protocol):
    """Takes a run's facts, in the order in which they become true."""

    def describe(self, *, conditions: dict[str, Any], **facts: Any) -> None:
        """Take facts of the loaded run (`data_hash`, `weights_total`, ...) and what it is measured under."""

    def closing(self) -> None:
        """Hear that what comes next must not be interrupted: the run is over, and its end is being put together."""

    def deferred(self) -> AbstractContextManager[None]:
        """Within it, a stop that comes by a signal waits for the next `progress`: no step is left half done."""

    def asked(self) -> bool:
        """Tell, at no cost, whether such a stop waits."""

    def samples(self, rows: Sequence[SampleRow]) -> None:
        """Take thinned samples of the meters."""

    def ending(self, phase: Phase, samples: Sequence[SampleRow], conditions: dict[str, Any], **facts: Any) -> None:
        """Take what is known only at the end, however the run ended: its one window, the last samples, facts."""

    def from_the_beginning(self) -> None:
        """Hear that training begins with the first epoch: whatever was told of epochs before is void."""

    def note(self, kind: str, message: str) -> None:
        """Take something worth telling: rows left out, inputs cut."""

    def progress(self, progress: Progress) -> None:
        """Take where the run stands.

        Raises:
            Interrupted: the run is to stop. The state is then that of the step before.
        """

    def losses(self, epoch: int, task: str, points: Sequence[tuple[int, int, float]]) -> None:
        """Take mean training losses: (last step, steps averaged over, mean loss) each.

        A run that goes on from a snapshot may tell them again, and an epoch too: the later ones count.
        """

    def phases(self, phases: Sequence[Phase]) -> None:
        """Take measured phases outside an epoch."""

    def epoch(
        self,
        epoch: Epoch,
        scores: Sequence[Score],
        phases: Sequence[Phase],
        *,
        best_epoch: int | None,
        task_bests: Sequence[TaskBest],
        predictions: Sequence[Prediction],
    ) -> None:
        """Take a finished epoch whole."""
