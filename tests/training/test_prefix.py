"""What lies below the first trained layer: computed once, the same as if it were computed every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftbench.spec import Resolved
from peftbench.training import prefix
from tests.training.test_training import Memory, train

UPPER = ('method.layers="1"', "encoder.dropout=0")


def scores(memory: Memory) -> list[float]:
    return [score.value for score in memory.scores if score.value is not None] + [score.loss for score in memory.scores]


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("last-layer", ()),
        ("last-layer", ("encoder.pooling=pooler",)),
        ("last-layer", ("encoder.pair_encoding=separate",)),
        ("lora-r12", UPPER),
        ("dora-r12", (*UPPER, "encoder.pooling=cls")),
        ("lora-r12", (*UPPER, "encoder.pair_encoding=separate")),
    ],
)
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_run_with_the_prefix_kept_is_the_run_without(
    preset: str,
    overrides: tuple[str, ...],
    on_disk: bool,
    tiny: Callable[..., Resolved],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if on_disk:
        monkeypatch.setattr(prefix, "MEMORY_LIMIT", 0)
    kept = train(tiny(preset, overrides).spec, tmp_path / "kept")
    anew = train(tiny(preset, [*overrides, "train.prefix_cache=false"]).spec, tmp_path / "anew")
    assert scores(kept) == pytest.approx(scores(anew), abs=2e-4)
    place = "on disk" if on_disk else "in memory"
    notes = [note for note in kept.notes if "computed once" in note]
    assert len(notes) == 9  # train, its sample and dev of three tasks
    assert all(place in note for note in notes)
    assert not [phase for phase in anew.seen_phases if phase.phase == "prefix"]


def test_the_first_pass_is_a_phase_of_its_own_and_comes_once(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("last-layer").spec, tmp_path)
    phases = [phase for phase in memory.seen_phases if phase.phase == "prefix"]
    assert {(phase.epoch, phase.task, phase.split) for phase in phases} == {
        (1, task, split) for task in ("sst", "paraphrase", "sts") for split in ("train", "train sample", "dev")
    }
    assert all(phase.tokens and phase.examples and phase.wall_s > 0 for phase in phases)


def test_with_dropout_on_training_computes_it_anew_and_evaluation_does_not(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    memory = train(tiny("last-layer-dropout", ["encoder.dropout=0.1"]).spec, tmp_path)
    phases = {phase.split for phase in memory.seen_phases if phase.phase == "prefix"}
    assert phases == {"train sample", "dev"}


@pytest.mark.parametrize("preset", ["lora-r12", "full", "lora-r12-peft"])
def test_with_nothing_frozen_below_nothing_is_kept(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny(preset, ["encoder.dropout=0"]).spec, tmp_path)
    assert not [phase for phase in memory.seen_phases if phase.phase == "prefix"]


def test_where_there_is_no_room_it_is_said_and_the_run_goes_on(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(prefix, "DISK_RESERVE", 2**60)
    memory = train(tiny("last-layer").spec, tmp_path)
    assert sum("not kept" in note for note in memory.notes) == 9
    assert not [phase for phase in memory.seen_phases if phase.phase == "prefix"]  # nothing was computed for it
    assert len(memory.epochs) == 2


def test_a_file_of_states_has_no_name_to_leave_behind(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "MEMORY_LIMIT", 0)
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "cache"))
    states = prefix._on_disk(10, 4)
    states[3] = 1.5
    assert torch.equal(states[3], torch.full((4,), 1.5))
    assert list((tmp_path / "cache" / "prefixes").iterdir()) == []


def test_the_study_s_variant_stays_available() -> None:
    from peftbench.spec import resolve

    assert resolve("last-layer").spec.encoder.dropout == 0.0
    assert resolve("last-layer-dropout").spec.encoder.dropout is None
    assert resolve("last-layer-as-printed").spec.encoder.dropout is None
    assert json.loads(resolve("lora-r12-top6", "paper").spec.canonical_json())["method"]["layers"] == "6-11"
