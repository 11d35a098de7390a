"""The embedding of a text in windows is the mean of its windows' embeddings, in every runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from peftbench.data.batches import bucketed_batches
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.data.tokenise import offsets_of
from peftbench.methods.adapted import AdaptedLinear
from peftbench.seeds import generator
from peftbench.spec import Resolved
from peftbench.training.evaluation import logits_of
from peftbench.training.frozen_features import FrozenFeatures
from tests.models import PACKED, PADDED, TOLERANCE, gradients, texts
from tests.models import model_with_adapters as build
from tests.tiny import TASKS

WINDOWS = [[9, 9, 4], [5], [7, 2], [1], [9, 9, 9, 9, 1]]  # lengths of the windows of each text
PLAIN = ["encoder.dropout=0", "head.dropout=0"]


def divided(windows: list[list[int]], seed: int = 0) -> EncodedSplit:
    """Texts with windows of these lengths."""
    split = texts([sum(own) for own in windows], seed, types=False)
    starts = offsets_of(np.array([length for own in windows for length in own]))
    return replace(split, parts=tuple(replace(part, windows=starts) for part in split.parts))


def apart(split: EncodedSplit) -> EncodedSplit:
    """All windows of a split, as texts of their own."""
    (part,) = split.parts
    assert part.windows is not None
    count = len(part.windows) - 1
    alone = Ragged(part.ids, part.types, part.windows)
    return EncodedSplit((alone,), np.zeros(count), ("",) * count, 0, from_cache=False)


@pytest.mark.parametrize("runtime", ["native", "transformers"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler", "last"])
def test_it_is_the_mean_of_windows_encoded_as_texts(pooling: str, runtime: str, tiny: Callable[..., Resolved]) -> None:
    model = build(tiny("lora-r12", [f"encoder.pooling={pooling}", *PLAIN]), runtime).eval()
    batcher, split = model.batcher(0), divided(WINDOWS)
    own = apart(split)
    with torch.no_grad():
        together = model.pooled(batcher(split, [4, 1, 0]).texts[0])
        alone = [model.pooled(batcher(own, [row]).texts[0])[0] for row in range(len(own))]
    by_hand = [torch.stack(alone[7:12]).mean(0), alone[3], (alone[0] + alone[1] + alone[2]) / 3]
    torch.testing.assert_close(together, torch.stack(by_hand), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("runtime", ["native", "transformers"])
def test_texts_of_one_window_are_computed_as_without(runtime: str, tiny: Callable[..., Resolved]) -> None:
    """To the bit, in a batch without a divided text."""
    model = build(tiny("lora-r12", PLAIN), runtime)
    split = divided(WINDOWS)
    short = split.take(np.array([1, 3]))
    plain = replace(short, parts=tuple(replace(part, windows=None) for part in short.parts))
    batches = [model.batcher(0)(of, rows) for of, rows in ((split, [1, 3]), (short, [0, 1]), (plain, [0, 1]))]
    (logits, grads), *others = [gradients(model, batch) for batch in batches]
    for same, also in others:
        assert torch.equal(logits, same) and all(torch.equal(grads[name], also[name]) for name in grads)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("preset", ["last-layer", "full", "lora-r12", "dora-r12"])
def test_logits_and_gradients_are_those_of_transformers(
    preset: str, pooling: str, tiny: Callable[..., Resolved]
) -> None:
    resolved = tiny(preset, [f"encoder.pooling={pooling}", "encoder.pair_encoding=separate", *PLAIN])
    ours, theirs = build(resolved, "native"), build(resolved, "transformers")
    first, second = divided(WINDOWS), divided(WINDOWS[::-1], seed=3)
    pair = replace(first, parts=(*first.parts, *second.parts))
    for task, split in (("sst", first), ("sts", pair)):
        ours.switch_mode(task), theirs.switch_mode(task)
        ours.train(), theirs.train()
        logits, grads = gradients(ours, PACKED(split, [3, 0, 4, 2]))
        their_logits, their_grads = gradients(theirs, PADDED(split, [3, 0, 4, 2]))
        torch.testing.assert_close(logits, their_logits, atol=TOLERANCE, rtol=TOLERANCE)
        assert grads.keys() == their_grads.keys()
        for name in grads:
            torch.testing.assert_close(grads[name], their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


def test_logits_and_gradients_are_those_of_peft(tiny: Callable[..., Resolved]) -> None:
    pytest.importorskip("peft")
    ours, theirs = build(tiny("lora-r12", PLAIN), "native"), build(tiny("lora-r12-peft", PLAIN), "peft")
    split = divided(WINDOWS)
    logits, grads = gradients(ours, PACKED(split, [0, 4, 1]))
    their_logits, their_grads = gradients(theirs, PADDED(split, [0, 4, 1]))
    torch.testing.assert_close(logits, their_logits, atol=TOLERANCE, rtol=TOLERANCE)
    assert grads.keys() == their_grads.keys() and any("query" in name for name in grads)
    for name in grads:
        torch.testing.assert_close(grads[name], their_grads[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [("last-layer", []), ("last-layer", ["encoder.pooling=mean"]), ("lora-r12-top6", ['method.layers="1"'])],
)
def test_cached_features_of_windows_give_the_same_logits(
    preset: str, overrides: list[str], tiny: Callable[..., Resolved]
) -> None:
    resolved = tiny(preset, [*PLAIN, *overrides, "eval.batch_size=2"])
    model, split = build(resolved, "native").eval(), divided(WINDOWS)
    frozen, rows = FrozenFeatures(model, model.batcher(0), resolved.spec), np.array([2, 4, 0, 1, 3])
    cached, note = frozen.batcher("sst dev", split, training=False)
    assert note is not None and "computed once" in note
    expected = logits_of(model, split, rows, 5, model.batcher(0))
    np.testing.assert_allclose(logits_of(model, split, rows, 5, cached), expected, atol=1e-6)


def test_a_batch_of_several_tasks_gives_what_each_task_gives_alone(tiny: Callable[..., Resolved]) -> None:
    model = build(tiny("lora-r12", ["encoder.pair_encoding=separate"]), "native").eval()
    assert any(isinstance(layer, AdaptedLinear) for layer in model.modules())
    chosen = {}
    for seed, task in enumerate(TASKS):
        split = divided(WINDOWS, seed)
        if task != "sst":
            split = replace(split, parts=(*split.parts, *texts([3, 8, 8, 2, 6], seed + 9, types=False).parts))
        chosen[task] = (split, np.array([4, 1, 0][: seed + 1]))
    together = model.forward_multitask(chosen)
    for task, (split, rows) in chosen.items():
        model.switch_mode(task)
        with torch.no_grad():
            alone = model(model.batcher(0)(split, rows))
        torch.testing.assert_close(together[task], alone, atol=TOLERANCE, rtol=TOLERANCE)


def test_batches_of_similar_length_count_all_windows() -> None:
    split = divided([[9] * count for count in (1, 6, 2, 5, 1, 6, 2, 5)])
    batches = list(bucketed_batches(split.lengths, 2, generator(0, "test")))
    assert sorted(sorted(split.lengths[rows].tolist()) for rows in batches) == [[9, 9], [18, 18], [45, 45], [54, 54]]
    assert PACKED(split, batches[0]).tokens == PADDED(split, batches[0]).tokens == split.lengths[batches[0]].sum()
