"""The best epoch so far, and early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from peftbench.store.rows import TaskBest
from peftbench.training.weights import weights_path


@dataclass(slots=True)
class Best:
    """The best epoch by dev average, and for each task separately."""

    epoch: int | None = None
    value: float | None = None
    tasks: dict[str, TaskBest] = field(default_factory=dict)

    def offer(self, epoch: int, value: float | None, sign: int = 1) -> None:
        """Record a strictly better epoch; the first one even if its average is undefined.

        `sign`: -1 where lower values are better.
        """
        if self.epoch is None or (value is not None and (self.value is None or sign * value > sign * self.value)):
            self.epoch, self.value = epoch, value

    def offer_task(self, task: str, epoch: int, value: float | None, sign: int = 1) -> None:
        """Likewise for one task; an epoch without a value is ignored."""
        known = self.tasks.get(task)
        if value is not None and (known is None or sign * value > sign * known.value):
            self.tasks[task] = TaskBest(task, epoch, value)

    def is_best(self, task: str, epoch: int) -> bool:
        """Tell whether an epoch is the best by average, or for this task."""
        return epoch in (self.epoch, self.tasks[task].epoch if task in self.tasks else None)

    def files(self, folder: Path) -> set[Path]:
        """Return the weight files of the best epochs."""
        kept = {weights_path(folder, best.epoch, task) for task, best in self.tasks.items()}
        return kept | ({weights_path(folder, self.epoch)} if self.epoch else set())

    def stopped(self, patience: int | None, epoch: int) -> str | None:
        """Return why training stops early, where `patience` epochs have not improved the dev average; else None."""
        if patience is None or self.epoch is None or epoch - self.epoch < patience:
            return None
        return f"early stopping: no better dev average since epoch {self.epoch}"

    def state(self) -> dict[str, Any]:
        """Return the state in plain containers."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore from what `state` returned."""
        tasks = {name: TaskBest(**best) for name, best in state["tasks"].items()}
        return cls(state["epoch"], state["value"], tasks)
