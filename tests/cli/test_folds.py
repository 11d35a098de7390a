"""`split.folds` on the command line: a run for each fold, queued as one group, named and labelled by its fold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peftbench.analysis.forecast import forecast
from peftbench.cli import run as run_command
from peftbench.errors import UsageError
from peftbench.jobs.queue import enqueue
from peftbench.report.sweep import plan_page, wanted
from peftbench.report.tables import run_title
from peftbench.spec import Resolved, resolve
from peftbench.spec.folds import of_each_fold
from peftbench.spec.sweep import plan, read_sweep
from peftbench.store.reader import Reader
from peftbench.store.rows import RunRecord
from peftbench.store.writer import NewRun, Writer
from peftbench.tui.form import Form, summary
from peftbench.tui.form import plan as plan_of_form
from tests.cli.inside import failed, invoke
from tests.factories import comparable_record


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Fake queue that records the arguments of each call."""
    calls: list[dict[str, Any]] = []

    def enqueue(database: Path, runs: Sequence[Resolved], **given: Any) -> list[str]:
        calls.append({"runs": list(runs), **given})
        return [f"run{place:05}" for place in range(len(runs))]

    monkeypatch.setattr("peftbench.jobs.queue.enqueue", enqueue)
    return calls


def folds_and_seeds(runs: Sequence[Resolved]) -> list[tuple[int, int | None]]:
    return [(run.spec.seed, run.spec.split.fold) for run in runs]


class TestRun:
    def test_folds_without_a_fold_are_a_run_each_in_one_group(self, queued: list[dict[str, Any]]) -> None:
        done = invoke("run", "-p", "lora-r12", "--set", "split.folds=3", "--seeds", "2", "--detach")
        assert done.exit_code == 0, done.output
        (call,) = queued
        assert folds_and_seeds(call["runs"]) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
        assert len({run.spec.group_hash() for run in call["runs"]}) == 1
        assert call["sweep"].startswith("lora-r12-")

    def test_of_one_seed_they_are_a_group_as_well(self, queued: list[dict[str, Any]]) -> None:
        invoke("run", "-p", "lora-r12", "--set", "split.folds=3", "--detach")
        assert len(queued[0]["runs"]) == 3 and queued[0]["sweep"] is not None

    def test_a_fold_is_one_run(self, queued: list[dict[str, Any]]) -> None:
        own = ("--set", "split.folds=3", "--set", "split.fold=1", "--name", "one")
        assert invoke("run", "-p", "lora-r12", *own, "--detach").exit_code == 0
        assert folds_and_seeds(queued[0]["runs"]) == [(0, 1)] and queued[0]["sweep"] is None

    def test_a_name_is_of_one_run(self, queued: list[dict[str, Any]]) -> None:
        code, told = failed("run", "-p", "lora-r12", "--set", "split.folds=3", "--name", "one")
        assert (code, queued) == (2, []) and "--name applies to one run" in told


def test_a_sweep_has_every_row_with_every_fold(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('presets = ["full", "lora-r12"]\nseeds = 2\n[set]\n"split.folds" = 3\n')
    planned = plan(read_sweep(str(tmp_path / "mine.toml")))
    assert len(planned.runs) == 12 and not planned.repeated
    pairs = folds_and_seeds([run.resolved for run in planned.runs])
    assert {(run.label, *pair) for run, pair in zip(planned.runs, pairs, strict=True)} == {
        (label, seed, fold) for label in ("full", "lora-r12") for seed in (0, 1) for fold in range(3)
    }
    order = [(run.label, *pair) for run, pair in zip(planned.runs, pairs, strict=True)]
    assert order[:4] == [("full", 0, 0), ("lora-r12", 0, 0), ("lora-r12", 0, 1), ("full", 0, 1)]
    predicted = forecast([wanted(run.resolved.spec) for run in planned.runs], [], "here")
    assert "12 runs (2 rows, seeds 0-1, 3 folds each)" in str(plan_page(planned, predicted)[0])


def test_a_sweep_of_too_many_folds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('presets = ["full"]\nseeds = 101\n[set]\n"split.folds" = 100\n')
    with pytest.raises(UsageError, match="10,100 runs with all folds"):
        plan(read_sweep(str(tmp_path / "mine.toml")))


def test_the_form_of_a_new_run_has_every_fold() -> None:
    runs = plan_of_form(Form("lora-r12", "quickstart", "", "split.folds=3", "5", "2"))
    assert folds_and_seeds(runs) == [(seed, fold) for seed in (5, 6) for fold in range(3)]
    assert "6 runs, seeds 5 to 6, each of 3 folds" in summary(runs)
    assert "3 runs, seed 5, each of 3 folds" in summary(runs[:3])


def test_a_run_without_its_fold_is_not_queued(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"split\.folds=4 is a run for each fold") as caught:
        enqueue(tmp_path / "runs.db", [resolve("lora-r12", overrides=["split.folds=4"])])
    assert "split.fold=0 to 3" in str(caught.value.hint)
    assert not (tmp_path / "runs.db").exists()


def test_names_and_titles_have_the_fold_counted_from_one(tmp_path: Path) -> None:
    runs = [run.spec for run in of_each_fold(resolve("lora-r12", overrides=["split.folds=3"]))]
    new = [NewRun(spec.canonical_json(), spec.hash(), spec.group_hash(), {}) for spec in (*runs, runs[1])]
    with Writer(tmp_path / "runs.db") as writer:
        writer.create_runs(new)
    with Reader(tmp_path / "runs.db") as reader:
        stored = {run.name: run for run in reader.runs()}
    assert set(stored) == {*(f"lora-r12-fold{fold}of3-1" for fold in (1, 2, 3)), "lora-r12-fold2of3-2"}
    assert run_title(stored["lora-r12-fold2of3-1"]).plain.endswith("seed 0, fold 2 of 3")
    assert json.loads(stored["lora-r12-fold2of3-1"].spec_json)["split"]["fold"] == 1


class TestAfterwards:
    """What `run` prints when all folds have finished."""

    @staticmethod
    def shown(records: list[RunRecord], capsys: pytest.CaptureFixture[str]) -> str:
        by_id = {record.run.id: record for record in records}
        reader: Any = SimpleNamespace(record=lambda run, predictions: by_id[run.id])
        run_command._show_comparison(reader, [record.run for record in records])
        return capsys.readouterr().out

    def test_the_mean_of_one_group_is_over_its_folds(self, capsys: pytest.CaptureFixture[str]) -> None:
        records = [of_fold(fold, value) for fold, value in enumerate((0.5, 0.6, 0.7))]
        assert "lora-r12: test avg 0.600 ±0.100 over 3 folds" in self.shown(records, capsys)
        assert "compare lora-r12 OTHER" in run_command._next([record.run for record in records], None)

    def test_two_groups_are_compared_by_their_presets(self, capsys: pytest.CaptureFixture[str]) -> None:
        records = [of_fold(fold, 0.5 + fold * 0.05 + gain, preset) for preset, gain in (("lora-r12", 0), ("full", 0.1))
                   for fold in range(3)]  # fmt: skip
        assert "3-fold cross-validation" in self.shown(records, capsys)
        assert run_command._next([record.run for record in records], None) == "again: peftbench compare lora-r12 full"


def of_fold(fold: int, value: float, preset: str = "lora-r12") -> RunRecord:
    made = comparable_record(preset, ("split.folds=3", f"split.fold={fold}"), name=f"{preset}-{fold}")
    scores = tuple(replace(score, split=split, value=value) for score in made.scores for split in ("dev", "test"))
    return replace(made, scores=scores)
