"""A run stores the memory of its steps: predicted before the first one, measured after the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peftbench.errors import Interrupted, PeftbenchError
from peftbench.jobs.execute import execute
from peftbench.memory import step_memory
from peftbench.memory.parts import Anatomy, score
from peftbench.report.memory import memory_line
from peftbench.spec import Resolved
from tests.factories import record
from tests.recorders import Memory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        pytest.param("lora-r12", [], marks=pytest.mark.soak),
        ("dora-r12", ["encoder.dropout=0.1"]),
        ("full", []),
        ("last-layer", []),
        ("lora-r12", ["runtime=transformers"]),
        ("dora-r12-peft", []),
        ("lora-r12", ["head.kind=mlp", "head.width=64", "head.tasks.sst.kind=linear"]),
        ("lora-r12", ["encoder.pair_encoding=separate", "train.batching=bucketed"]),
    ],
)
def test_every_part_that_can_be_measured_is_as_predicted(
    preset: str, overrides: list[str], tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    told = Memory()
    execute(tiny(preset, overrides).spec, told, tmp_path)
    predicted, measured = (Anatomy.from_dict(told.facts[f"memory_{kind}"]) for kind in ("predicted", "measured"))
    errors = score(predicted, measured)
    for part in ("weights", "trainable", "gradients", "optimizer"):
        assert abs(errors[part]) < 0.001, (part, predicted, measured)
    # the heads save only a few numbers, which decide which task needs most
    assert abs(errors["activations"]) < 0.03 or measured.activations < 8192
    assert (measured.workspace, measured.total) == (None, None)
    assert predicted.total > predicted.kept


def test_a_prediction_that_cannot_be_made_is_told_and_the_run_goes_on(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PeftbenchError("it decides by values")

    monkeypatch.setattr(step_memory, "predict_for", refuse)
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "cache"))  # an empty cache
    told = Memory()
    execute(tiny().spec, told, tmp_path / "run")
    assert told.facts["memory_predicted"] is None
    assert "memory: not predicted: it decides by values" in told.notes
    assert told.facts["memory_measured"]["weights"] > 0


@pytest.mark.slow
def test_a_run_that_was_stopped_has_no_measured_memory_but_its_one_window(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    told = Memory(stop_after=1)
    with pytest.raises(Interrupted):
        execute(tiny().spec, told, tmp_path)
    assert "memory_measured" not in told.facts
    assert "closing" in told.notes  # the end is not interrupted
    assert told.facts["memory_predicted"]["total"] > 0
    assert [phase.phase for phase in told.seen_phases if phase.phase == "run"] == ["run"]


def test_the_line_of_a_run() -> None:
    parts = Anatomy(100 << 20, 10 << 20, 10 << 20, 20 << 20, 70 << 20, 4 << 20)
    shown = memory_line(record(memory_predicted=parts.as_dict()).run)
    assert shown == "204 MiB predicted for a step's peak"
    on_cpu = Anatomy(100 << 20, 10 << 20, 10 << 20, 20 << 20, 50 << 20, None)
    assert memory_line(record(memory_predicted=parts.as_dict(), memory_measured=on_cpu.as_dict()).run).endswith(
        "(200 without workspace: +11 % from the measured)"
    )
    on_gpu = Anatomy(100 << 20, 10 << 20, 10 << 20, 20 << 20, 70 << 20, 55 << 20)
    assert memory_line(record(memory_predicted=parts.as_dict(), memory_measured=on_gpu.as_dict()).run).endswith(
        "-20 % from the measured"
    )
    assert memory_line(record().run) == "–"
