"""Number formats at their limits, tables of at most 80 columns, and sanitised text."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench import formatting
from peftbench.report import tables
from peftbench.report.formats import json as jsonable
from peftbench.spec import flatten, resolve
from peftbench.store.rows import Epoch, Event, Run, RunRecord, Score, TaskBest, now
from tests.factories import record
from tests.printing import HOSTILE, LONG_NAMES, printed
from tests.tiny import TASKS


def numbers(text: str) -> list[str]:
    return re.findall(r"[-+]?\d[\d.,]*\d|\d", text)


class TestFigures:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            *((None, "–"), (0.0, "0.000"), (0.01234, "0.012"), (0.99951, "1.00"), (2.804, "2.80"), (9.994, "9.99")),
            *(
                (9.996, "10.0"),
                (11.04, "11.0"),
                (99.94, "99.9"),
                (99.96, "100"),
                (9_994.0, "9,994"),
                (9_996.0, "10.0k"),
            ),
        ],
    )
    def test_joules_have_three_digits(self, value: float | None, text: str) -> None:
        assert formatting.joules(value) == text

    @pytest.mark.parametrize(
        ("value", "text"), [(None, "–"), (0.0, "0.0"), (9.94, "9.9"), (10.0, "10"), (287.6, "288")]
    )
    def test_watts_are_whole_from_ten_on(self, value: float | None, text: str) -> None:
        assert formatting.watts(value) == text

    @pytest.mark.parametrize(
        ("value", "text"), [(0.0, "0.000"), (0.5, "0.500"), (0.78266, "0.783"), (1.0, "1.000"), (-0.25, "-0.250")]
    )
    def test_scores_have_three_decimals(self, value: float, text: str) -> None:
        assert formatting.score(value) == text

    @pytest.mark.parametrize(
        ("value", "text"), [(0.0, "+0.000"), (0.0124, "+0.012"), (-0.5, "-0.500"), (-0.0, "+0.000"), (-1e-9, "+0.000")]
    )
    def test_differences_have_their_sign_and_zero_has_one_form(self, value: float, text: str) -> None:
        assert formatting.signed(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            *((0, "0"), (1, "1"), (999, "999"), (2_695, "2,695"), (9_999, "9,999"), (10_000, "10.0k")),
            *((497_671, "497.7k"), (663_552, "663.6k"), (999_949, "999.9k"), (999_950, "1.0M"), (999_999, "1.0M")),
            *((1_000_000, "1.0M"), (22_713_216, "22.7M"), (109_482_240, "109.5M")),
        ],
    )
    def test_counts_of_weights(self, value: int, text: str) -> None:
        assert formatting.count(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            *((0.0, "0.0 s"), (8.44, "8.4 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (60.0, "1 min 00 s")),
            *((185.2, "3 min 05 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (3600.0, "1 h 00 min")),
            *((7_625.0, "2 h 07 min"), (90_000.0, "25 h 00 min")),
        ],
    )
    def test_times(self, value: float, text: str) -> None:
        assert formatting.seconds(value) == text

    @given(st.floats(0, 1e6))
    def test_a_time_never_shows_sixty_of_a_smaller_unit(self, value: float) -> None:
        assert not re.search(r"\b60(\.0)? (s|min)", formatting.seconds(value))

    def test_what_does_not_exist_is_a_dash(self) -> None:
        for figure in (
            formatting.score,
            formatting.count,
            formatting.seconds,
            formatting.rate,
            formatting.mib,
            formatting.moment,
        ):
            assert figure(None) == formatting.NOTHING

    def test_zero_exists(self) -> None:
        assert (formatting.score(0.0), formatting.count(0), formatting.rate(0.0), formatting.mib(0.0)) == (
            "0.000",
            "0",
            "0.0",
            "0",
        )

    def test_rates_and_mebibytes(self) -> None:
        assert (formatting.rate(11.64), formatting.mib(12_345.6)) == ("11.6", "12,346")

    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0.0"), (1, "<0.1"), (734_003, "0.7"), (104_800_000, "99.9"), (104_857_600, "100"), (1 << 31, "2,048")],
    )
    def test_bytes_as_mebibytes_and_what_is_there_is_never_nothing(self, count: int, text: str) -> None:
        assert formatting.mib_of(count) == text

    def test_percent_have_their_sign(self) -> None:
        shares = [
            (0.008, "+0.8 %"),
            (-0.0001, "+0.0 %"),
            (0.47, "+47 %"),
            (8.9, "+890 %"),
            (9.0, "x 10"),
            (455.4, "x 456"),
        ]
        assert all(formatting.share(value) == told for value, told in shares)
        assert (formatting.percent(0.106), formatting.percent(-0.07), formatting.percent(-0.001)) == (
            "+11 %",
            "-7 %",
            "+0 %",
        )
        assert formatting.percent(None) == formatting.mib_of(None) == formatting.NOTHING

    def test_a_moment_is_in_local_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        monkeypatch.setenv("TZ", "Etc/GMT-3")
        time.tzset()
        try:
            assert formatting.moment("2026-01-31T22:30:00.000Z") == "2026-02-01 01:30"
        finally:
            monkeypatch.undo()
            time.tzset()


class TestWidth:
    def check(self, text: str, *must_hold: str) -> None:
        assert max(len(line) for line in text.splitlines()) <= 80
        assert "…" not in text
        for word in must_hold:
            assert re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", text), f"{word} is cut in\n{text}"

    def test_the_list_of_runs(self) -> None:
        runs = [
            record(name=name, id=f"zzzz{n}{n}{n}{n}", state=state, epochs_done=10, epochs_planned=10).run
            for n, (name, state) in enumerate(
                zip(LONG_NAMES, ("finished", "stopped", "failed", "starting"), strict=True)
            )
        ]
        text = printed(tables.run_list(runs))
        self.check(text, "0.765", "10/10", "zzzz0000", "zzzz3333", "stopped", "quickstart", "dora-r128-7")
        assert text.count("0.765") == 4
        assert len(re.findall(r"01-01 \d\d:\d\d", text)) == 4

    @pytest.mark.parametrize("tasks", [("sst",), TASKS, (*TASKS, "cfimdb")])
    def test_the_page_of_a_run(self, tasks: tuple[str, ...]) -> None:
        shown = record(tasks=tasks, name=LONG_NAMES[0])
        text = printed(tables.run_page(shown))
        self.check(text, "497.7k", "22.7M", "12,345", "last-layer-as-printed-12")
        for score in shown.scores:
            assert text.split().count(f"{score.value:.3f}") >= 2  # train and dev, both not truncated
        for epoch in shown.epochs:
            assert f"{epoch.dev_avg:.3f}" in text.split()
            assert (f"{epoch.leaderboard:.3f}" in text.split()) is (len(tasks) >= 3)
        assert ("leaderboard" in text.split()) is (len(tasks) >= 3)  # needs all of sst, paraphrase and sts
        assert "data: 2 rows left out" in text
        assert all(task in text for task in tasks)

    @pytest.mark.parametrize("width", [60, 72, 100, 140])
    def test_other_widths_are_kept_too(self, width: int) -> None:
        records = [record(name=name, id=name) for name in LONG_NAMES]
        for part in (tables.run_list([r.run for r in records]), tables.run_page(records[0])):
            assert max(len(line) for line in printed(part, width).splitlines()) <= width

    def test_every_value_of_a_spec(self) -> None:
        resolved = resolve("last-layer-as-printed", "paper-mini")
        values = dict(flatten(resolved.spec.model_dump(mode="json")))
        text = printed(tables.spec_table(values.items(), resolved.origins))
        assert max(len(line) for line in text.splitlines()) <= 80
        assert len(text.splitlines()) >= len(values)


class TestContent:
    def test_the_best_epoch_is_marked(self) -> None:
        text = printed(tables.run_page(record(epochs=3, best_epoch=2)))
        (marked,) = [line for line in text.splitlines() if re.search(r"\d \*", line)]
        assert marked.strip().startswith("2 ")
        assert "best epoch by dev average: 2" in text

    def test_a_run_that_has_only_begun_has_a_page(self) -> None:
        run = record(
            state="starting",
            conditions={},
            data_hash=None,
            weights_total=None,
            weights_trainable=None,
            adapter_weights={},
            best_epoch=None,
            dev_avg=None,
            leaderboard=None,
            started_at=None,
            finished_at=None,
            epochs_done=0,
            created_at=now(),
        ).run
        for part in (tables.run_page(RunRecord(run)), tables.run_list([run])):
            text = printed(part)
            assert formatting.NOTHING in text
            assert "None" not in text
            assert "starting" in text

    def test_a_run_without_any_best_epoch_has_a_page_too(self) -> None:
        whole = record(epochs=1, best_epoch=None, dev_avg=None, leaderboard=None)
        missing = Score(1, "sts", "dev", "pearson", None, "constant predictions", 0.5, 300)
        text = printed(
            tables.run_page(RunRecord(whole.run, (Epoch(1, None, None, "no sts", "t"),), (missing,), whole.phases))
        )
        assert "epoch 1, sts dev: no pearson: constant predictions" in text
        assert "None" not in text

    def test_conditions_that_were_not_all_measured_do_not_break_the_page(self) -> None:
        assert "2.9" in printed(tables.run_page(record(conditions={"torch": "2.9"})))

    def test_json_holds_the_figures_unrounded(self) -> None:
        full = json.loads(json.dumps(jsonable.run_full(record())))
        assert full["dev_avg"] == 0.7654
        assert full["spec"]["method"]["rank"] == 12
        assert len(full["scores"]) == 60
        assert full["cost"]["its"]["sst"] == 111.0


@pytest.mark.parametrize("text", HOSTILE)
class TestHostile:
    def check(self, shown: str, text: str) -> None:
        plain = shown.replace("\n", "")
        assert plain.isprintable() or all(c.isprintable() or c == "\u200d" for c in plain)
        if text.isprintable():
            assert "".join(text.split()) in "".join(shown.split())

    def test_in_the_list_and_the_page_of_a_run(self, text: str) -> None:
        run = record().run
        fields = {field: getattr(run, field) for field in Run.__slots__}
        fields |= {"name": text, "workload": text, "preset": text, "encoder": text, "reason": text, "state": "failed"}
        fields |= {"conditions": {"device": text, "threads": 2, "torch": text}}
        whole = record(epochs=1)
        hostile = RunRecord(
            Run(**fields),
            whole.epochs,
            (*whole.scores, Score(1, "sst", "x", "accuracy", None, text, 0.5, 3)),
            whole.phases,
            (TaskBest(text, 1, 0.5),),
            (Event(1, "t", "data", text),),
        )
        self.check(printed(tables.run_list([hostile.run]), width=140), text)
        self.check(printed(tables.run_page(hostile)), text)
        self.check(printed(tables.run_title(hostile.run)), text)

    def test_in_the_values_of_a_spec(self, text: str) -> None:
        self.check(printed(tables.spec_table([(text, text), ("x", [text])], {text: text})), text)

    def test_in_json(self, text: str) -> None:
        shown = json.dumps(jsonable.run_full(record(name=text, reason=text)))
        assert shown.isprintable()
        assert json.loads(shown)["name"] == text
