"""The study's claim that task order within an epoch does not affect task-specific adapters, checked bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from peftbench.methods.registry import method_info, registered
from peftbench.spec import Resolved, RunSpec
from peftbench.training.weights import weights_path
from tests.marks import soaked_but
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")

ADAPTERS = (
    "lora-r12",
    "dora-r12",
    "dora-r12-by-column",
    "loraplus-r12",
    "delta-lora-r12",
    "dora-r12-peft",
    "adalora-r12",
)
OPTIONS = {
    "plain": [],
    "transformers": ["runtime=transformers"],
    "schedule, clipping, dropout": [
        *("train.schedule=linear", "train.warmup_ratio=0.2", "train.clip_norm=0.5", "method.dropout=0.1"),
        "train.accumulation_steps=2",
    ],
    "bucketed, some layers": ["train.batching=bucketed", "method.layers=1", "encoder.dropout=0.0"],
}


def reordered(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"tasks": (spec.tasks[2], spec.tasks[0], spec.tasks[1])})


def by_task(memory: Memory) -> dict[str, list[tuple[object, ...]]]:
    """Return every score, loss and stored prediction by task, in order."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for s in memory.scores:
        found.setdefault(s.task, []).append((s.epoch, s.split, s.value, s.loss))
    for p in memory.predictions:
        found[p.task].append((p.epoch, p.example_id, p.label, p.prediction))
    return found


def trained_in_both_orders(spec: RunSpec, folder: Path) -> tuple[Memory, Memory]:
    first, second = train(spec, folder / "a"), train(reordered(spec), folder / "b")
    assert [s.task for s in first.scores[::2]][:3] == ["sst", "paraphrase", "sts"]
    assert [s.task for s in second.scores[::2]][:3] == ["sts", "sst", "paraphrase"]
    return first, second


# these are to the order what DoRA is, and what LoRA is
SOAKED = ("dora-r12-by-column", "loraplus-r12", "lora-r12")


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["last-layer", *soaked_but([name for name in ADAPTERS if name not in SOAKED], ADAPTERS)]
)
def test_two_orders_give_each_task_the_same_bits(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny(preset).spec
    assert method_info(spec.method.name).independent_tasks
    first, second = trained_in_both_orders(spec, tmp_path)
    assert by_task(first) == by_task(second)
    assert first.best_epoch is not None and first.best_epoch == second.best_epoch
    weights = [load_file(weights_path(tmp_path / side, first.best_epoch)) for side in "ab"]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", soaked_but(("transformers", "schedule, clipping, dropout"), OPTIONS))
def test_whatever_else_the_spec_says(name: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    first, second = trained_in_both_orders(tiny("dora-r12", OPTIONS[name]).spec, tmp_path)
    assert by_task(first) == by_task(second)


@pytest.mark.slow
def test_where_the_encoder_is_shared_the_order_matters(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    first, second = trained_in_both_orders(tiny("full").spec, tmp_path)
    assert by_task(first) != by_task(second)


def test_every_shipped_method_but_full_keeps_its_tasks_apart() -> None:
    assert [name for name in registered() if not method_info(name).independent_tasks] == ["full"]
