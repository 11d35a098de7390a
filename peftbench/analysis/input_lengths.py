"""What became of the inputs that are longer than `encoder.max_length`, in words."""

from __future__ import annotations

from collections.abc import Iterable

from peftbench.store.conditions import Conditions, InputLengths


def described(lengths: InputLengths, max_length: int | None = None) -> str | None:
    """Return how many inputs were truncated or divided into windows; None: none was.

    Args:
        lengths: of a split, or of several.
        max_length: of the run, to be named.
    """
    if lengths["truncated"]:
        limit = "" if max_length is None else f" to {max_length} tokens (encoder.max_length)"
        share = 100 * lengths["tokens_cut"] / (lengths["tokens_cut"] + lengths["tokens"])
        return f"{lengths['truncated']:,} of {lengths['inputs']:,} inputs cut{limit}, {share:.1f} % of all tokens"
    if lengths["divided"]:
        limit = "" if max_length is None else f" of at most {max_length} tokens (encoder.stride)"
        return (
            f"{lengths['divided']:,} of {lengths['inputs']:,} texts divided into {lengths['windows']:,} windows{limit}"
        )
    return None


def long_inputs(conditions: Conditions) -> str | None:
    """Return what became of each task's long inputs, of all its splits; None: the run has no record of it."""
    recorded = conditions.get("input_lengths")
    if not isinstance(recorded, dict):
        return None
    by_task: dict[str, list[InputLengths]] = {}
    for name, lengths in recorded.items():
        by_task.setdefault(name.partition("/")[0], []).append(lengths)
    words = {task: described(total(splits)) for task, splits in by_task.items()}
    return "; ".join(f"{task} {text}" for task, text in words.items() if text is not None) or "none"


def total(parts: Iterable[InputLengths]) -> InputLengths:
    """Return the sums over several splits."""
    sums = InputLengths(inputs=0, tokens=0, truncated=0, tokens_cut=0, divided=0, windows=0)
    for part in parts:
        sums = InputLengths(
            inputs=sums["inputs"] + part["inputs"],
            tokens=sums["tokens"] + part["tokens"],
            truncated=sums["truncated"] + part["truncated"],
            tokens_cut=sums["tokens_cut"] + part["tokens_cut"],
            divided=sums["divided"] + part["divided"],
            windows=sums["windows"] + part["windows"],
        )
    return sums
