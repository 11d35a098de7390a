"""The best epoch so far, and when no better one is waited for any longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from peftbench.store.rows import TaskBest
from peftbench.training.checkpoint import checkpoint_path


@dataclass(slots=True)
class Best:
    """The best epoch by dev average, and for each task by itself."""

    epoch: int | None = None
    value: float | None = None
    tasks: dict[str, TaskBest] = field(default_factory=dict)

    def offer(self, epoch: int, value: float | None) -> None:
        """Take a strictly better epoch; the first one, even if its average does not exist."""
        if self.epoch is None or (value is not None and (self.value is None or value > self.value)):
            self.epoch, self.value = epoch, value

    def offer_task(self, task: str, epoch: int, value: float | None) -> None:
        """Likewise for one task, but an epoch without a value is none of it."""
        known = self.tasks.get(task)
        if value is not None and (known is None or value > known.value):
            self.tasks[task] = TaskBest(task, epoch, value)

    def is_best(self, task: str, epoch: int) -> bool:
        """Tell whether an epoch is the best by average, or of this task by itself."""
        return epoch in (self.epoch, self.tasks[task].epoch if task in self.tasks else None)

    def files(self, folder: Path) -> set[Path]:
        """Return where the weights of the best epochs are."""
        kept = {checkpoint_path(folder, best.epoch, task) for task, best in self.tasks.items()}
        return kept | ({checkpoint_path(folder, self.epoch)} if self.epoch else set())

    def stopped(self, patience: int | None, epoch: int) -> str | None:
        """Say why training ends after an epoch, where `patience` epochs have not bettered the dev average."""
        if patience is None or self.epoch is None or epoch - self.epoch < patience:
            return None
        return f"early stopping: no better dev average since epoch {self.epoch}"

    def state(self) -> dict[str, Any]:
        """Return it in plain containers."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return what `state` was made of."""
        tasks = {name: TaskBest(**best) for name, best in state["tasks"].items()}
        return cls(state["epoch"], state["value"], tasks)
