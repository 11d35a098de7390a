"""Resolution of a word of the command line to one run, or to the group of all finished runs of one spec."""

from __future__ import annotations

import pytest

from peftbench.analysis.selection import finished_groups, select
from peftbench.analysis.settings import labels
from peftbench.errors import MissingError, UsageError
from peftbench.store.rows import Run
from tests.factories import comparable_record as record


def run(preset: str = "lora-r12", seed: int = 0, number: int = 1, *overrides: str, **changed: object) -> Run:
    name = changed.pop("name", f"{preset}-{number}")
    return record(preset, overrides, seed=seed, name=name, id=f"zz{preset[:2]}{number}{seed}", **changed).run


STORE = [
    run("dora-r12", 0, 1, state="running"),
    run("lora-r12", 1, 3),
    run("lora-r12", 0, 2),
    run("last-layer", 0, 1),
    run("full", 0, 1),
]


def test_an_id_or_a_name_is_that_run() -> None:
    for word in ("lora-r12-2", STORE[2].id):
        found = select(word, STORE)
        assert (found.label, [one.name for one in found.runs]) == ("lora-r12-2", ["lora-r12-2"])


def test_latest_is_the_newest_run() -> None:
    assert select("latest", STORE[1:]).label == "lora-r12-3"


def test_a_preset_is_all_its_finished_runs_by_seed() -> None:
    found = select("lora-r12", STORE)
    assert (found.label, [one.seed for one in found.runs]) == ("lora-r12", [0, 1])


def test_a_run_that_is_named_like_a_preset_goes_before_the_preset() -> None:
    assert select("lora-r12", [*STORE, run("full", 7, 9, name="lora-r12")]).runs[0].seed == 7


def test_a_unique_prefix_is_that_run() -> None:
    assert select("last", STORE).label == "last-layer-1"
    assert select("lora-r12-3", STORE).label == "lora-r12-3"
    with pytest.raises(UsageError, match="'l' matches 3 runs") as caught:
        select("l", STORE)
    assert "lora-r12" in caught.value.hint


def test_a_group_is_named_by_its_hash() -> None:
    group = STORE[1].group_hash
    assert [one.seed for one in select(group[:10], STORE).runs] == [0, 1]
    assert [one.seed for one in select(f"{group[:10]}/{'d' * 4}", STORE).runs] == [0, 1]
    with pytest.raises(MissingError):
        select(f"{group[:10]}/eeee", STORE)


def test_a_preset_of_several_specs_names_the_choices_and_settings_choose() -> None:
    store = [*STORE, run("lora-r12", 0, 8, "method.rank=4")]
    with pytest.raises(UsageError) as caught:
        select("lora-r12", store)
    first, *choices = caught.value.message.splitlines()
    assert first == "'lora-r12' matches 2 groups of finished runs:"
    assert choices[0].startswith(f"lora-r12 alpha=12.0 rank=12: group {STORE[1].group_hash[:12]}") or choices[
        0
    ].startswith("lora-r12 rank=12")
    assert [one.name for one in select("lora-r12 rank=4", store).runs] == ["lora-r12-8"]
    assert [one.seed for one in select("lora-r12 method.rank=12", store).runs] == [0, 1]


def test_a_preset_on_several_workloads_is_chosen_by_workload() -> None:
    store = [*STORE, run("lora-r12", 0, 8, workload="paper", group_hash="e" * 64)]
    with pytest.raises(UsageError) as caught:
        select("lora-r12", store)
    assert "--workload NAME" in caught.value.hint
    assert "workload paper, 1 run" in caught.value.message
    assert [one.name for one in select("lora-r12", store, "paper").runs] == ["lora-r12-8"]


def test_a_preset_on_other_data_is_another_group() -> None:
    store = [*STORE, run("lora-r12", 0, 8, data_hash="e" * 64)]
    with pytest.raises(UsageError, match="matches 2 groups"):
        select("lora-r12", store)
    assert select(f"{STORE[1].group_hash[:12]}/e", store).runs[0].name == "lora-r12-8"


def test_of_a_seed_that_ran_twice_the_newest_counts() -> None:
    again = run("lora-r12", 0, 9, created_at="2026-02-01T10:00:00.000Z")
    found = select("lora-r12", [again, *STORE])
    assert [one.name for one in found.runs] == ["lora-r12-9", "lora-r12-3"]
    assert [one.name for one in found.repeats] == ["lora-r12-2"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dora-r12", "no run of dora-r12 has finished: dora-r12-1: running"),
        ("lora-r12 rank=99", "no run of preset lora-r12 has rank=99"),
        ("lora-r21", "did you mean 'lora-r12'"),
        ("", "no run, preset or group matches ''"),
    ],
)
def test_no_match_is_an_error(word: str, said: str) -> None:
    with pytest.raises(MissingError, match=said.replace("?", r"\?")):
        select(word, STORE)


def test_a_condition_without_a_value_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        select("lora-r12 rank", STORE)


def test_an_empty_store_says_so() -> None:
    with pytest.raises(MissingError, match="no runs yet"):
        select("lora-r12", [])


def test_all_finished_groups_have_names_of_their_own() -> None:
    store = [*STORE, run("lora-r12", 0, 8, "train.epochs=2"), run("lora-r12", 0, 9, data_hash="e" * 64)]
    names = [one.label for one in finished_groups(store)]
    assert len(set(names)) == len(names) == 5
    assert "lora-r12 epochs=2" in names
    assert sum(len(one.runs) for one in finished_groups(store)) == 6


def test_keys_of_the_same_last_part_are_written_out() -> None:
    found = labels([run("lora-r12", 0, 1, "head.dropout=0.5"), run("lora-r12", 0, 2, "method.dropout=0.5")])
    assert all("head.dropout=" in name and "method.dropout=" in name for name in found)
