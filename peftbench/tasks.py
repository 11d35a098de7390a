"""What a task is: columns, head, loss and metric of one data set; and the four known ones.

A workload names its tasks in order, and that order is the order of training within an epoch. A known
task (`KNOWN_TASKS`) brings its columns and labels; a workload may change any of them, or define a task
of its own from nothing but `kind`, `text` and `label`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

TaskKind = Literal["classes", "binary", "similarity"]
MetricName = Literal["accuracy", "pearson"]


class Part(BaseModel):
    """A part of a spec: frozen, with unknown keys refused and no value silently converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FilesSource(Part):
    """Local files: csv, tsv, jsonl or parquet, told by extension; `separator` overrules it for text tables."""

    type: Literal["files"] = "files"
    root: str | None = Field(None, description="folder of the files; `--data DIR` sets it")
    train: str = Field(description="file of the training split, relative to root")
    dev: str = Field(description="file of the dev split, relative to root")
    test: str | None = Field(None, description="file to predict and hand in; it needs no labels, and no run reads them")
    separator: Literal["comma", "tab", "semicolon"] | None = None


class HubSource(Part):
    """A data set of the Hugging Face hub, read through `datasets`."""

    type: Literal["hub"] = "hub"
    path: str = Field(description="the data set's name on the hub, such as 'nyu-mll/glue'")
    config: str | None = None
    revision: str | None = None
    train: str = "train"
    dev: str = "validation"


class QuickstartSource(Part):
    """Sentences that the program generates itself; deterministic in `seed`, which is not the run's seed."""

    type: Literal["quickstart"] = "quickstart"
    train: int = Field(400, ge=1, le=20_000, description="training examples")
    dev: int = Field(300, ge=2, le=20_000, description="dev examples")
    seed: int = Field(0, ge=0)
    label_noise: float | None = Field(None, ge=0, le=0.5, description="None: the task's declared noise")


Source = Annotated[FilesSource | HubSource | QuickstartSource, Field(discriminator="type")]


class TaskSpec(Part):
    """One task: where its rows come from, what they hold, and so its head, loss and metric."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    kind: TaskKind
    text: tuple[str, ...] = Field(strict=False, min_length=1, max_length=2, description="one or two text columns")
    label: str
    id: str = Field("", description="column of unique ids; empty: the row's number")
    classes: int | None = Field(None, ge=2, le=1000)
    low: float = 0.0
    high: float = 5.0
    source: Source

    @model_validator(mode="after")
    def _classes_belong_to_their_kind(self) -> TaskSpec:
        if self.kind == "classes" and self.classes is None:
            raise ValueError("a task of kind 'classes' needs `classes`, the number of its classes")
        if self.kind != "classes" and self.classes is not None:
            raise ValueError(f"`classes` has no meaning for a task of kind '{self.kind}'")
        if self.low >= self.high:
            raise ValueError(f"`low` ({self.low:g}) must be below `high` ({self.high:g})")
        return self

    @property
    def is_pair(self) -> bool:
        """Whether an example has two texts."""
        return len(self.text) == 2

    @property
    def outputs(self) -> int:
        """Width of the task's head: one logit a class, or a single one."""
        return self.classes if self.kind == "classes" and self.classes else 1

    @property
    def metric(self) -> MetricName:
        """The metric by which the task is scored."""
        return "pearson" if self.kind == "similarity" else "accuracy"


KNOWN_TASKS: dict[str, dict[str, Any]] = {
    "sst": {"kind": "classes", "classes": 5, "text": ["sentence"], "label": "sentiment", "id": "id"},
    "paraphrase": {
        "kind": "binary",
        "text": ["sentence1", "sentence2"],
        "label": "is_duplicate",
        "id": "id",
    },
    "sts": {"kind": "similarity", "text": ["sentence1", "sentence2"], "label": "similarity", "id": "id"},
    "cfimdb": {"kind": "binary", "text": ["sentence"], "label": "sentiment", "id": "id"},
}
