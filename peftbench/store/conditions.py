"""The JSON objects that are stored with a run: the conditions it is measured under, and its memory by part.

The worker adds conditions as they become known, and earlier versions recorded fewer of them, so that any may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class CardConditions(TypedDict, total=False):
    """The card that is measured. What it does not tell is None."""

    name: str
    uuid: str
    mig: bool
    driver: str | None
    cuda_driver: str | None  # the newest CUDA version that the driver supports
    memory_total_mib: float | None
    power_limit_w: float | None
    power_limit_default_w: float | None
    persistence: bool | None
    power_source: str | None  # the NVML field that power is read from
    power_scope: str | None  # "gpu", or None where it is not known to exclude other parts of a module
    part_time_sensor: bool


class ClockLockConditions(TypedDict, total=False):
    """The lock of the card's clocks that was requested, and whether it was held and undone."""

    asked_mhz: int
    read_mhz: float | None  # read back at rest
    held: bool | None
    undone: bool | None  # None while it is held


class SamplerConditions(TypedDict, total=False):
    """How often the meters were sampled: period and read time in ms, medians and 95th percentile over the run."""

    period_ms: float
    median_ms: float | None
    p95_ms: float | None
    read_ms: float | None
    samples: int
    failure: str | None  # of a meter


class MeterConditions(TypedDict, total=False):
    """Whether a meter works, and the status of each field that it cannot read."""

    status: str
    detail: str
    missing: dict[str, str]


TokenizerConditions = TypedDict(
    "TokenizerConditions",
    {
        "class": str,
        "pieces": int,
        "behaviour_sha256": str,
        "special_tokens_in_texts": str,
        "padded_with": int,  # an id, where the tokeniser has no padding token
    },
    total=False,
)


class TokenisedConditions(TypedDict, total=False):
    """The splits ("task/split") whose tokens were not in the cache, and the time that tokenising them took."""

    splits: list[str]
    seconds: float


class SplitReading(TypedDict, total=False):
    """How the files of a split were read: totals, and for each setting its value, or one per file where they differ.

    Of a data set on the hub: its rows, and the commit that they are of.
    """

    lines: int
    rows: int
    spanning: int  # quoted fields that span several lines
    separator: str | list[str | None] | None
    quoting: str | list[str | None] | None
    encoding: str | list[str | None] | None
    compression: str | list[str | None] | None
    files: int
    revision: str | None  # the commit (SHA-1) of a data set on the hub
    revision_unknown: str  # why `revision` is None


class InputLengths(TypedDict):
    """How many inputs (texts, or joint pairs) are longer than `encoder.max_length`, and what became of them."""

    inputs: int
    tokens: int  # that the encoder reads, in all windows
    truncated: int  # inputs
    tokens_cut: int
    divided: int  # inputs, with `encoder.stride`
    windows: int  # of those


class DataNote(TypedDict):
    """An issue with a task's data, and the number of examples that it affects."""

    task: str
    name: str
    message: str
    examples: int


class AugmentConditions(TypedDict, total=False):
    """The resources of the augmentation, and the hash of each task's training rows with the new ones."""

    wordnet: str
    wordnet_sha256: str
    translation_sha256: str
    rows_sha256: dict[str, str]  # by task


class PlannedWork(TypedDict):
    """A run's planned work (`analysis.time_left.Course`)."""

    epochs: int
    steps: dict[str, int]  # of an epoch, by task
    most: int | None  # steps of a task in the whole run
    evaluated: list[tuple[str, str, int]]  # task, split and examples of each part of an evaluation
    tested: NotRequired[list[tuple[str, str, int]]]  # likewise, of the evaluation after training
    examples_per_step: int
    interim: NotRequired[dict[str, int]]  # by task: examples evaluated within an epoch


class Pace(TypedDict, total=False):
    """The measured pace of the parts of the first epoch: phase, task, and seconds per step or example."""

    parts: list[tuple[str, str, float]]


class Conditions(TypedDict, total=False):
    """What a run is measured under, what it read and wrote (by SHA-256), and what it has to do."""

    # program, libraries and machine
    peftbench: str
    python: str
    torch: str
    transformers: str
    bitsandbytes: str
    torchao: str
    device: str
    device_type: str
    cuda: str | None
    cores: int | None
    threads: int
    omp_wait_policy: str | None
    malloc: dict[str, str]
    platform: str
    # meters
    gpu: CardConditions | None
    gpu_computes: bool
    meters: dict[str, MeterConditions]
    meter_settings: dict[str, float | str | None]  # of `MeterSettings`
    device_base_mib: float | None  # used on the card before the run
    clock_lock: ClockLockConditions | None
    sampler: SamplerConditions
    # how the encoder is computed
    precision: str
    path: str
    attention: str
    adapted: dict[str, int]  # modules with adapters: the name within an encoder's layer, and how many have it
    encoder_weights_unused: list[str]
    encoder_weights_missing: list[str]
    # inputs and outputs
    encoder_sha256: str
    config_sha256: str
    tokenizer_sha256: str
    data_sha256: dict[str, str]  # by "task/split"
    weights_sha256: dict[str, str]  # by name of the file
    tokenizer: TokenizerConditions
    tokenised: TokenisedConditions
    data_read: dict[str, SplitReading]  # by "task/split"
    data_notes: list[DataNote]
    input_lengths: dict[str, InputLengths]  # by "task/split", of all its rows
    fold_examples: dict[str, dict[str, int]]  # by task: examples that train, choose the epoch (dev) and are tested
    label_names: dict[str, list[str]]  # by task
    label_scale: dict[str, tuple[float, float]]  # by regression task: mean and standard deviation of train
    thresholds: dict[str, dict[str, float]]  # by task with a tuned threshold, by epoch
    augment: AugmentConditions
    # work
    course: PlannedWork
    pace: Pace


class MemoryParts(TypedDict):
    """The memory of a training step by part, in bytes (`memory.parts.Anatomy`); None: not measured."""

    weights: int
    trainable: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int | None
    total: int | None
    tokens: NotRequired[dict[str, int]]  # of the largest batch, by task; of predictions only


class RunFacts(TypedDict, total=False):
    """Columns of a run that its worker sets once they are known."""

    data_hash: str
    weights_total: int
    weights_trainable: int
    adapter_weights: dict[str, int]  # by task
    memory_predicted: MemoryParts | None
    memory_measured: MemoryParts | None


def label_threshold(conditions: Mapping[str, Any], task: str, declared: float | str, epoch: int) -> float | None:
    """Return the probability above which a run predicts a label; None where it was tuned and there is no record.

    Args:
        conditions: of the run.
        task: the task's name.
        declared: a threshold, or 'tuned', as its spec says.
        epoch: whose predictions.
    """
    if isinstance(declared, float):
        return declared
    recorded: float | None = ((conditions.get("thresholds") or {}).get(task) or {}).get(str(epoch))
    return recorded


def label_names(
    conditions: Mapping[str, Any], task: str, declared: Sequence[str] | None = None
) -> tuple[str, ...] | None:
    """Return the names of a task's classes, labels or tags; None where they are numbers.

    Args:
        conditions: of a run.
        task: the task's name.
        declared: those that its spec lists; they come before those that the run read.
    """
    names = declared or (conditions.get("label_names") or {}).get(task)
    return tuple(map(str, names)) if names else None
