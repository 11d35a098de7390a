"""Cross-validation: a spec with `split.folds` and without `split.fold` stands for a run for each fold."""

from __future__ import annotations

from peftbench.spec.resolve import Resolved


def of_each_fold(resolved: Resolved) -> list[Resolved]:
    """Return the runs that a resolved spec stands for: one for each fold where it names none, else itself."""
    split = resolved.spec.split
    if split.folds is None or split.fold is not None:
        return [resolved]
    origins = {**resolved.origins, "split.fold": resolved.origins.get("split.folds", "default")}
    return [
        Resolved(resolved.spec.model_copy(update={"split": split.model_copy(update={"fold": fold})}), origins)
        for fold in range(split.folds)
    ]
