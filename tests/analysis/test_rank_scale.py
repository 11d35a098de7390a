"""What the scale of an adapter does where ranks are compared, in words."""

from __future__ import annotations

import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.groups import Group, group_of
from peftbench.analysis.rank_scale import scale_notes
from peftbench.report.charts import runs
from peftbench.report.comparison import page
from peftbench.store.rows import RunRecord
from tests.factories import comparable_record as record

RANKS = (4, 16)


def group(records: list[RunRecord]) -> Group:
    return group_of(records[0].run.group_hash, records)


def groups(preset: str, *alphas: float | None) -> list[Group]:
    rows = []
    for rank, alpha in zip(RANKS, alphas, strict=True):
        overrides = (f"method.rank={rank}", *(() if alpha is None else (f"method.alpha={alpha}",)))
        rows.append(group([record(preset, overrides=overrides)]))
    return rows


@pytest.mark.parametrize(
    ("preset", "alphas", "note"),
    [
        ("lora-r12", (None, None), "lora: alpha = rank, so that the scale alpha / rank is 1 at every rank"),
        ("dora-r12", (8, 32), "dora: alpha = 2 rank, so that the scale alpha / rank is 2 at every rank"),
        (
            "lora-r12",
            (16, 16),
            "lora: alpha is fixed at 16, so that the scale alpha / rank goes from 4 at rank 4 to 1 at rank 16: rank "
            "and scale are confounded",
        ),
        (
            "lora-r12",
            (4, 32),
            "lora: alpha differs otherwise than the rank, so that the scale alpha / rank goes from 1 at rank 4 to 2 at "
            "rank 16: rank and scale are confounded",
        ),
        ("rslora-r12", (8, 8), "rslora: alpha is 8 at every rank, the scale alpha / sqrt(rank): as rsLoRA means it"),
        (
            "rslora-r12",
            (None, None),
            "rslora: alpha grows with the rank, so that the scale alpha / sqrt(rank) goes from 2 at rank 4 to 4 at "
            "rank 16: rank and scale are confounded",
        ),
    ],
)
def test_a_method_at_several_ranks(preset: str, alphas: tuple[float | None, ...], note: str) -> None:
    assert scale_notes(groups(preset, *alphas)) == (note,)


def test_one_rank_needs_no_note() -> None:
    both = [groups(preset, None, None)[0] for preset in ("lora-r12", "dora-r12")]
    assert scale_notes([*both, group([record("full")])]) == ()


def test_ranks_that_are_no_scale_of_a_fixed_rank_have_none() -> None:
    rows = [group([record("adalora-r12", overrides=(f"method.rank={rank}",))]) for rank in (12, 16)]
    assert scale_notes(rows) == ()
    rows = [group([record("vera-r256", overrides=(f"method.rank={rank}",))]) for rank in RANKS]
    assert scale_notes(rows) == ()


def test_comparison_and_rank_chart_carry_the_note() -> None:
    rows = groups("lora-r12", 16, 16)
    (note,) = scale_notes(rows)
    result = compare([each for own in rows for each in own.records])
    assert note in page(result).notes and note in page(result, full=True).notes
    assert note in runs.ranks(rows).notes
