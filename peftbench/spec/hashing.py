"""The hash of a spec: SHA-256 over the canonical JSON of everything that determines a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peftbench.metrics import headline_for
from peftbench.renames import former_spec
from peftbench.tasks import FilesSource, LossSpec, TaskSpec

if TYPE_CHECKING:
    from peftbench.spec.model import RunSpec

# Keys added after the first stored runs: not hashed at their default, so that older specs keep hash, weights and group.
ADDED_KEYS = {
    "encoder": ("stride",),
    "train": (
        *("schedule", "warmup_ratio", "clip_norm", "accumulation_steps", "max_steps", "patience", "limit_examples"),
        "gradient_checkpointing",
    ),
    "head": ("kind", "layers", "width", "tasks", "bias"),
    "split": ("folds", "fold"),
    "eval": ("every", "dev_examples"),
    "quantization": ("library", "double_quant", "compute_dtype"),
}
ADDED_METHOD_KEYS = ("train_norms", "train_embeddings", "train_pooler", "rank_pattern")  # of methods with older specs
ADDED_HEAD_KEYS = ("bias",)  # of one task's head
ADDED_TASK_KEYS = ("labels", "missing", "loss", "metric", "sample_weight", "threshold")


def canonical_json(tree: Any) -> str:
    """Return a tree as JSON with sorted keys and no spaces."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(determinants: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a spec's determinants."""
    return hashlib.sha256(canonical_json(determinants).encode("utf-8", "surrogatepass")).hexdigest()


def of_group(determinants: Mapping[str, Any]) -> dict[str, Any]:
    """Return the determinants that all runs of a group share: without the seed and the fold."""
    shared = {key: value for key, value in determinants.items() if key != "seed"}
    if "split" in shared:
        shared["split"] = {key: value for key, value in shared["split"].items() if key != "fold"}
    return shared


def _is_what_none_means(task: TaskSpec, key: str) -> bool:
    """Tell whether a task states a metric or loss that it would have without it: the same run, and group."""
    if key == "metric":
        return task.metric == headline_for(task.kind)
    return key == "loss" and task.loss == LossSpec()


def determinants(spec: RunSpec) -> dict[str, Any]:
    """Return everything that determines a run: no labels, no folders, and keys added later only where they are set.

    Keys that were renamed have their former name.
    """
    dump = spec.model_dump(mode="json")
    del dump["preset"], dump["workload"]
    for task, task_dump in zip(spec.tasks, dump["tasks"], strict=True):
        if spec.split.folds is None or not task.group:  # groups are divided among the folds
            del task_dump["group"]
        for key in ADDED_TASK_KEYS:
            if task_dump[key] == TaskSpec.model_fields[key].default or _is_what_none_means(task, key):
                del task_dump[key]
        if isinstance(task.source, FilesSource):
            del task_dump["source"]["root"]
        if not spec.split.reads_test or task.source.test is None:
            del task_dump["source"]["test"]  # not read
        if isinstance(task.source, FilesSource) and task.source.quoting == "auto":
            del task_dump["source"]["quoting"]
    if dump["augment"] is None:
        del dump["augment"]
    for part, keys in ADDED_KEYS.items():
        fields = type(getattr(spec, part)).model_fields
        for key in keys:
            if dump[part][key] == fields[key].default:
                del dump[part][key]
    for key in ADDED_METHOD_KEYS:
        if not dump["method"].get(key, True):
            del dump["method"][key]
    for change in dump["head"].get("tasks", {}).values():
        for key in ADDED_HEAD_KEYS:
            if change[key] is None:
                del change[key]
    if not spec.split.has_test:
        del dump["split"]
    if not dump["quantization"]:
        del dump["quantization"]
    return former_spec(dump)
