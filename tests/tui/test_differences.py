"""What tells runs apart in the table, and the widths of names."""

from __future__ import annotations

from dataclasses import replace

from peftbench.spec import resolve
from peftbench.store.rows import Run
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.differences import Differences
from peftbench.tui.widgets.runs_table import columns_for
from tests.tui.world import Given, drive, row_of, run_record, snapshot


def run(number: int, *overrides: str, seed: int = 0, preset: str = "lora-r12") -> Run:
    spec = resolve(preset, overrides=overrides, seed=seed).spec
    made = run_record(f"run{number:05d}", f"{preset}-{number}").run
    return replace(made, spec_json=spec.canonical_json(), preset=preset, seed=seed)


def test_runs_of_a_preset_differ_by_their_settings_and_then_by_their_seed() -> None:
    runs = [run(1), run(2, "train.epochs=2"), run(3, "train.epochs=2", seed=7), run(4, preset="full")]
    assert Differences().of(runs) == {
        "run00001": "epochs=3 seed=0",
        "run00002": "epochs=2 seed=0",
        "run00003": "epochs=2 seed=7",
        "run00004": "",
    }


def test_they_are_computed_again_only_for_other_runs() -> None:
    differences, runs = Differences(), [run(1), run(2, "train.epochs=2")]
    first = differences.of(runs)
    assert differences.of([replace(one, epochs_done=1) for one in runs]) is first
    assert differences.of(runs[:1]) == {"run00001": ""}


def test_a_spec_that_is_no_spec_differs_by_nothing() -> None:
    assert Differences().of([replace(run(1), spec_json='{"tasks": [{"name": "x"}]}')]) == {"run00001": ""}


def test_spare_width_goes_to_names_and_differences() -> None:
    lines = snapshot(run_record(name="a-name-of-thirty-characters-ab"), run_record("run00002", "b")).lines
    told = {"run00001": "epochs=2", "run00002": "epochs=3"}
    for width in range(80, 260):
        columns = columns_for(lines, width, told)
        assert sum(column.cells + 2 for column in columns) + 5 <= width
    wide = {column.name: column.cells for column in columns_for(lines, 120, told)}
    assert (wide["differs by"], wide["run"] > 18) == (10, True)
    assert {column.name: column.cells for column in columns_for(lines, 200, told)}["run"] == 30
    assert "differs by" not in [column.name for column in columns_for(lines, 200)]


def test_the_table_tells_runs_apart() -> None:
    one, two = run_record("run00001", "lora-r12-1"), run_record("run00002", "lora-r12-4")
    told = {"run00001": "learning_rate=0.001", "run00002": "learning_rate=0.0005"}

    async def test(pilot: object, app: PeftbenchApp) -> None:
        assert "learning_rate=0.001" in row_of(app, "lora-r12-1")
        assert "learning_rate=0.0005" in row_of(app, "lora-r12-4")

    drive(test, Given(snapshot(one, two, differs=told)), size=(200, 36))
