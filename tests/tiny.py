"""The quickstart workload, shrunk to about a second."""

from __future__ import annotations

from pathlib import Path

TASKS = ("sst", "paraphrase", "sts")


def tiny_overrides(encoder: Path) -> list[str]:
    """Return the `--set` values that make the quickstart workload tiny."""
    sizes = [f"tasks.{task}.source.{split}={n}" for task in TASKS for split, n in (("train", 24), ("dev", 16))]
    return [f"encoder.name={encoder}", "train.epochs=2", "eval.train_examples=16", *sizes]
