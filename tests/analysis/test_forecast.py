"""Predicted duration of runs, from the most similar finished runs; no prediction without any."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.analysis.forecast import NOTHING_YET, PlannedRun, RunForecast, forecast, total, wall_s
from peftbench.store.rows import Run
from tests.factories import ON_CPU as CPU
from tests.factories import ON_GPU as GPU
from tests.factories import STARTED as START
from tests.factories import finished_run as run
from tests.factories import timestamp as stamp


def wanted(group: str = "lora", method: str = "lora", epochs: int = 3, workload: str = "quickstart") -> PlannedRun:
    return PlannedRun(group, workload, method, epochs)


def predict(one: PlannedRun, *runs: Run, host: str | None = None) -> tuple[float | None, str]:
    (found,) = forecast([one], runs, host)
    return found.wall_s, found.basis


def test_augmented_runs_are_predicted_from_such_runs_only() -> None:
    plain = run(30, group_hash="plain")
    spec = json.loads(plain.spec_json) | {"augment": {"method": "eda"}}
    augmented = run(300, group_hash="augmented", spec_json=json.dumps(spec))
    asked = replace(wanted("another"), augment="eda")
    assert predict(asked, plain) == (None, NOTHING_YET)
    assert predict(asked, plain, augmented)[0] == 300
    assert predict(wanted("another"), plain, augmented)[0] == 30
    assert PlannedRun.of(augmented).augment == "eda" and PlannedRun.of(plain).augment is None


class TestWallTime:
    def test_from_start_to_end(self) -> None:
        assert wall_s(run(34.25)) == 34.25

    @pytest.mark.parametrize(
        "changed",
        [
            {"state": "failed"},
            {"state": "running"},
            {"started_at": None},
            {"finished_at": None},
            {"epochs_done": 0},
            {"attempt": 2},
            {"finished_at": stamp(START)},
            {"finished_at": stamp(START - timedelta(hours=1))},
            {"started_at": "yesterday"},
            {"started_at": "2026-11-25T23:59:30"},
        ],
        ids=str,
    )
    def test_a_run_without_a_usable_duration(self, changed: dict[str, Any]) -> None:
        assert wall_s(run(**changed)) is None


class TestNearest:
    def test_the_same_spec_is_taken_as_it_is(self) -> None:
        runs = [run(30), run(40), run(90), run(1000, group_hash="other"), run(7, state="failed")]
        assert predict(wanted(), *runs) == (40, "from 3 runs of this spec")

    def test_else_the_same_method_by_its_epochs(self) -> None:
        runs = [run(30), run(100, epochs=5), run(999, method="full", group_hash="full")]
        found = predict(wanted("another rank", epochs=10), *runs)
        assert found == (150, "from 2 runs of lora on quickstart, scaled by epochs")

    def test_of_as_many_epochs_nothing_is_scaled(self) -> None:
        assert predict(wanted("another rank"), run(30)) == (30, "from 1 run of lora on quickstart")

    def test_else_other_methods_on_the_workload(self) -> None:
        runs = [run(30), run(60, method="full", group_hash="full"), run(1, workload="paper")]
        assert predict(wanted("d", "dora"), *runs) == (45, "from 2 runs of other methods on quickstart")

    def test_else_nothing(self) -> None:
        assert predict(wanted("d", "dora", workload="paper"), run(30)) == (None, NOTHING_YET)
        assert predict(wanted()) == (None, NOTHING_YET)

    def test_a_stored_run_can_be_predicted_too(self) -> None:
        queued = run(state="queued", started_at=None, finished_at=None, epochs_done=0)
        assert predict(PlannedRun.of(queued), queued, run(30)) == (30, "from 1 run of this spec")

    @pytest.mark.slow
    @given(st.lists(st.sampled_from(["lora", "full", "dora"]), max_size=6), st.sampled_from(["lora", "dora", "vera"]))
    def test_each_gets_the_prediction_that_it_gets_alone(self, methods: list[str], method: str) -> None:
        runs = [run(10 * (place + 1), method=name, group_hash=name) for place, name in enumerate(methods)]
        asked = [wanted(method, method), wanted(), wanted("new", method, 6)]
        assert forecast(asked, runs) == [forecast([one], runs)[0] for one in asked]


class TestMachine:
    def test_runs_of_this_machine_count_alone(self) -> None:
        assert predict(wanted(), run(30), run(5, host="there"), host="here") == (30, "from 1 run of this spec")

    def test_a_farther_run_of_this_machine_beats_a_nearer_one_elsewhere(self) -> None:
        found = predict(wanted(), run(30, group_hash="other"), run(5, host="there"), host="here")
        assert found == (30, "from 1 run of lora on quickstart")

    @pytest.mark.parametrize("host", ["there", None])
    def test_predictions_from_other_machines_say_so(self, host: str | None) -> None:
        found = predict(wanted(), run(5, host=host), host="here")
        assert found == (5, "from 1 run of this spec on another machine")

    def test_the_device_of_the_newest_run_counts(self) -> None:
        newest_first = [run(5, conditions=GPU), run(60, conditions=CPU)]
        assert predict(wanted(), *newest_first, host="here")[0] == 5
        assert predict(wanted(), *reversed(newest_first), host="here")[0] == 60

    def test_without_a_name_every_machine_counts(self) -> None:
        assert predict(wanted(), run(30), run(10, host="there")) == (20, "from 2 runs of this spec")


class TestTotal:
    def test_the_known_add_up_and_the_unknown_are_counted(self) -> None:
        found = total([RunForecast(10, ""), RunForecast(None, ""), RunForecast(2.5, "")])
        assert (found.wall_s, found.unknown, found.runs, found.known) == (12.5, 1, 3, True)

    def test_where_nothing_is_known(self) -> None:
        assert not total([RunForecast(None, "")]).known


def test_energy_is_judged_by_the_spec_else_by_the_method_scaled_by_epochs() -> None:
    import dataclasses

    from peftbench.analysis.forecast import energy_wh
    from tests.factories import run_row as run

    same = run("a", group_hash="g", epochs_done=2)
    method = run("b", group_hash="other", epochs_done=4)
    wanted = PlannedRun("g", "quickstart", "lora", 10)
    assert energy_wh([wanted], [(same, 3.0), (same, 5.0), (method, 100.0)]) == (4.0, 1)
    assert energy_wh([dataclasses.replace(wanted, group_hash="new")], [(method, 8.0)]) == (20.0, 1)
    assert energy_wh([wanted, dataclasses.replace(wanted, group_hash="x", method="full")], [(same, 3.0)]) == (3.0, 1)
    assert energy_wh([wanted], [(same, None)]) is None
