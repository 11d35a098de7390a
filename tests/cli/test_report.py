"""`peftbench report study` as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_compare import cli, failed, fill


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("studied") / "runs.db"
    for preset in ("last-layer", "full", "lora-r12", "dora-r1", "dora-r12"):
        for seed in range(2):
            fill(where, preset, seed)
    return where


def test_the_report_says_first_on_what_it_is(db: Path) -> None:
    done = cli("report", "study", "--plain", "--db", db)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("NOT the study's workload")
    assert "adapters match full fine-tuning" in done.output


def test_json_is_json_and_two_formats_are_refused(db: Path) -> None:
    found = json.loads(cli("report", "study", "--json", "--db", db).output)
    assert len(found["claims"]) == 7
    assert failed("report", "study", "--json", "--markdown", "--db", db)[0] == 2


def test_an_unknown_workload_and_an_empty_store_say_what_to_do(db: Path, tmp_path: Path) -> None:
    code, message = failed("report", "study", "--workload", "quickstrat", "--db", db)
    assert (code, "did you mean" in message) == (3, True)
    assert failed("report", "study", "--db", tmp_path / "none.db")[0] == 3


def test_runs_of_other_presets_alone_are_no_study(tmp_path: Path) -> None:
    fill(tmp_path / "runs.db", "ia3", 0)
    code, message = failed("report", "study", "--db", tmp_path / "runs.db")
    assert (code, "of a preset of the study" in message) == (3, True)


def test_html_is_written_and_says_where(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = cli("report", "study", "--html", out, "--db", db)
    assert done.output == f"written: {out}\n"
    assert out.read_text("utf-8").startswith("<!DOCTYPE html>")
    compared = cli("compare", "lora-r12", "dora-r12", "--html", out, "--db", db)
    assert compared.exit_code == 0
    assert "dora-r12 against lora-r12" in out.read_text("utf-8")


def test_html_that_cannot_be_written_is_an_error(db: Path, tmp_path: Path) -> None:
    code, message = failed("report", "study", "--html", tmp_path / "no" / "x.html", "--db", db)
    assert (code, "cannot be written" in message) == (3, True)
    assert failed("compare", "lora-r12", "dora-r12", "--html", tmp_path / "x", "--json", "--db", db)[0] == 2
