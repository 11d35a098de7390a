"""RunSpec: everything that determines a run. Frozen, rejects unknown keys, with one canonical JSON form and hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from peftbench.errors import did_you_mean
from peftbench.methods.options import MethodOptions
from peftbench.methods.registry import method_info
from peftbench.metrics import averaged, headline_for
from peftbench.renames import current_spec
from peftbench.spec.augment import AugmentSpec
from peftbench.spec.encoder import EncoderSpec
from peftbench.spec.evaluation import EvalSpec
from peftbench.spec.hashing import canonical_json, determinants, hash_of, of_group
from peftbench.spec.quantization import QUANTIZED, QuantizationSpec
from peftbench.tasks import KNOWN_TASKS, Part, TaskSpec
from peftbench.text import clean

FEWEST_FOLDS = 3  # one is tested, one chooses the epoch, one trains


HeadKind = Literal["linear", "mlp"]


class HeadChange(Part):
    """Per-task overrides of the head; None: as in `HeadSpec`."""

    dropout: float | None = Field(None, ge=0, lt=1)
    kind: HeadKind | None = None
    layers: int | None = Field(None, ge=1, le=8)
    width: int | None = Field(None, ge=1, le=65536)
    bias: bool | None = None


class HeadSpec(Part):
    """The head of each task: dropout and a linear layer, preceded by hidden layers for an MLP."""

    dropout: float = Field(0.2, ge=0, lt=1, description="before every linear layer")
    kind: HeadKind = "linear"
    layers: int = Field(1, ge=1, le=8, description="hidden layers of an mlp")
    width: int | None = Field(None, ge=1, le=65536, description="hidden width; None: that of the text embedding")
    bias: bool = Field(True, description="of the output layer; false as in transformers' classifiers of decoders")
    tasks: dict[str, HeadChange] = Field({}, description="overrides for the head of one task")

    @model_validator(mode="after")
    def _width_belongs_to_an_mlp(self) -> HeadSpec:
        if self.kind == "linear" and (self.width is not None or self.layers != 1):
            raise ValueError("a linear head has no hidden layers: `layers` and `width` need kind = 'mlp'")
        for name, own in self.tasks.items():
            if self.of(name).kind == "linear" and (own.width is not None or own.layers is not None):
                raise ValueError(
                    f"the head of task {clean(name, 40)} is linear and has no hidden layers: `layers` and `width` need "
                    "kind = 'mlp'"
                )
        return self

    def of(self, task: str) -> HeadSpec:
        """Return the head of a task, with its overrides applied."""
        own = self.tasks.get(task)
        given = {} if own is None else own.model_dump(exclude_none=True)
        return self.model_copy(update={**given, "tasks": {}})


class TrainSpec(Part):
    """Training settings. The defaults are the study's; the learning rate has none and comes from the preset."""

    epochs: int = Field(10, ge=1, le=10_000)
    batch_size: int = Field(8, ge=1, le=4096)
    batching: Literal["random", "bucketed"] = Field(
        "random", description="'bucketed': batches of similar length, in an order still drawn from the seed"
    )
    cache_frozen_features: bool = Field(
        True, description="cache activations below the first trained layer, where the encoder's dropout is off"
    )
    lr: float = Field(gt=0, le=10, description="or 'auto': what was published for the method on such an encoder")
    betas: tuple[float, float] = Field((0.9, 0.999), strict=False)
    eps: float = Field(1e-6, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning-rate schedule over each task's own steps; linear and cosine decay to 0"
    )
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="fraction of a task's steps with linear warm-up from 0")
    clip_norm: float | None = Field(None, gt=0, description="maximum global gradient norm of a step; None: no clipping")
    accumulation_steps: int = Field(1, ge=1, le=4096, description="batches accumulated per optimiser step")
    max_steps: int | None = Field(None, ge=1, description="maximum optimiser steps of each task over the whole run")
    patience: int | None = Field(None, ge=1, description="early stopping: epochs without a better dev average")
    limit_examples: int | None = Field(
        None, ge=1, description="training examples per task, a fixed random sample; None: all"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute each layer's activations in the backward pass instead of storing them"
    )

    @field_validator("betas")
    @classmethod
    def _betas_in_range(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both betas must be at least 0 and below 1")
        return betas


class SplitSpec(Part):
    """Which examples choose the epoch, and which the reported scores are of."""

    dev_is: Literal["both", "select"] = Field(
        "both",
        description="'both': dev chooses the epoch and its scores are reported (the study's protocol); 'select': dev "
        "only chooses, and the test split is scored once, after training",
    )
    select: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="with dev_is = 'select': the fraction of dev that chooses, the same examples in every run; the "
        "rest of dev is the test split. None: all of dev chooses, and the source has a test split",
    )
    folds: int | None = Field(
        None,
        ge=FEWEST_FOLDS,
        le=100,
        description="k-fold cross-validation: train and dev together are divided in k parts, the same in every run; "
        "one is the test split, the next one chooses the epoch, the others train. None: no division",
    )
    fold: int | None = Field(
        None, ge=0, description="with `folds`: the part that is the test split, from 0; None: a run for each part"
    )

    @model_validator(mode="before")
    @classmethod
    def _a_part_selects(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (value.get("select") is not None or value.get("folds") is not None):
            return {"dev_is": "select", **value}
        return value

    @model_validator(mode="after")
    def _select_is_of_dev(self) -> SplitSpec:
        if self.select is not None and self.dev_is == "both":
            raise ValueError("`select` takes a part of dev to choose the epoch: it needs dev_is = 'select'")
        return self

    @model_validator(mode="after")
    def _folds_are_the_only_division(self) -> SplitSpec:
        if self.folds is None:
            if self.fold is not None:
                raise ValueError(f"`fold` = {self.fold} needs `folds`, the number of parts: such as split.folds=5")
            return self
        if self.select is not None:
            raise ValueError("`folds` and `select` both make a test split: choose one")
        if self.dev_is == "both":
            raise ValueError(
                "with `folds` one part chooses the epoch and another is tested: it needs dev_is = 'select'"
            )
        if self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"`fold` = {self.fold} is not one of {self.folds} folds: 0 to {self.folds - 1}")
        return self

    @property
    def has_test(self) -> bool:
        """Whether there is a test split, scored once after training."""
        return self.dev_is == "select"

    @property
    def reads_test(self) -> bool:
        """Whether the test split is the source's own, not a part of dev or of train and dev."""
        return self.has_test and self.select is None and self.folds is None


class RunSpec(Part):
    """Preset, workload, overrides and seed, validated. `preset` and `workload` are labels only."""

    preset: str
    workload: str
    method: SerializeAsAny[MethodOptions]
    runtime: Literal["native", "transformers", "peft"] = Field(
        "native", description="'native': no padding; 'transformers': its own forward; 'peft': that with PEFT's layers"
    )
    precision: Literal["fp32", "bf16", "autocast", "fp16", "nf4", "int8", "fp8"] = Field(
        "fp32",
        description="'bf16': frozen base weights in bf16; 'autocast': bf16 matrix multiplications; "
        "'fp16': fp16 with loss scaling (needs a GPU); 'nf4', 'int8', 'fp8': frozen base weights in 4 or 8 bits, "
        "see quantization",
    )
    quantization: QuantizationSpec = QuantizationSpec()
    encoder: EncoderSpec
    head: HeadSpec = HeadSpec()
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)
    train: TrainSpec
    eval: EvalSpec = EvalSpec()
    split: SplitSpec = SplitSpec()
    augment: AugmentSpec | None = Field(None, description="augmented training rows; None: no augmentation")
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, value: Any) -> Any:
        return current_spec(value) if isinstance(value, dict) else value

    @field_validator("method", mode="before")
    @classmethod
    def _options_of_the_named_method(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            name = value.get("name")
            if not isinstance(name, str):
                raise ValueError("`method` needs a `name`")
            return method_info(name).options.model_validate_json(json.dumps(dict(value)))
        return value

    @field_validator("tasks", mode="before")
    @classmethod
    def _tasks_in_their_order(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple({**task, "name": name} if isinstance(task, Mapping) else task for name, task in value.items())
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _method_has_the_runtime(self) -> RunSpec:
        info = method_info(self.method.name)
        if self.runtime not in info.runtimes:
            raise ValueError(info.why_not(self.runtime))
        return self

    @model_validator(mode="after")
    def _quantized_weights_are_frozen(self) -> RunSpec:
        if reason := self.quantization.why_not(self.precision):
            raise ValueError(reason)
        if self.precision not in QUANTIZED:
            return self
        if not method_info(self.method.name).quantized:
            raise ValueError(
                f"precision = '{self.precision}' keeps the base weights frozen and quantized, and method "
                f"{self.method.name} changes or needs them: use lora, dora, loraplus or last-layer"
            )
        if self.runtime == "native":
            raise ValueError(
                f"precision = '{self.precision}': the native runtime has no quantized products: use "
                f"--set runtime={'transformers' if method_info(self.method.name).implementation else 'peft'}"
            )
        return self

    @model_validator(mode="after")
    def _a_trained_pooler_is_used(self) -> RunSpec:
        if getattr(self.method, "train_pooler", False) and self.encoder.pooling != "pooler":
            raise ValueError(
                f"method.train_pooler trains the pooler, which encoder.pooling = '{self.encoder.pooling}' does not use"
            )
        return self

    @model_validator(mode="after")
    def _texts_can_be_divided(self) -> RunSpec:
        self.encoder.check_windows(self.tasks)
        return self

    @model_validator(mode="after")
    def _task_names_differ(self) -> RunSpec:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"two tasks have the same name: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _an_average_chooses_the_epoch(self) -> RunSpec:
        metrics = {task.name: task.headline for task in self.tasks}
        if not averaged(metrics):
            raise ValueError(
                f"every task is judged by an error ({', '.join(metrics.values())}), which are not averaged, so that "
                f"nothing chooses the epoch: give one task another metric, such as tasks.{self.tasks[0].name}.metric = "
                f"'{headline_for(self.tasks[0].kind)}', or train the tasks in runs of their own"
            )
        return self

    @model_validator(mode="after")
    def _thresholds_are_tuned_on_other_examples(self) -> RunSpec:
        tuned = [task.name for task in self.tasks if task.threshold == "tuned"]
        if tuned and not self.split.has_test:
            raise ValueError(
                f"tasks.{tuned[0]}.threshold = 'tuned' would be scored on the examples that it is tuned on: it needs "
                "split.dev_is = 'select', with a test split, or split.select = 0.5, which makes one of dev"
            )
        return self

    @model_validator(mode="after")
    def _heads_are_of_tasks(self) -> RunSpec:
        names = [task.name for task in self.tasks]
        for name in self.head.tasks:
            if name not in names:
                raise ValueError(
                    f"`head.tasks` names '{clean(name, 60)}', and the workload's tasks are {', '.join(names)}"
                    f"{did_you_mean(name, names)}"
                )
        return self

    @model_validator(mode="after")
    def _augmented_tasks_exist(self) -> RunSpec:
        if self.augment is None:
            return self
        names = [task.name for task in self.tasks]
        for task in self.tasks:
            if task.sample_weight and task.name in self.augment.tasks:
                raise ValueError(f"`augment.tasks` names {task.name}, whose rows have weights, and new rows have none")
            if task.kind == "tokens" and task.name in self.augment.tasks:
                raise ValueError(f"`augment.tasks` names {task.name}: the words of a token task cannot be replaced")
        strange = [name for name in self.augment.tasks if name not in names and name not in KNOWN_TASKS]
        if strange or not set(self.augment.tasks) & set(names):
            shown = strange[0] if strange else ", ".join(self.augment.tasks)
            raise ValueError(
                f"`augment.tasks` names '{clean(shown, 60)}', and the workload's tasks are {', '.join(names)}"
                f"{did_you_mean(shown, names)}"
            )
        return self

    @model_validator(mode="after")
    def _test_splits_exist(self) -> RunSpec:
        weighted = [task.name for task in self.tasks if task.sample_weight]
        if weighted and self.split.folds is not None:
            raise ValueError(
                f"`tasks.{weighted[0]}.sample_weight` weighs the rows of train, and with split.folds those of dev are "
                "trained on, too: leave one of the two out"
            )
        if self.split.reads_test:
            for task in self.tasks:
                if task.source.test is None:
                    raise ValueError(
                        f"`split.dev_is` = 'select' needs a test split, and the source of task {task.name} names none: "
                        f"set tasks.{task.name}.source.test, or split.select=0.5 to test on a half of dev, or "
                        "split.folds=5 for a cross-validation"
                    )
        return self

    @property
    def augmented_by(self) -> str | None:
        """The augmentation method; None without augmentation."""
        return self.augment.method if self.augment is not None else None

    def augments(self, task: str) -> bool:
        """Return whether a task's training rows are augmented."""
        return self.augment is not None and task in self.augment.tasks

    def task(self, name: str) -> TaskSpec | None:
        """Return a task by name, or None."""
        return next((task for task in self.tasks if task.name == name), None)

    def canonical_json(self) -> str:
        """Return the spec as JSON with sorted keys and no spaces: the stored form, which round-trips unchanged."""
        return canonical_json(self.model_dump(mode="json"))

    def hash(self) -> str:
        """Return the SHA-256 (hex) of everything that determines the run: a repeated run has the same hash.

        The names of preset and workload and the data folders are labels, not determinants: the data's content
        is fingerprinted separately, when it is read. Also excluded: the test file used for predictions, and,
        without folds, the group column, which then only affects how scores are analysed.
        """
        return hash_of(determinants(self))

    def group_hash(self) -> str:
        """Return the hash without the seed and the fold: the same for all runs of a group."""
        return hash_of(of_group(determinants(self)))

    def determinants(self) -> dict[str, Any]:
        """Return everything that determines the run: the input of `hash`."""
        return determinants(self)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of a nested table as (dotted key, value); tasks are keyed by name."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if dotted == "tasks" and isinstance(value, list | tuple):
            value = {task["name"]: task for task in value}
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{dotted}.")
        else:
            yield dotted, value
