"""Batch makers for a split's rows, from the cached frozen prefix where there is one, with the phase of computing it."""

from __future__ import annotations

from dataclasses import dataclass

from peftbench.data.batches import Batcher, MakeBatch
from peftbench.data.encode import EncodedSplit
from peftbench.data.standardise import AS_IT_IS, LabelScale
from peftbench.meters.session import MeterSession
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.store.rows import Phase
from peftbench.training.frozen_features import FrozenFeatures
from peftbench.training.progress import ProgressReporter
from peftbench.training.recorder import Recorder


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task's encoded splits. The first `originals` training examples are the data's own, the others are augmented.

    `scale`: of a regression's labels, which are standardised in the splits.
    """

    train: EncodedSplit
    dev: EncodedSplit
    originals: int
    scale: LabelScale = AS_IT_IS


class Batchers:
    """Makes the batches of every split of a run.

    Args:
        spec: the run's spec.
        model: prepared.
        batcher: makes the model's batches.
        recorder: receives a note on each cached prefix.
        meters: measure its computation.
        progress: receives its progress.
    """

    def __init__(
        self,
        spec: RunSpec,
        model: MultitaskModel,
        batcher: Batcher,
        recorder: Recorder,
        meters: MeterSession,
        progress: ProgressReporter,
    ) -> None:
        self.frozen = FrozenFeatures(model, batcher, spec)
        self.recorder, self.meters, self.progress = recorder, meters, progress

    def of(
        self, name: str, split: EncodedSplit, *, epoch: int, task: str, done: int, training: bool
    ) -> tuple[MakeBatch, list[Phase]]:
        """Return the batch maker of a split, and the phase of computing its prefix if that was done now.

        Args:
            name: of the split: `train`, `train sample` or `dev`.
            split: its examples.
            epoch: the current epoch.
            task: the split's task.
            done: steps of the run so far.
            training: the batches are trained on.

        Raises:
            Interrupted: see `Recorder.progress`.
        """
        key = f"{task} {name}"
        if self.frozen.is_settled(key, training=training):
            return self.frozen.batcher(key, split, training=training)[0], []

        def tell(computed: int) -> None:
            self.progress.tell(f"frozen_features {name}", epoch, task, computed, len(split), done)

        with self.meters.phase("frozen_features", epoch, task, name) as measured:
            batcher, made = self.frozen.batcher(key, split, training=training, on_batch=tell)
            measured.count(len(split), int(split.lengths.sum()))
        self.recorder.note("frozen_features", f"{task} {name}: {made}")
        # a prefix too large to cache is not computed, so there is no phase
        return batcher, [] if batcher is self.frozen.plain else [measured.row]
