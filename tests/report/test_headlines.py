"""What scores are of, task metrics and split, can be read from every output."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import RenderableType

from peftbench import formatting
from peftbench.analysis.comparison import Comparison, compare
from peftbench.analysis.groups import Group, group_of
from peftbench.analysis.pareto import pareto
from peftbench.analysis.scores import headlines
from peftbench.analysis.trajectory import AVERAGE
from peftbench.metrics import TaskKind, metrics_for
from peftbench.plot import BRAILLE
from peftbench.report import pareto as pareto_report
from peftbench.report import tables
from peftbench.report.charts import runs as charts
from peftbench.report.charts.overlay import Pinned, curves_of, overlay
from peftbench.report.comparison import page
from peftbench.report.formats import json as jsonable
from peftbench.report.formats.html import html
from peftbench.report.formats.terminal import Screen
from peftbench.report.formats.text import FORMATS
from peftbench.report.headlines import average_notes, list_note, scored
from peftbench.store.rows import Run, RunRecord
from peftbench.study.tables import table_1
from peftbench.tui.lines import run_lines
from peftbench.tui.state import Detail, RunLine
from tests.factories import comparable_record, predicted, run_row, scored_group
from tests.printing import printed
from tests.study.made_up_study import study
from tests.tiny import TASKS
from tests.tui.world import NOW_S, run_record, snapshot

WORDS = "macro F1 of sst, accuracy of paraphrase, Pearson r of sts"
HEADLINES_HERE = {"sst": "macro_f1", "paraphrase": "accuracy", "sts": "pearson"}
TESTED = {task: predicted(task) for task in TASKS}


def record(preset: str = "lora-r12", tested: bool = False, **changed: Any) -> RunRecord:
    made = comparable_record(
        preset, ("tasks.sst.metric=macro_f1",), test_predictions=TESTED if tested else None, **changed
    )
    scores = tuple(replace(s, metric="macro_f1") if s.task == "sst" else s for s in made.scores)
    return replace(made, scores=scores)


def compared(tested: bool = False) -> Comparison:
    return compare([record(tested=tested), record("dora-r12", tested)])


def plain(of: RenderableType) -> str:
    return " ".join(printed(of).split())


@pytest.mark.parametrize(
    ("of_task", "words"),
    [
        ({}, ""),
        ({"entities": "span F1"}, "span F1"),
        ({"a": "accuracy", "b": "accuracy"}, "accuracy"),
        ({"sst": "accuracy", "paraphrase": "accuracy", "sts": "Pearson r"}, "accuracy, Pearson r of sts"),
        ({"entities": "span F1", "topics": "micro F1"}, "span F1 of entities, micro F1 of topics"),
        (
            {"a": "F1", "b": "MCC", "c": "F1", "d": "accuracy", "e": "R2"},
            "F1 of a and c, MCC of b, accuracy of d, R2 of e",
        ),
    ],
)
def test_metrics_are_named_once_each(of_task: dict[str, str], words: str) -> None:
    assert formatting.metrics(of_task) == words


@pytest.mark.parametrize("kind", typing.get_args(TaskKind))
def test_a_task_that_chooses_no_metric_has_that_of_its_kind(kind: Any) -> None:
    run = run_row("a", spec_json=json.dumps({"tasks": [{"name": "own", "kind": kind, "metric": None}]}))
    assert headlines(run) == {"own": metrics_for(kind)[0]}


def test_a_run_without_a_readable_spec_names_none() -> None:
    assert (headlines(run_row("a")), list_note([run_row("a")])) == ({}, "")


@pytest.mark.parametrize("name", [*FORMATS, "html", "terminal"])
@pytest.mark.parametrize(("tested", "split", "average"), [(False, "dev, best epoch", "Dev"), (True, "test (", "Test")])
def test_every_format_of_a_comparison_says_metrics_and_split(name: str, tested: bool, split: str, average: str) -> None:
    shown = page(compared(tested))
    write = {**FORMATS, "html": html, "terminal": lambda page: printed(Screen(page), 400)}[name]
    text = write(shown).replace("\\", "")
    assert f"scores on {split}" in text
    assert f": {WORDS}; {average} Avg their mean; baseline" in text


def test_a_comparison_of_one_task_names_its_metric_alone() -> None:
    result = compare([record(), record("dora-r12")], ["sst"])
    assert "scores on dev, best epoch: macro F1; baseline" in page(result).title


def test_different_metrics_of_a_task_are_both_named() -> None:
    runs = [record().run, comparable_record().run]
    assert scored(runs, ()) == "macro F1 / accuracy of sst, accuracy of paraphrase, Pearson r of sts"


def test_json_has_metrics_and_split() -> None:
    result = jsonable.comparison(compared())
    assert (result["split"], result["headlines"]) == ("dev", HEADLINES_HERE)
    assert result["runs"][0]["headlines"] == HEADLINES_HERE
    assert jsonable.listed_summary(record().run, spec=False)["headlines"] == HEADLINES_HERE
    front = pareto_report.as_json(pareto(groups(), "weights"))
    assert (front["split"], front["headlines"]) == ("dev", HEADLINES_HERE)


def groups(tested: bool = False) -> list[Group]:
    """Return two groups of the same metrics at different ranks."""
    return [
        group_of(preset, [record(preset, tested, weights_trainable=weights)])
        for preset, weights in (("dora-r1", 1), ("dora-r4", 4))
    ]


@pytest.mark.parametrize(("tested", "split"), [(False, "dev"), (True, "test")])
def test_fronts_and_charts_say_metric_and_split(tested: bool, split: str) -> None:
    own = groups(tested)
    average = f"{split.capitalize()} Avg"
    mean = f"{average}: mean of the tasks ({WORDS})"
    for name, title, note in (("sst", f"sst macro F1 on {split}", ""), ("dev_avg", average, mean)):
        front = pareto(own, "weights", name)
        shown = pareto_report.page(front)
        assert shown.title.endswith(f": {title} against trained weights")
        for picture in (charts.front(front), charts.ranks(own, name)):
            assert picture.title.startswith(f"{title} ")
            assert picture.y_label == title.removesuffix(f" on {split}")
        for notes in (shown.notes, charts.front(front).notes, charts.ranks(own, name).notes):
            assert (note in notes) == bool(note)


def test_curves_say_metric_and_splits() -> None:
    own = [group_of("own", [run_record()])]
    assert charts.curves(own, "sst").title == "sst accuracy by epoch"
    assert charts.curves(own, "dev_avg").notes == (
        "solid: dev; dashed, open markers: train (on a fixed subset)",
        "Dev Avg: mean of the tasks (accuracy, Pearson r of sts)",
    )


def test_a_runs_page_names_metrics_beneath_its_scores() -> None:
    shown = run_record()
    assert "scores: accuracy, Pearson r of sts; Dev Avg their mean" in plain(tables.run_page(shown))


def test_a_list_of_runs_says_what_its_column_is_of() -> None:
    quickstart, other = comparable_record().run, replace(record().run, workload="own", group_hash="other")
    start = "dev avg: mean of the tasks at the best epoch; "
    assert plain(tables.run_list([quickstart, quickstart])).endswith(f"{start}accuracy, Pearson r of sts")
    both = list_note([quickstart, other, replace(quickstart, workload="paper", group_hash="third")])
    assert both == f"{start}accuracy, Pearson r of sts (quickstart, paper); {WORDS} (own)"


def test_a_list_of_many_metrics_stays_short() -> None:
    def judged_by(metric: str) -> Run:
        tasks = {"tasks": [{"name": "own", "kind": "classes", "metric": metric}]}
        return run_row("a", spec_json=json.dumps(tasks), group_hash=metric, workload=metric)

    note = list_note(judged_by(metric) for metric in metrics_for("classes"))
    assert note.count("(") == 4 and note.endswith("; others: peftbench show RUN")


class TestDashboard:
    def title(self, records: Sequence[RunRecord], task: str) -> str:
        pinned = [Pinned(each, slot, "cyan") for slot, each in enumerate(records)]
        return overlay(curves_of(pinned, task, "epoch"), task, "epoch", BRAILLE).title.partition(":")[0]

    def test_curves_name_their_metric(self) -> None:
        assert self.title([record()], AVERAGE) == f"mean of {WORDS}"
        assert self.title([record()], "sst") == "sst macro F1"
        assert self.title([record(), comparable_record()], "sst") == "sst macro F1 / accuracy"
        assert self.title([record(), comparable_record()], AVERAGE) == "mean of the tasks"
        assert self.title([], AVERAGE) == "mean of the tasks"

    def test_the_mean_of_one_task_is_its_metric(self) -> None:
        spec = json.dumps({"tasks": [{"name": "entities", "kind": "tokens"}]})
        (own,) = (replace(each, run=replace(each.run, spec_json=spec)) for each in [record()])
        assert self.title([own], AVERAGE) == "span F1"

    @pytest.mark.parametrize(("cells", "named"), [(200, True), (80, False)])
    def test_the_selected_runs_line_names_them_where_there_is_room(self, cells: int, named: bool) -> None:
        shown = run_record()
        (line,) = snapshot(shown).lines
        first, _ = run_lines(Detail(shown), line, cells, NOW_S, BRAILLE)
        assert isinstance(line, RunLine) and ("  accuracy, Pearson r of sts" in first.plain) == named


def test_the_studys_table_says_where_ours_have_other_metrics() -> None:
    groups_of_study = study({})
    result = compare(groups_of_study.all)
    (alike,) = table_1(groups_of_study, result).notes
    assert alike.startswith("dev, best epoch: accuracy; ")
    own = group_of("lora-r12", [record()])
    rows = replace(groups_of_study, rows={"lora-r12": own})
    _, other = table_1(rows, compare([own, scored_group("x", 0.5, 1)])).notes
    assert other == "ours are of other metrics than the study's, and not comparable: sst macro F1 for accuracy"


def test_an_error_is_named_as_one_and_as_in_no_average() -> None:
    runs = [comparable_record(overrides=("tasks.sts.metric=mae",)).run]
    assert scored(runs, ("sst", "sts", "dev_avg")).endswith(
        "MAE (lower is better) of sts; Dev Avg the mean of those that are no errors"
    )
    group = group_of("x", [comparable_record(overrides=("tasks.sts.metric=mae",))])
    assert average_notes("dev_avg", [group]) == ("Dev Avg: mean of the tasks without sts (accuracy)",)
