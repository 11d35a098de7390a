"""The life cycle of a run in the store, its rows, how it is found, and the views."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peftbench.errors import MissingError, UsageError
from peftbench.report.tables import run_list
from peftbench.store.reader import Reader
from peftbench.store.rows import Epoch, Phase, Prediction, Run, SampleRow, Score, TaskBest, TrainPoint, Worker
from peftbench.store.run_log import TakenOver
from peftbench.text import clean
from tests.printing import printed
from tests.store.life import WORKER, Life
from tests.stored import PROGRESS, create
from tests.stored import TWO_TASKS as TASKS
from tests.stored import spec_json as spec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Life]:
    life = Life(path)
    yield life
    life.close()


@pytest.fixture
def reader(path: Path, writer: Life) -> Iterator[Reader]:
    with Reader(path) as reader:
        yield reader


def dev(epoch: int, task: str, value: float | None, reason: str | None = None, split: str = "dev") -> Score:
    return Score(epoch, task, split, "pearson" if task == "sts" else "accuracy", value, reason, 0.5, 2)


def predictions(epoch: int, tasks: Sequence[str] = TASKS) -> list[Prediction]:
    return [Prediction(task, epoch, f"{task}-{n}", float(n), float(epoch)) for task in tasks for n in range(2)]


def put_epoch(
    writer: Life,
    run_id: str,
    number: int,
    values: dict[str, float | None],
    *,
    best: int | None,
    bests: dict[str, int] | None = None,
    phases: Sequence[Phase] = (),
) -> None:
    known = [value for value in values.values() if value is not None]
    average = sum(known) / len(known) if len(known) == len(values) else None
    writer.put_epoch(
        run_id,
        Epoch(number, average, average, None if average is not None else "a metric is missing", f"t{number}"),
        [dev(number, task, value, None if value is not None else "constant") for task, value in values.items()],
        phases,
        best_epoch=best,
        task_bests=[TaskBest(task, epoch, 0.5) for task, epoch in (bests or {}).items()],
        predictions=predictions(number, list(values)),
    )


def rows(path: Path, sql: str, *values: object) -> list[sqlite3.Row]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def finished(writer: Life, average: float | None, *, data: str = "d", **described: object) -> str:
    run_id = create(writer, **described)
    writer.claim(run_id, WORKER)
    writer.describe(run_id, data_hash=data)
    put_epoch(writer, run_id, 1, {"sst": average}, best=1)
    writer.finish(run_id, "finished")
    return run_id


class TestLife:
    def test_a_run_from_its_creation_to_its_end(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer, seed=3)
        run = reader.run(run_id)
        assert (run.state, run.name, run.preset, run.workload) == ("queued", "lora-r12-1", "lora-r12", "quickstart")
        assert (run.method, run.encoder, run.seed, run.epochs_planned) == ("lora", "tiny", 3, 3)
        assert (run.worker, run.started_at, run.best_epoch, run.data_hash) == (None, None, None, None)
        assert run.origins == {"seed": "--seed"}
        assert run.spec_json == spec(seed=3)
        assert reader.progress(run_id) is None

        assert writer.claim(run_id, WORKER) is True
        run = reader.run(run_id)
        assert (run.state, run.worker) == ("running", WORKER)
        assert run.started_at >= run.created_at

        writer.describe(run_id, data_hash="d", weights_total=10, weights_trainable=4, adapter_weights={"sst": 2})
        writer.put_phases(run_id, [Phase("load", None, None, None, 1.5)])
        assert writer.put_progress(run_id, PROGRESS) is False
        assert reader.progress(run_id) == PROGRESS
        writer.put_train_points(run_id, [TrainPoint(10, 1, "sst", 10, 1.25), TrainPoint(15, 1, "sst", 5, 1.0)])
        writer.put_event(run_id, "data", "2 rows left out")
        put_epoch(writer, run_id, 1, {"sst": 0.5, "sts": 0.25}, best=1, bests={"sst": 1, "sts": 1})

        writer.finish(run_id, "finished")
        run = reader.run(run_id)
        assert (run.state, run.reason, run.exit_code, run.epochs_done, run.best_epoch) == ("finished", None, 0, 1, 1)
        assert (run.dev_avg, run.leaderboard) == (0.375, 0.375)
        assert (run.weights_total, run.weights_trainable, run.adapter_weights) == (10, 4, {"sst": 2})
        assert run.finished_at >= run.started_at
        assert reader.progress(run_id) is None

        record = reader.record(run, predictions=True)
        assert record.tasks == TASKS
        assert [epoch.epoch for epoch in record.epochs] == [1]
        assert record.score("sst").value == 0.5
        assert record.score("sst", "train") is None
        assert [phase.phase for phase in record.phases] == ["load"]
        told = ["queued", "starting", "running", "2 rows left out", "finished"]
        assert [event.message for event in record.events] == told
        assert [event.sequence for event in record.events] == [1, 2, 3, 1_000_001, 4]
        assert record.predictions["sts"] == tuple(predictions(1)[2:])
        assert reader.record(run).predictions == {}

    def test_a_run_is_claimed_once(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        assert writer.claim(run_id, WORKER)
        assert not writer.claim(run_id, Worker(1, 1.0, "other", "other"))
        assert reader.run(run_id).worker == WORKER
        assert not writer.claim("no-such-run", WORKER)

    def test_a_run_that_ended_before_its_claim_is_not_claimed(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        writer.end(run_id, "failed", "its worker could not be started", exit_code=1, failure="defect")
        assert not writer.claim(run_id, WORKER)
        run = reader.run(run_id)
        assert (run.state, run.failure, run.exit_code) == ("failed", "defect", 1)

    def test_the_first_end_is_kept(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        writer.claim(run_id, WORKER)
        writer.finish(run_id, "stopped", "asked to stop", 130)
        first = reader.run(run_id)
        with pytest.raises(TakenOver, match="is stopped already"):
            writer.finish(run_id, "finished")
        assert not writer.end(run_id, "failed", "late")
        assert reader.run(run_id) == first
        assert (first.state, first.reason, first.exit_code) == ("stopped", "asked to stop", 130)
        assert [event.message for event in reader.record(first).events][-1] == "stopped: asked to stop"

    def test_a_stop_reaches_the_worker_with_its_next_write(self, writer: Life) -> None:
        run_id = create(writer)
        writer.claim(run_id, WORKER)
        assert writer.put_progress(run_id, PROGRESS) is False
        writer.request_stop(run_id)
        assert writer.put_progress(run_id, PROGRESS) is True

    def test_a_stop_takes_a_run_from_the_queue_at_once(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        assert writer.request_stop(run_id) == "stopped"
        assert reader.run(run_id).state == "stopped"
        assert writer.request_stop(run_id) is None

    def test_a_late_write_to_an_ended_run_is_refused_and_shows_no_progress(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        writer.claim(run_id, WORKER)
        writer.finish(run_id, "stopped", "killed", 130)
        with pytest.raises(TakenOver):
            writer.put_progress(run_id, PROGRESS)
        assert reader.progress(run_id) is None

    def test_conditions_are_merged_and_unserialisable_values_are_unknown(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        writer.add_conditions(run_id, {"device": "cpu", "threads": 2, "malloc": {}})
        writer.add_conditions(run_id, {"threads": 4, "cuda": None})
        assert reader.run(run_id).conditions == {"device": "cpu", "threads": 4, "malloc": {}, "cuda": None}

    @pytest.mark.parametrize("state", ["done", "", "interrupted"])
    def test_there_are_no_other_states(self, writer: Life, reader: Reader, state: str) -> None:
        run_id = create(writer)
        with pytest.raises(sqlite3.IntegrityError):
            writer.finish(run_id, state)
        assert reader.run(run_id).state == "running"


class TestNames:
    def test_the_next_free_number_of_the_preset(self, writer: Life, reader: Reader) -> None:
        for name in (None, None, "lora-r12-4", None, None):
            create(writer, name)
        create(writer, preset="full")
        names = {run.name for run in reader.runs()}
        assert names == {"lora-r12-1", "lora-r12-2", "lora-r12-3", "lora-r12-4", "lora-r12-5", "full-1"}

    @pytest.mark.parametrize("name", ["a" * 200, "ä" * 200])
    def test_a_name_has_200_characters_at_most(self, writer: Life, reader: Reader, name: str) -> None:
        assert reader.run(create(writer, name)).name == name
        with pytest.raises(UsageError, match="201 characters; a run's name has at most 200"):
            create(writer, name + name[0])
        assert len(reader.runs()) == 1

    def test_a_name_made_from_a_long_preset_is_no_longer(self, writer: Life, reader: Reader) -> None:
        ids = [create(writer, preset="p" * 250) for _ in range(2)]
        assert [reader.run(run_id).name for run_id in ids] == ["p" * 180 + "-1", "p" * 180 + "-2"]

    def test_a_name_is_taken_once(self, writer: Life, reader: Reader) -> None:
        create(writer, "mine")
        with pytest.raises(UsageError, match="--name mine: another run has that name"):
            create(writer, "mine")
        assert len(reader.runs()) == 1

    @pytest.mark.parametrize("name", ["latest", "half \udcff pair"])
    def test_a_name_that_could_not_be_used_is_refused(self, writer: Life, reader: Reader, name: str) -> None:
        with pytest.raises(UsageError):
            create(writer, name)
        assert reader.runs() == []

    @pytest.mark.parametrize(
        "name",
        ["[red]x[/]", "[@click=app.x]y", "'; DROP TABLE runs; --", "%s", "日本"],
    )
    def test_a_strange_name_is_stored_as_it_is_and_shown_clean(self, writer: Life, reader: Reader, name: str) -> None:
        run_id = create(writer, name)
        assert reader.find(name).id == run_id
        shown = printed(run_list(reader.runs()), 120)
        assert clean(name) in shown and shown.replace("\n", "").isprintable()
        create(writer, name + "2")
        with pytest.raises(UsageError) as caught:
            create(writer, name)
        assert "another run has that name" in caught.value.message

    @pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "two\nlines", "", "\u202egnp"])
    def test_a_name_that_cannot_be_printed_is_refused(self, writer: Life, reader: Reader, name: str) -> None:
        with pytest.raises(UsageError, match="unprintable characters"):
            create(writer, name)
        assert reader.runs() == []

    def test_an_unprintable_stored_name_is_shown_clean(self, path: Path, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE runs SET name = ?", ("\x1b[31mred\nline",))
        shown = printed(run_list(reader.runs()), 120)
        assert "red line" in shown and "\x1b" not in shown
        assert reader.run(run_id).name == "\x1b[31mred\nline"


class TestEpochs:
    def kept(self, path: Path) -> set[tuple[str, int]]:
        return {(row["task"], row["epoch"]) for row in rows(path, "SELECT DISTINCT task, epoch FROM predictions")}

    def test_predictions_of_the_best_epochs_only_are_kept(self, path: Path, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        put_epoch(writer, run_id, 1, {"sst": 0.5, "sts": 0.5}, best=1, bests={"sst": 1, "sts": 1})
        assert self.kept(path) == {("sst", 1), ("sts", 1)}
        put_epoch(writer, run_id, 2, {"sst": 0.4, "sts": 0.9}, best=2, bests={"sts": 2})
        assert self.kept(path) == {("sst", 1), ("sst", 2), ("sts", 2)}
        put_epoch(writer, run_id, 3, {"sst": 0.1, "sts": 0.1}, best=2)
        assert self.kept(path) == {("sst", 1), ("sst", 2), ("sts", 2)}
        put_epoch(writer, run_id, 4, {"sst": 0.9, "sts": 0.95}, best=4, bests={"sst": 4, "sts": 4})
        assert self.kept(path) == {("sst", 4), ("sts", 4)}
        run = reader.run(run_id)
        record = reader.record(run, predictions=True)
        assert (run.best_epoch, run.epochs_done, run.dev_avg) == (4, 4, 0.925)
        assert {task: {row.epoch for row in found} for task, found in record.predictions.items()} == {
            "sst": {4},
            "sts": {4},
        }
        assert {best.task: best.epoch for best in record.task_bests} == {"sst": 4, "sts": 4}

    def test_the_scores_of_the_run_are_those_of_its_best_epoch(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        put_epoch(writer, run_id, 1, {"sst": 0.75}, best=1)
        put_epoch(writer, run_id, 2, {"sst": 0.25}, best=1)
        run = reader.run(run_id)
        assert (run.dev_avg, run.best_epoch, run.epochs_done) == (0.75, 1, 2)
        record = reader.record(run)
        assert record.score("sst").value == 0.75
        assert record.score("sst", epoch=2).value == 0.25

    def test_a_metric_that_does_not_exist_is_null_with_its_reason(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        put_epoch(writer, run_id, 1, {"sst": 0.5, "sts": None}, best=None)
        run = reader.run(run_id)
        assert (run.best_epoch, run.dev_avg, run.epochs_done) == (None, None, 1)
        record = reader.record(run, predictions=True)
        score = record.score("sts", epoch=1)
        assert (score.value, score.reason) == (None, "constant")
        assert record.score("sts") is None
        assert record.epochs[0].reason == "a metric is missing"
        assert record.predictions == {}

    @pytest.mark.parametrize("value", [None, float("nan")])
    def test_a_metric_without_value_needs_a_reason_and_nothing_of_such_an_epoch_stays(
        self, path: Path, writer: Life, reader: Reader, value: float | None
    ) -> None:
        run_id = create(writer)
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            writer.put_epoch(
                run_id,
                Epoch(1, 0.5, 0.5, None, "t"),
                [dev(1, "sst", 0.5), dev(1, "sts", value)],
                [Phase("train", 1, "sst", None, 1.0)],
                best_epoch=1,
                task_bests=[TaskBest("sst", 1, 0.5)],
                predictions=predictions(1),
            )
        for table in ("epochs", "scores", "phases", "task_bests", "predictions"):
            assert rows(path, f"SELECT * FROM {table}") == []
        assert reader.run(run_id).epochs_done == 0
        put_epoch(writer, run_id, 1, {"sst": 0.5}, best=1)
        assert reader.run(run_id).epochs_done == 1

    def test_a_repeated_epoch_replaces_itself(self, path: Path, writer: Life, reader: Reader) -> None:
        """A worker that is killed between storing an epoch and its checkpoint trains the epoch again."""
        run_id = create(writer)
        measured = [Phase("train", 1, "sst", None, 2.0), Phase("eval", 1, "sst", "dev", 1.0)]
        put_epoch(writer, run_id, 1, {"sst": 0.5}, best=1, phases=measured)
        put_epoch(writer, run_id, 1, {"sst": 0.75}, best=1, phases=measured[:1])
        record = reader.record(reader.run(run_id), predictions=True)
        assert [score.value for score in record.scores] == [0.75]
        assert [phase.phase for phase in record.phases] == ["train"]
        assert len(record.predictions["sst"]) == 2
        assert len(record.epochs) == 1

    def test_more_predictions_than_a_statement_has_variables(self, writer: Life, reader: Reader) -> None:
        run_id = create(writer)
        many = [Prediction("sst", 1, str(n), 0.0, n / 7) for n in range(5_000)]
        writer.put_epoch(run_id, Epoch(1, 0.5, 0.5, None, "t"), [], [], best_epoch=1, task_bests=[], predictions=many)
        assert reader.record(reader.run(run_id), predictions=True).predictions["sst"] == tuple(many)

    def test_runs_do_not_touch_each_others_rows(self, path: Path, writer: Life, reader: Reader) -> None:
        one, other = create(writer), create(writer)
        for run_id in (one, other):
            put_epoch(writer, run_id, 1, {"sst": 0.5}, best=1)
        put_epoch(writer, one, 2, {"sst": 0.75}, best=2)
        assert reader.run(other).best_epoch == 1
        assert len(reader.record(reader.run(other), predictions=True).predictions["sst"]) == 2


class TestFinding:
    def test_by_id_name_prefix_and_latest(self, writer: Life, reader: Reader) -> None:
        first, second, third = create(writer, "alpha"), create(writer, "alpine"), create(writer, "lone")
        assert reader.find(first).name == "alpha"
        assert reader.find("alpine").id == second
        assert reader.find("lo").id == third  # no id has this prefix: ids contain neither l nor o
        assert reader.find(second[:7]).id == second
        assert reader.find("latest").id == third
        assert [run.id for run in reader.runs()] == [third, second, first]

    def test_an_exact_name_is_not_ambiguous(self, writer: Life, reader: Reader) -> None:
        exact = create(writer, "lora-1")
        create(writer, "lora-12")
        assert reader.find("lora-1").id == exact

    def test_several_matches_are_listed(self, writer: Life, reader: Reader) -> None:
        for number in range(12):
            create(writer, f"seed-{number}")
        with pytest.raises(UsageError, match="matches 12 runs") as caught:
            reader.find("seed")
        assert "…" in caught.value.message
        assert reader.runs()[0].id in caught.value.message

    def test_no_match_suggests_the_nearest(self, writer: Life, reader: Reader) -> None:
        create(writer, "lora-r12-1")
        with pytest.raises(MissingError, match="no run has the id or name 'lora-r21-1'; did you mean 'lora-r12-1'"):
            reader.find("lora-r21-1")
        with pytest.raises(MissingError, match="no run"):
            reader.find("")

    def test_a_run_that_was_deleted_is_missing(self, writer: Life, reader: Reader) -> None:
        with pytest.raises(MissingError, match="there is no run gone"):
            reader.run("gone")


class TestDeleting:
    def test_all_rows_of_the_run_go_and_no_others(self, path: Path, writer: Life, reader: Reader) -> None:
        tables = ("epochs", "scores", "task_bests", "predictions", "losses", "phases", "progress", "events", "samples")
        ids = [create(writer), create(writer)]
        for run_id in ids:
            writer.claim(run_id, WORKER)
            writer.put_progress(run_id, PROGRESS)
            writer.put_train_points(run_id, [TrainPoint(1, 1, "sst", 1, 1.0)])
            writer.put_samples(run_id, [SampleRow(1, 1.0, "train")])
            put_epoch(
                writer, run_id, 1, {"sst": 0.5}, best=1, bests={"sst": 1}, phases=[Phase("eval", 1, "sst", "dev", 1)]
            )
        writer.finish(ids[0], "finished")
        writer.delete_run(reader.run(ids[0]))
        assert [run.id for run in reader.runs()] == [ids[1]]
        for table in tables:
            assert {row["run_id"] for row in rows(path, f"SELECT run_id FROM {table}")} == {ids[1]}

    @pytest.mark.parametrize("claimed", [False, True])
    def test_a_run_that_has_not_ended_is_refused(self, writer: Life, reader: Reader, claimed: bool) -> None:
        run_id = create(writer)
        stale = reader.run(run_id)
        if claimed:
            writer.claim(run_id, WORKER)
        with pytest.raises(UsageError, match=r"is (queued|running)"):
            writer.delete_run(stale)
        assert reader.run(run_id).id == run_id

    def test_deleting_a_run_twice_is_no_error(self, writer: Life, reader: Reader) -> None:
        run = reader.run(finished(writer, 0.5))
        writer.delete_run(run)
        writer.delete_run(run)
        assert reader.runs() == []


class TestViews:
    def test_best_scores(self, path: Path, writer: Life) -> None:
        run_id = create(writer, seed=2)
        for number, (train, value) in enumerate([(0.5, 0.25), (0.75, 0.5), (1.0, 0.25)], start=1):
            writer.put_epoch(
                run_id,
                Epoch(number, value, value, None, "t"),
                [
                    dev(number, "sst", value),
                    dev(number, "sst", train, split="train"),
                    dev(number, "sts", None, "constant"),
                ],
                [],
                best_epoch=min(number, 2),
                task_bests=[],
                predictions=[],
            )
        sst, sts = rows(path, "SELECT * FROM best_scores ORDER BY task")
        assert (sst["run_id"], sst["name"], sst["seed"], sst["epoch"], sst["metric"]) == (
            run_id,
            "lora-r12-1",
            2,
            2,
            "accuracy",
        )
        assert (sst["dev"], sst["train"], sst["train_dev_gap"]) == (0.5, 0.75, 0.25)
        assert (sts["dev"], sts["train"], sts["train_dev_gap"], sts["reason"]) == (None, None, None, "constant")

    def test_curves(self, path: Path, writer: Life) -> None:
        run_id = create(writer)
        for number in (1, 2, 3):
            put_epoch(writer, run_id, number, {"sst": number / 4}, best=number)
        found = rows(path, "SELECT * FROM curves WHERE run_id = ? ORDER BY epoch", run_id)
        assert [(row["epoch"], row["task"], row["split"], row["value"]) for row in found] == [
            (1, "sst", "dev", 0.25),
            (2, "sst", "dev", 0.5),
            (3, "sst", "dev", 0.75),
        ]

    def test_resources_are_rates_over_the_train_phases_of_a_task(self, path: Path, writer: Life) -> None:
        run_id = create(writer)
        writer.put_phases(
            run_id,
            [
                Phase("load", None, None, None, 100.0, peak_rss_mib=9_000.0),
                Phase("warmup", 1, "sst", None, 50.0, steps=3),
                Phase("train", 1, "sst", None, 2.0, steps=10, examples=75, tokens=301, peak_rss_mib=500.0),
                Phase("eval", 1, "sst", "dev", 5.0, examples=1_000),
                Phase("train", 2, "sst", None, 0.5, steps=5, examples=25, tokens=99, peak_rss_mib=400.0),
                Phase("train", 1, "sts", None, 4.0, steps=1),
            ],
        )
        sst, sts = rows(path, "SELECT * FROM resources ORDER BY task")
        assert (sst["steps"], sst["train_s"], sst["its"]) == (15, 2.5, 6.0)
        assert (sst["examples_per_s"], sst["tokens_per_s"], sst["peak_rss_mib"]) == (40.0, 160.0, 500.0)
        assert (sts["its"], sts["examples_per_s"], sts["peak_rss_mib"]) == (0.25, None, None)

    @pytest.mark.slow
    @settings(max_examples=25)
    @example(values=[0.1] * 3)
    @example(values=[0.7821] * 6)
    @example(values=[0.7821, 0.7822, 0.7821])
    @given(values=st.lists(st.floats(0, 1).map(lambda v: round(v, 4)), min_size=1, max_size=6))
    def test_groups_have_the_mean_and_sample_deviation_over_seeds(
        self, tmp_path_factory: pytest.TempPathFactory, values: list[float]
    ) -> None:
        path = tmp_path_factory.mktemp("groups") / "runs.db"
        with closing(Life(path)) as writer:
            for seed, value in enumerate(values):
                finished(writer, value, seed=seed)
        (group,) = rows(path, "SELECT * FROM groups")
        assert group["seeds"] == len(values)
        assert group["dev_avg_mean"] == pytest.approx(statistics.mean(values))
        if len(values) == 1:
            assert group["dev_avg_sd"] is None
        else:
            assert group["dev_avg_sd"] == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-12)

    def test_groups_are_apart_by_spec_and_data_and_hold_finished_runs_only(self, path: Path, writer: Life) -> None:
        finished(writer, 0.5)
        finished(writer, 0.5, seed=1)
        finished(writer, 0.5, data="other")
        finished(writer, 0.5, group="other")
        put_epoch(writer, running := create(writer, seed=2), 1, {"sst": 0.5}, best=1)
        writer.claim(running, WORKER)
        seeds = {(row["group_hash"], row["data_hash"]): row["seeds"] for row in rows(path, "SELECT * FROM groups")}
        assert seeds == {("g", "d"): 2, ("g", "other"): 1, ("other", "d"): 1}

    def test_a_repeat_of_a_seed_is_not_another_seed(self, path: Path, writer: Life) -> None:
        """Two runs of the same spec and seed give the same score, so they must not count twice in the spread."""
        for seed in (0, 0, 1):
            finished(writer, 0.5 + seed / 4, seed=seed)
        (group,) = rows(path, "SELECT * FROM groups")
        assert group["seeds"] == 2

    def test_a_run_without_an_average_is_no_zero_in_its_group(self, path: Path, writer: Life) -> None:
        for seed, value in enumerate([0.5, None, 0.75]):
            finished(writer, value, seed=seed)
        (group,) = rows(path, "SELECT * FROM groups")
        assert group["dev_avg_mean"] == 0.625
        assert group["dev_avg_sd"] == pytest.approx(statistics.stdev([0.5, 0.75]))


def test_a_run_is_a_plain_row(writer: Life, reader: Reader) -> None:
    run = reader.run(create(writer))
    assert isinstance(run, Run)
    with pytest.raises(AttributeError):
        run.state = "finished"
