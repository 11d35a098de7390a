"""The study's values as data: complete, consistent, and defined in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peftbench.analysis.scores import leaderboard
from peftbench.spec import resolve
from peftbench.study import memory, published

ROOT = Path(__file__).parent.parent


def test_nine_rows_each_with_a_preset_that_is_what_the_row_says() -> None:
    assert len(published.rows()) == 9
    for row in published.rows():
        spec = resolve(row.preset, published.facts().workload).spec
        assert spec.method.name == row.method
        assert getattr(spec.method, "rank", row.rank) == row.rank
        assert (spec.augment is not None) == row.augmented
        assert spec.encoder.name == published.facts().encoder


def test_adapters_are_trained_at_the_printed_rate_and_the_two_others_swapped() -> None:
    rates = {row.preset: (row.lr, resolve(row.preset, "paper").spec.train.lr) for row in published.rows()}
    assert rates.pop("full") == (1e-3, 1e-5)
    assert rates.pop("last-layer-dropout") == (1e-5, 1e-3)
    assert set(rates.values()) == {(1e-4, 1e-4)}


@pytest.mark.parametrize("row", published.rows(), ids=lambda row: row.preset)
def test_the_average_is_the_plain_mean_of_its_row(row: published.PublishedRow) -> None:
    mean = sum(row.dev[task] for task in published.METRICS) / 3
    assert row.dev[published.DEV_AVG] == pytest.approx(mean, abs=5.1e-4)


def test_the_leaderboards_score_is_that_of_the_test_scores_and_not_of_dev() -> None:
    facts = published.facts()
    test = {task: (metric, facts.test[task]) for task, metric in published.METRICS.items()}
    assert leaderboard(test) == pytest.approx(facts.test["leaderboard"], abs=5e-4)
    dev = published.by_preset()[facts.test_preset].dev
    assert {task: dev[task] for task in published.METRICS} == {"sst": 0.519, "paraphrase": 0.892, "sts": 0.864}


def test_energy_of_an_iteration_is_power_over_speed() -> None:
    joules = [round(row.j_per_step, 1) for row in published.rows()]
    assert joules == [2.8, 14.4, 11.0, 11.4, 11.1, 11.7, 11.8, 13.6, 11.5]


def test_the_anatomy_takes_its_memory_from_here() -> None:
    theirs = {row.preset: row.vram_mib for row in published.rows() if not row.augmented}
    theirs["last-layer"] = theirs.pop("last-layer-dropout")
    assert {row.preset: row.vram_mib for row in memory.ROWS} == theirs


def test_no_module_repeats_a_figure_of_the_tables() -> None:
    figures = {str(row.vram_mib) for row in published.rows()} | {str(row.sst_its) for row in published.rows()}
    written = re.compile(rf"(?<![\d.])({'|'.join(map(re.escape, figures - {'21.0', '22.0'}))})(?![\d.])")
    for path in (ROOT / "peftbench").rglob("*.py"):
        assert not written.search(path.read_text("utf-8")), path
