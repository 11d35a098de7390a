"""Filter expressions over runs: fields, operators, words, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peftbench.analysis.run_filter import parsed
from peftbench.errors import UsageError
from peftbench.spec import resolve
from peftbench.store.rows import Run
from tests.factories import run_row


def run(preset: str = "dora-r12", *overrides: str, **changed: object) -> Run:
    spec = resolve(preset, overrides=overrides).spec
    fields = {"method": spec.method.name, "spec_json": spec.canonical_json(), "preset": preset, "name": f"{preset}-1"}
    return run_row("abcd2345", **{**fields, **changed})


RUN = run(tags=("baseline", "paper"), note="warm-up was too short", sweep="night", seed=3, dev_avg=0.71)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dora",
        "DORA",
        "dor12",  # letters left out
        "warm-up paper night",
        "method:dora",
        "method=dora rank>=12 rank<13 rank!=4 rank:12",
        "lr=2e-3 train.lr<0.01",
        "method.rank=12",
        "tag:base tag=paper -tag:old",
        "note:'too short'",
        "state:fin state=finished -state:failed",
        "seed=3 seed>2",
        "score>0.7",
        "targets=query targets=value",
        "batch_size=8 head.kind=linear",
        "-lora-r4 -words",
        "-failure:nan seed:3",
    ],
)
def test_it_matches(text: str) -> None:
    assert parsed(text).matches(RUN, "finished")


@pytest.mark.parametrize(
    "text",
    [
        "full",
        "method:lora",
        "method=dor",
        "rank>12",
        "rank!=12",
        "tag=base",
        "-tag:baseline",
        "state:failed",
        "seed:30",
        "score<0.7",
        "unknown:x",
        "name<3",
        "rd12",
        "dora missing",
    ],
)
def test_it_does_not_match(text: str) -> None:
    assert not parsed(text).matches(RUN, "finished")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rank>=", "it has no value after '>='"),
        ("rank>twelve", "'twelve' is not a number"),
        ("note:'a b", "No closing quotation"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(text)


def test_a_field_that_no_run_has_is_named_with_the_nearest() -> None:
    assert parsed("rnak>3").unknown([RUN]) == "no field 'rnak'; did you mean 'rank'?"
    assert parsed("rank>3 tag:x words").unknown([RUN]) is None
    assert parsed("rank>3").unknown([run("full")]) is not None
    assert parsed("rnak>3").unknown([]) is None


def test_runs_of_other_specs_are_told_apart() -> None:
    other = replace(RUN, spec_json=resolve("dora-r12", overrides=["method.rank=4"]).spec.canonical_json())
    assert [parsed("rank=4").matches(each, "finished") for each in (RUN, other)] == [False, True]
