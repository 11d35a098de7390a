"""The frozen prefix: computed once, with the same results as if computed every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftbench.spec import Resolved
from peftbench.training import frozen_features
from tests.marks import soaked_but
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")

UPPER = ('method.layers="1"', "encoder.dropout=0")


def scores(memory: Memory) -> list[float]:
    return [score.value for score in memory.scores if score.value is not None] + [score.loss for score in memory.scores]


COLUMNS = [
    ("last-layer", ()),
    ("last-layer", ("encoder.pooling=pooler",)),
    ("last-layer", ("encoder.pair_encoding=separate",)),
    ("lora-r12", UPPER),
    ("dora-r12", (*UPPER, "encoder.pooling=cls")),
    ("lora-r12", (*UPPER, "encoder.pair_encoding=separate")),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "overrides", "on_disk"),
    soaked_but([(*COLUMNS[n], False) for n in (1, 2, 3, 4)], [(*column, False) for column in COLUMNS])
    + soaked_but([(*COLUMNS[0], True), (*COLUMNS[5], True)], [(*column, True) for column in COLUMNS]),
)
def test_a_run_with_a_cached_prefix_equals_one_without(
    preset: str,
    overrides: tuple[str, ...],
    on_disk: bool,
    tiny: Callable[..., Resolved],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if on_disk:
        monkeypatch.setattr(frozen_features, "MEMORY_LIMIT", 0)
    kept = train(tiny(preset, overrides).spec, tmp_path / "kept")
    anew = train(tiny(preset, [*overrides, "train.cache_frozen_features=false"]).spec, tmp_path / "anew")
    assert scores(kept) == pytest.approx(scores(anew), abs=2e-4)
    place = "on disk" if on_disk else "in memory"
    notes = [note for note in kept.notes if "computed once" in note]
    assert len(notes) == 9  # train, its sample and dev of three tasks
    assert all(place in note for note in notes)
    assert not [phase for phase in anew.seen_phases if phase.phase == "frozen_features"]


@pytest.mark.slow
def test_the_prefix_pass_is_a_phase_of_its_own_and_occurs_once(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("last-layer").spec, tmp_path)
    phases = [phase for phase in memory.seen_phases if phase.phase == "frozen_features"]
    assert {(phase.epoch, phase.task, phase.split) for phase in phases} == {
        (1, task, split) for task in ("sst", "paraphrase", "sts") for split in ("train", "train sample", "dev")
    }
    assert all(phase.tokens and phase.examples and phase.wall_s > 0 for phase in phases)


@pytest.mark.slow
def test_with_dropout_only_evaluation_uses_the_cache(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("last-layer-dropout", ["encoder.dropout=0.1"]).spec, tmp_path)
    phases = {phase.split for phase in memory.seen_phases if phase.phase == "frozen_features"}
    assert phases == {"train sample", "dev"}


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "full", "lora-r12-peft"])
def test_without_frozen_layers_nothing_is_cached(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny(preset, ["encoder.dropout=0"]).spec, tmp_path)
    assert not [phase for phase in memory.seen_phases if phase.phase == "frozen_features"]


def test_without_space_for_the_cache_the_run_continues_with_a_note(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(frozen_features, "DISK_RESERVE", 2**60)
    memory = train(tiny("last-layer").spec, tmp_path)
    assert sum("not cached" in note for note in memory.notes) == 9
    assert not [phase for phase in memory.seen_phases if phase.phase == "frozen_features"]
    assert len(memory.epochs) == 2


def test_a_file_of_states_is_unnamed(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_features, "MEMORY_LIMIT", 0)
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "cache"))
    states = frozen_features._on_disk(10, 4)
    states[3] = 1.5
    assert torch.equal(states[3], torch.full((4,), 1.5))
    assert list((tmp_path / "cache" / "prefixes").iterdir()) == []


def test_the_study_s_variant_stays_available() -> None:
    from peftbench.spec import resolve

    assert resolve("last-layer").spec.encoder.dropout == 0.0
    assert resolve("last-layer-dropout").spec.encoder.dropout is None
    assert resolve("last-layer-as-printed").spec.encoder.dropout is None
    assert json.loads(resolve("lora-r12-top6", "paper").spec.canonical_json())["method"]["layers"] == "6-11"
