"""End-to-end tests of `peftbench plot`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.inside import failed
from tests.cli.inside import invoke as cli
from tests.stored import store_scored_run as fill


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("plotted") / "runs.db"
    for preset in ("lora-r12", "dora-r1", "dora-r12"):
        for seed in range(2):
            fill(where, preset, seed)
    return where


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("curves", "solid: dev"),
        ("ranks", "95 % interval"),
        ("pareto", "Dev Avg against peak RSS"),
        ("memory", "no run has memory data"),
        ("power", "no power was measured"),
    ],
)
def test_every_kind_is_drawn_in_the_terminal(db: Path, kind: str, said: str) -> None:
    done = cli("plot", kind, "--plain", "--db", db)
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert max(map(len, done.output.splitlines())) <= 80


def test_groups_and_a_metric_can_be_named(db: Path) -> None:
    done = cli("plot", "ranks", "dora-r1", "dora-r12", "--metric", "sst", "--plain", "--db", db)
    assert "sst accuracy on dev by rank" in done.output and "lora" not in done.output
    code, message = failed("plot", "ranks", "--metric", "sts2", "--db", db)
    assert (code, "did you mean 'sts'" in message) == (2, True)


@pytest.mark.slow
def test_a_file_is_svg_or_png(db: Path, tmp_path: Path) -> None:
    assert failed("plot", "curves", "--out", tmp_path / "x.pdf", "--db", db)[0] == 2
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.svg"
    assert cli("plot", "curves", "--out", out, "--db", db).output == f"written: {out}\n"
    assert "<svg" in out.read_text("utf-8")
