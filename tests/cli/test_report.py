"""End-to-end tests of `peftbench report study`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftbench.jobs.liveness import this_process
from peftbench.spec import resolve
from peftbench.store.rows import Epoch, EpochResult, Phase, Prediction, Score, TaskBest, now
from peftbench.store.run_log import RunLog
from peftbench.store.writer import NewRun, Writer
from tests.cli.inside import failed
from tests.cli.inside import invoke as cli
from tests.stored import store_scored_run as fill


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("studied") / "runs.db"
    for preset in ("last-layer", "full", "lora-r12", "dora-r1", "dora-r12"):
        for seed in range(2):
            fill(where, preset, seed)
    return where


@pytest.mark.slow
def test_the_report_says_first_on_what_it_is(db: Path) -> None:
    done = cli("report", "study", "--plain", "--db", db)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("NOT the study's workload")
    assert "adapters match full fine-tuning" in done.output


@pytest.mark.slow
def test_json_is_json_and_two_formats_are_refused(db: Path) -> None:
    found = json.loads(cli("report", "study", "--json", "--db", db).output)
    assert len(found["claims"]) == 9
    assert failed("report", "study", "--json", "--markdown", "--db", db)[0] == 2


REORDERED = """
[encoder]
name = "all-MiniLM-L6-v2"
pooling = "mean"
[train]
epochs = 3
[eval]
train_examples = 200
[adjust.dora.train]
lr = 2e-3
[tasks.sts.source]
type = "quickstart"
[tasks.sst.source]
type = "quickstart"
[tasks.paraphrase.source]
type = "quickstart"
"""


def stored(db: Path, workload: str, seed: int, last_bits: float = 0.0) -> None:
    """Store a finished DoRA run whose predictions do not depend on the order of its tasks."""
    resolved = resolve("dora-r12", workload, seed=seed)
    new = NewRun(resolved.spec.canonical_json(), resolved.spec.hash(), resolved.spec.group_hash(), resolved.origins)
    with Writer(db) as writer:
        writer.create_runs([new])
        writer.start(new.id, None)
    names = [task.name for task in resolved.spec.tasks]
    with RunLog(db, new.id) as log:
        log.claim(this_process())
        log.describe(
            adapter_weights=dict.fromkeys(names, 100), data_hash="".join(names), conditions={"device_type": "cpu"}
        )
        predictions = [
            Prediction(task, 1, str(n), n % 2, n % 3 + len(task) + last_bits) for task in names for n in range(40)
        ]
        scores = [
            Score(1, task.name, split, task.headline, 0.1 * len(task.name), None, 1.0, 40)
            for task in resolved.spec.tasks
            for split in ("train", "dev")
        ]
        bests = [TaskBest(task, 1, 0.7) for task in names]
        phases = [Phase("train", 1, task, None, 10.0, 40, 320, 900) for task in names]
        epoch = Epoch(1, 0.7, 0.75, None, now())
        log.put_epoch(EpochResult(epoch, scores, phases, 1, bests, predictions))
        log.finish("finished")


@pytest.mark.parametrize(("last_bits", "standing"), [(0.0, "reproduced"), (1e-12, "contradicted")])
def test_two_orders_of_tasks_are_looked_for_in_other_workloads_too(
    last_bits: float, standing: str, tmp_path: Path
) -> None:
    """A custom workload file can change the task order."""
    other, db = tmp_path / "other-order.toml", tmp_path / "runs.db"
    other.write_text(REORDERED, "utf-8")
    for seed in range(2):
        stored(db, str(other), seed, last_bits)
        stored(db, "quickstart", seed)
    claims = json.loads(cli("report", "study", "--json", "--workload", "quickstart", "--db", db).output)["claims"]
    order = next(one for one in claims if one["claim"] == "task-order")
    assert order["standing"] == standing
    (evidence,) = order["evidence"]
    assert "(sts, sst, paraphrase)" in evidence["of"] or "(sts, sst, paraphrase)" in evidence["against"]
    assert (evidence["estimate"] == 0.0) == (standing == "reproduced")


def test_an_unknown_workload_and_an_empty_store_say_what_to_do(db: Path, tmp_path: Path) -> None:
    code, message = failed("report", "study", "--workload", "quickstrat", "--db", db)
    assert (code, "did you mean" in message) == (3, True)
    assert failed("report", "study", "--db", tmp_path / "none.db")[0] == 3


def test_runs_of_other_presets_alone_are_no_study(tmp_path: Path) -> None:
    fill(tmp_path / "runs.db", "ia3", 0)
    code, message = failed("report", "study", "--db", tmp_path / "runs.db")
    assert (code, "of a preset of the study" in message) == (3, True)


@pytest.mark.slow
def test_html_is_written_and_says_where(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = cli("report", "study", "--html", out, "--db", db)
    assert done.output == f"written: {out}\n"
    assert out.read_text("utf-8").startswith("<!DOCTYPE html>")
    compared = cli("compare", "lora-r12", "dora-r12", "--html", out, "--db", db)
    assert compared.exit_code == 0
    assert "against<br>lora-r12<" in out.read_text("utf-8")


@pytest.mark.slow
def test_html_that_cannot_be_written_is_an_error(db: Path, tmp_path: Path) -> None:
    code, message = failed("report", "study", "--html", tmp_path / "no" / "x.html", "--db", db)
    assert (code, "cannot be written" in message) == (3, True)
    assert failed("compare", "lora-r12", "dora-r12", "--html", tmp_path / "x", "--json", "--db", db)[0] == 2
