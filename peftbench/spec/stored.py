"""Backward compatibility for stored specs: defaults of earlier versions, and the hashes those versions computed.

A version hashed every setting it had. Settings added since learning-rate schedules are left out of the hash at
their default; settings added earlier are always hashed, so that a spec older than them has a different hash today.
"""

from __future__ import annotations

import json
from typing import Any

from peftbench.spec.hashing import hash_of, of_group
from peftbench.spec.model import RunSpec

# Behaviour of specs that predate a setting, where it differs from today's default.
_EARLIER_DEFAULTS: dict[tuple[str, str], Any] = {("encoder", "token_types"): False}
# Settings in the hash, grouped by the version that added them, newest first, with the behaviour before that version.
_ADDED_SETTINGS: tuple[dict[str, Any], ...] = (
    {"train.prefix_cache": True},
    {"method.layers": None},  # of methods that have it
    {"runtime": "native", "precision": "fp32", "train.batching": "random"},
    {"encoder.token_types": False},
)


def stored_spec(spec_json: str) -> RunSpec:
    """Parse a spec from the store or a bundle.

    Raises:
        ValidationError: not a valid spec.
    """
    tree = json.loads(spec_json)
    for (part, key), value in _EARLIER_DEFAULTS.items():
        if isinstance(tree, dict) and isinstance(tree.get(part), dict):
            tree[part].setdefault(key, value)
    return RunSpec.model_validate_json(json.dumps(tree))


def hashes(spec: RunSpec) -> list[tuple[str, str]]:
    """Return a spec's (hash, group hash) pairs: today's first, then those that earlier versions computed."""
    pairs = [(spec.hash(), spec.group_hash())]
    tree = spec.determinants()
    if _as_first_with_test(spec, tree):
        pairs.append((hash_of(tree), hash_of(of_group(tree))))
    for added in _ADDED_SETTINGS:
        for key, before in added.items():
            *parts, leaf = key.split(".")
            table = tree
            for part in parts:
                table = table[part]
            if table.pop(leaf, before) != before:
                return pairs  # a version without this setting cannot have produced the spec
        pairs.append((hash_of(tree), hash_of(of_group(tree))))
    return pairs


def _as_first_with_test(spec: RunSpec, tree: dict[str, Any]) -> bool:
    """Change determinants to those of the first version with metrics, losses and test splits; tell whether they differ.

    It hashed metrics and losses that are the default, too, and left out the test file that a run scores.
    """
    before = json.dumps(tree, sort_keys=True)
    for task, hashed in zip(spec.tasks, tree["tasks"], strict=True):
        if hashed["source"]["type"] == "files":
            hashed["source"].pop("test", None)
        if task.metric is not None:
            hashed["metric"] = task.metric
        if task.loss is not None:
            hashed["loss"] = task.loss.model_dump(mode="json")
    return json.dumps(tree, sort_keys=True) != before
