"""Printed comparisons: sentences, table widths, marks, and the same numbers in every format."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from peftbench.analysis.comparison import Comparison, compare
from peftbench.analysis.cost_comparison import CostDifference
from peftbench.analysis.pareto import pareto
from peftbench.analysis.stats.difference import MetricDifference
from peftbench.analysis.stats.interval import VarianceComponents
from peftbench.analysis.stats.power import PowerAnalysis
from peftbench.report import pareto as front
from peftbench.report.comparison import page
from peftbench.report.formats import json as jsonable
from peftbench.report.formats.terminal import WIDEST_NAME, Screen
from peftbench.report.formats.text import FORMATS, comma_separated, latex, markdown
from peftbench.report.page import Page
from peftbench.report.verdicts import cost_words, metric_words
from peftbench.store.rows import Prediction, RunRecord
from tests.factories import comparable_record as on_workload
from tests.factories import on_a_card, record
from tests.factories import scored_group as named
from tests.printing import HOSTILE, LONG_NAMES, printed
from tests.tiny import TASKS


def screen(result: Comparison, width: int = 80, **of: Any) -> str:
    return printed(Screen(page(result, full=True, **of)), width)


def words(text: str) -> str:
    return " ".join(text.split())


def seeds(preset: str, gain: float = 0.0, count: int = 3, tasks: tuple[str, ...] = TASKS) -> list[RunRecord]:
    """Return runs of a preset with about 50 + 50 gain percent of each task correct."""
    found = []
    for seed in range(count):
        base = record(preset, tasks, id=f"{preset}-{seed}", name=f"{preset}-{seed + 1}", seed=seed, epochs=3)
        right = [(n * 7 + seed) % 20 < 10 + round(10 * gain) for n in range(200)]
        rows = {
            task: tuple(Prediction(task, 3, str(n), n % 2, (n + 1 - hit) % 2) for n, hit in enumerate(right))
            for task in tasks
        }
        phases = tuple(replace(phase, wall_s=phase.wall_s + seed) for phase in base.phases)
        found.append(replace(base, predictions=rows, phases=phases))
    return found


def test_doubts_about_the_data_stand_below_with_the_runs_that_have_them() -> None:
    note = {"task": "sst", "name": "dev_in_train", "message": "2 of 9 dev examples are also in train", "examples": 2}
    records = [seeds("lora-r12", count=1)[0], seeds("dora-r12", count=1)[0]]

    def shown(*having: int) -> str:
        noted = [
            replace(one, run=replace(one.run, conditions={**one.run.conditions, "data_notes": [note]}))
            if place in having
            else one
            for place, one in enumerate(records)
        ]
        return words(screen(compare(noted), 200))

    assert "data: sst: 2 of 9 dev examples are also in train" in shown(0, 1)
    assert "are also in train (dora-r12-1)" in shown(1)
    assert "data:" not in shown()


def row(**changed: Any) -> MetricDifference:
    fields: dict[str, Any] = {
        "name": "sst",
        "metric": "accuracy",
        "examples": 300,
        "runs": (3, 3),
        "paired": True,
        "values": (0.5, 0.503),
        "difference": 0.003,
        "low": -0.012,
        "high": 0.019,
        "p": 0.6,
        "p_holm": 0.6,
        "noise": VarianceComponents(1e-4, 2.0, 1e-4),
        "outlook": PowerAnalysis(0.021, 14, None),
    }
    return MetricDifference(**fields | changed)


class TestSentences:
    def test_no_difference_says_what_could_have_been_shown_and_what_would_settle_it(self) -> None:
        assert metric_words(row()) == (
            "sst +0.3 pt [-1.2, +1.9] no detectable difference (3 seeds could have shown 2.1 pt; "
            "about 14 would settle it)"
        )

    def test_a_difference_says_no_more_than_itself(self) -> None:
        better = row(name="sts", metric="pearson", difference=0.029, low=0.011, high=0.046, p=0.001, p_holm=0.003)
        assert metric_words(better) == "sts +0.029 [+0.011, +0.046] better"
        worse = row(difference=-0.05, low=-0.08, high=-0.02, p_holm=0.01)
        assert metric_words(worse) == "sst -5.0 pt [-8.0, -2.0] worse"

    def test_a_verdict_of_one_seed_each_says_so(self) -> None:
        alone = row(runs=(1, 1), difference=-0.05, low=-0.08, high=-0.02, p_holm=0.01)
        assert metric_words(alone).endswith("worse (one seed each: others may differ)")

    @pytest.mark.parametrize("runs", [(1, 3), (3, 1)])
    def test_a_verdict_with_one_seed_on_a_side_says_so(self, runs: tuple[int, int]) -> None:
        said = metric_words(row(runs=runs, difference=-0.05, low=-0.08, high=-0.02, p_holm=0.01))
        assert said.endswith("worse (one seed against 3: others may differ)")

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (
                {"outlook": PowerAnalysis(0.021, None, "too few examples")},
                "no number of seeds would settle it on these 300",
            ),
            (
                {"runs": (1, 1), "outlook": PowerAnalysis(0.04, None, "one seed each")},
                "(one seed each: 300 examples could",
            ),
            ({"runs": (3, 5)}, "(3 and 5 seeds could have shown 2.1 pt"),
            (
                {"runs": (1, 3), "outlook": PowerAnalysis(0.04, None, "one seed on a side")},
                "(one seed against 3: 300 examples could have shown 4.0 pt)",
            ),
            (
                {"difference": 0.0, "outlook": PowerAnalysis(None, None, "no difference")},
                "(3 seeds tell the sides apart nowhere; up to 1.0 pt may be hidden)",
            ),
            (
                {"metric": "pearson", "outlook": PowerAnalysis(None, None, "no difference")},
                "(3 seeds tell the sides apart nowhere)",
            ),
            ({"outlook": PowerAnalysis(1.2, 9, None)}, "(3 seeds could have shown no difference at all; about 9 would"),
            ({"low": 0.001, "p": 0.04, "p_holm": 0.16}, "(p = 0.04, but 0.16 for so many metrics; 3 seeds"),
        ],
    )
    def test_why_it_is_not_told(self, changed: dict[str, Any], said: str) -> None:
        assert said in metric_words(row(**changed))

    @pytest.mark.parametrize(
        ("costs", "said"),
        [
            ([("vram_mib", 0.008, 0.01), ("run_wh", 0.06, 0.01)], "memory +0.8 %, energy +6.0 %: costs a little more"),
            ([("peak_rss_mib", -0.2, 0.01), ("run_s", -0.5, 0.01)], "memory (RSS) -20 %, time -50 %: costs less"),
            ([("peak_rss_mib", -0.007, None)], "memory (RSS) -0.7 %: costs about the same"),
            ([("peak_rss_mib", -0.07, None)], "memory (RSS) -7.0 % (one run): costs about the same"),
            ([("vram_mib", -0.07, None)], "memory -7.0 %: costs less"),
            ([("run_s", -0.3, None)], "time -30 %: costs less"),
            ([("vram_mib", -0.2, 0.01), ("run_wh", 0.6, 0.01)], "costs less of one, more of the other"),
            ([("vram_mib", 0.0, 0.5), ("run_wh", 0.6, 0.01)], "costs much more"),
            ([("peak_rss_mib", 0.01, 0.01), ("run_s", 0.3, 0.4)], "time +30 % (within noise): costs about the same"),
            ([("peak_rss_mib", 0.01, None), ("run_s", 0.08, None)], "time +8.0 % (one run): costs about the same"),
            ([("run_s", 0.3, None)], "time +30 %: costs much more"),
            ([], "cost was not measured"),
        ],
    )
    def test_cost_in_words(self, costs: list[tuple[str, float, float | None]], said: str) -> None:
        found = cost_words([CostDifference(key, 1.0, 1 + ratio, ratio, p) for key, ratio, p in costs])
        assert said in found

    def test_the_first_line_of_a_comparison_is_the_verdict(self) -> None:
        text = screen(compare([seeds("lora-r12"), seeds("dora-r12", 0.3)]))
        assert text.startswith("dora-r12 against lora-r12: sst +15.0 pt [")
        assert "] better; " in words(text)


class TestContent:
    def test_what_is_unfair_stands_before_any_figure(self) -> None:
        other = record("dora-r4", id="x", conditions={"device": "another CPU", "threads": 8, "torch": "2.9.0+cpu"})
        text = screen(compare([record(), other]))
        assert text.startswith("not alike, device: lora-r12-1: a CPU of 2 cores, dora-r4-1: another CPU")
        assert words(text).index("not alike, threads") < words(text).index("dora-r4-1 against")

    def test_it_says_what_it_could_not_compare(self) -> None:
        text = words(screen(compare([record(), replace(record("dora-r4", id="x"), predictions={})])))
        assert "sst not compared: not the same dev examples" in text

    def test_it_says_that_one_seed_is_no_spread(self) -> None:
        assert "spread between seeds is not in" in words(screen(compare([record(), record(id="x")])))
        assert "spread between seeds" not in words(screen(compare([seeds("lora-r12"), seeds("dora-r12")])))

    def test_it_names_the_side_with_one_seed(self) -> None:
        text = words(screen(compare([seeds("lora-r12"), seeds("dora-r12", 0.4, count=1)])))
        assert "better (one seed against 3: others may differ)" in text
        assert "One run: dora-r12-1. How far its seeds spread is unknown" in text
        assert "Intervals: 95 %, paired bootstrap over the dev examples" in text

    @pytest.mark.parametrize(("tasks", "there"), [(TASKS[:2], False), (TASKS, True), ((*TASKS, "cfimdb"), True)])
    def test_a_leaderboard_score_is_of_the_three_tasks(self, tasks: tuple[str, ...], there: bool) -> None:
        result = compare([seeds("lora-r12", tasks=tasks), seeds("dora-r12", tasks=tasks)])
        assert ("leaderboard" in words(screen(result))) is there
        (quality,) = [sheet for sheet in page(result, full=True).sheets if sheet.key == "quality"]
        assert ("leaderboard" in quality.headers) is there

    @pytest.mark.parametrize(
        ("epochs", "said"),
        [
            ((1, 1), None),
            ((3, 3), "Dev also chose the epoch (best of 3): each score is a little too high"),
            (
                (1, 10),
                "Dev also chose the epoch (best of 1-10): scores are too high, the more so the more epochs there were",
            ),
        ],
    )
    def test_it_says_what_chose_the_epoch(self, epochs: tuple[int, int], said: str | None) -> None:
        sides = [
            [replace(one, run=replace(one.run, epochs_done=count)) for one in seeds(preset)]
            for preset, count in zip(("lora-r12", "dora-r12"), epochs, strict=True)
        ]
        text = words(screen(compare(sides)))
        assert ("Dev also chose" in text) is (said is not None)
        assert said is None or said in text
        assert ("(lora-r12 1, dora-r12 10)" in text) is (epochs == (1, 10))

    def test_how_intervals_are_made(self) -> None:
        text = words(screen(compare([seeds("lora-r12"), seeds("dora-r12")])))
        assert "Intervals: 95 %, Student's t over seeds (paired) and paired bootstrap over the dev examples" in text
        assert "bootstrap over seeds" not in text

    def test_only_settings_that_differ_are_shown_unless_all_are_asked_for(self) -> None:
        result = compare([record(), record("dora-r4", id="x")])
        assert "method.rank" in screen(result)
        assert "encoder.pooling" not in screen(result)
        assert "encoder.pooling" in screen(result, all_config=True)

    def test_how_the_only_augmented_side_was_is_shown_where_all_settings_are_asked_for(self) -> None:
        result = compare([on_workload(), on_workload(overrides=("augment.method=eda", "augment.eda.n_aug=4"))])
        assert "augment.method" in screen(result)
        assert "n_aug" not in screen(result)
        assert "augment.eda.n_aug" in screen(result, all_config=True)

    def test_seeds_that_differ_do_no_harm(self) -> None:
        text = screen(compare([on_workload(), on_workload(seed=1)]))
        assert "differs, but does no harm: seed" in text
        assert "not alike" not in text

    def test_a_flag_is_named_once_with_its_runs(self) -> None:
        shared, other = on_a_card(train={"foreign_processes": 1}), on_a_card()
        other = replace(other, run=replace(other.run, id="other234", name="lora-r12-2"))
        assert "measured under: shared_gpu (lora-r12-1)" in words(screen(compare([shared, other])))
        both = [replace(shared, run=replace(shared.run, id="other234")), shared]
        assert "shared_gpu (all)" in words(screen(compare(both)))

    def test_the_best_and_what_is_not_detectably_behind_it_are_marked(self) -> None:
        sides = [seeds("lora-r12"), seeds("dora-r12", 0.4), seeds("full", 0.4)]
        sheets = {sheet.key: sheet for sheet in page(compare(sides), full=True).sheets}
        column = sheets["quality"].headers.index("sst")
        assert [cells[column].best for cells in sheets["quality"].rows] == [False, True, True]

    @pytest.mark.slow
    def test_a_mark_says_what_the_verdict_says(self) -> None:
        """For any gain, the best group shares its mark exactly if its verdict is not 'better'."""
        for gain in (0.05, 0.1, 0.15, 0.2, 0.3):
            result = compare([seeds("lora-r12"), seeds("dora-r12", gain)])
            for row in result.against[0].metrics:
                assert (0 in result.best[row.name]) == (row.verdict == "no detectable difference")

    def test_a_cost_is_marked_only_where_its_noise_is_known(self) -> None:
        quick = [
            replace(one, phases=tuple(replace(p, wall_s=p.wall_s / 2) for p in one.phases)) for one in seeds("full")
        ]
        for sides, marks in (([seeds("lora-r12"), quick], [False, True]), ([record(), quick[0]], [False, False])):
            sheet = next(sheet for sheet in page(compare(sides), full=True).sheets if sheet.key == "cost")
            assert [cells[1].best for cells in sheet.rows] == marks

    def test_what_was_not_measured_is_said(self) -> None:
        assert "not measured here: VRAM, power, energy" in screen(compare([record(), record(id="x")]))
        assert "VRAM: this process's" in screen(compare([on_a_card(), record(id="x")]))

    def test_one_metric_alone(self) -> None:
        result = compare([seeds("lora-r12"), seeds("dora-r12")], ["sts"])
        text = screen(result)
        assert "sts" in text.splitlines()[0]
        assert "Dev Avg" not in text.split("workload")[0]
        assert "Holm" not in text

    def test_json_holds_the_figures_unrounded_and_no_infinity(self) -> None:
        result = compare([record(), record("dora-r4", id="other")])
        found = json.loads(json.dumps(jsonable.comparison(result), allow_nan=False))
        assert [run["name"] for run in found["runs"]] == ["lora-r12-1", "dora-r4-1"]
        (against,) = found["against_baseline"]
        assert against["group"] == "dora-r4-1"
        assert [row["name"] for row in against["metrics"]] == [*TASKS, "dev_avg"]
        assert against["metrics"][0]["difference"] == result.against[0].metrics[0].difference
        assert all("verdict" in row for row in against["metrics"])
        assert {"standing", "values", "key"} <= set(found["differences"][0])

    def test_json_names_each_class_of_difference_as_documented(self) -> None:
        other = record("dora-r4", id="other", conditions={"threads": 7, "python": "3.11"})
        found = jsonable.comparison(compare([record(), other]))["differences"]
        standings = {each["key"]: (each["standing"], each["unfair"]) for each in found}
        assert standings["threads"] == ("unfair", True)
        assert standings["method.name"] == ("studied", False)
        assert standings["python"] == ("harmless", False)


class TestWidth:
    def check(self, text: str, width: int) -> None:
        assert max(len(line) for line in text.splitlines()) <= width

    @pytest.mark.parametrize("tasks", [("sst",), TASKS, (*TASKS, "cfimdb")])
    def test_four_runs_with_long_names(self, tasks: tuple[str, ...]) -> None:
        presets = ("last-layer-as-printed", "full-as-printed", "dora-r128", "lora-r12")
        records = [
            record(preset, tasks, name=name, id=name, weights_trainable=109_482_240)
            for preset, name in zip(presets, LONG_NAMES, strict=True)
        ]
        text = screen(compare(records))
        self.check(text, 80)
        assert "…" not in text
        for name in LONG_NAMES:
            assert len(re.findall(rf"^{re.escape(name)} ", text, re.MULTILINE)) >= 4  # one row per table
        assert text.count("109.5M") == 4
        assert text.count("111.0") == 4 * len(tasks)
        assert words(text).count("no detectable difference") + words(text).count("better") >= 3 * len(tasks)

    @pytest.mark.parametrize("width", [60, 80, 100, 140])
    def test_groups_of_seeds_at_every_width(self, width: int) -> None:
        sides = [seeds(preset) for preset in ("lora-r12", "dora-r12", "full-as-printed", "last-layer-as-printed")]
        self.check(screen(compare(sides), width, all_config=True), width)

    @pytest.mark.parametrize("width", range(60, 100))
    def test_a_name_that_fits_is_never_folded(self, width: int) -> None:
        text = screen(compare([seeds("lora-r12"), seeds("dora-r12")]), width)
        assert len(re.findall(r"^(lora|dora)-r12 +\S", text, re.MULTILINE)) >= 8
        self.check(text, width)

    def test_twenty_groups(self) -> None:
        sides = [[record("lora-r12", id=str(n), name=f"lora-r12-{n}")] for n in range(20)]
        text = screen(compare(sides))
        self.check(text, 80)
        assert all(f"lora-r12-{n} against lora-r12-0" in text for n in range(1, 20))


def unescaped(text: str, written: str) -> str:
    if written == "markdown":
        return re.sub(r"\\(.)", r"\1", text)
    signs = {r"\%": "%", r"\_": "_", "$\\pm$": "±", "--": "–", r"\textless{}": "<", r"\textgreater{}": ">"}
    for escaped, sign in signs.items():
        text = text.replace(escaped, sign)
    return text


def rolled(rows: tuple[Prediction, ...]) -> tuple[Prediction, ...]:
    """Return predictions that are as good, and right on other examples."""
    return tuple(replace(row, prediction=rows[(n + 2) % len(rows)].prediction) for n, row in enumerate(rows))


class TestBrief:
    def test_a_row_a_pair_and_a_column_a_metric_with_difference_interval_and_mark(self) -> None:
        alike = [
            replace(each, predictions={task: rolled(rows) for task, rows in each.predictions.items()})
            for each in seeds("full")
        ]
        made = page(compare([seeds("lora-r12"), seeds("dora-r12", 0.3), alike]))
        verdict = made.sheets[0]
        assert verdict.key == "verdict" and not made.verdicts
        assert [row[0].text for row in verdict.rows] == ["dora-r12", "full"]
        better, undetected = (dict(zip(verdict.headers, row, strict=True))["sst"] for row in verdict.rows)
        assert re.fullmatch(r"\+15\.0 pt better\n\[\+\d+\.\d, \+\d+\.\d\]", better.text)
        assert better.value == pytest.approx(0.15)
        assert " n.d.\n[" in undetected.text
        assert any("n.d.: no detectable difference (these runs could have shown sst " in note for note in verdict.notes)

    def test_a_caution_is_said_once(self) -> None:
        sides = [[seeds(preset, gain, 1)[0]] for preset, gain in (("lora-r12", 0), ("dora-r12", 0.3), ("full", 0.1))]
        text = words(screen(compare(sides)))
        brief = words(printed(Screen(page(compare(sides)))))
        assert text.count("one seed each") > 5
        assert brief.count("One run each") == 1 and "one seed each" not in brief
        assert "`peftbench compare --full` adds settings" in brief

    def test_a_cost_stands_beside_its_word(self) -> None:
        slow = [replace(each, run=replace(each.run, started_at="2025-12-31T10:00:01.000Z")) for each in seeds("full")]
        verdict = page(compare([seeds("lora-r12"), slow])).sheets[0]
        cells = dict(zip(verdict.headers, verdict.rows[0], strict=True))
        assert cells["time"].text.endswith(" %\nmuch more")

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_it_fits(self, width: int) -> None:
        text = printed(Screen(page(compare([seeds("lora-r12"), seeds("dora-r12", 0.3)]))), width)
        assert max(map(len, text.splitlines())) <= width


class TestFormats:
    def pages(self) -> list[Page]:
        compared = page(compare([seeds("lora-r12"), seeds("dora-r12", 0.3), seeds("full", 0.1)]), all_config=True)
        groups = [named("a", 0.6, 10, 2), named("b", 0.7, 20, 2)]
        return [compared, front.page(pareto(groups, "weights", "sst"))]

    @pytest.mark.parametrize("written", ["markdown", "latex"])
    def test_every_figure_of_the_terminal_is_in_the_other_formats(self, written: str) -> None:
        for made in self.pages():
            text = unescaped(FORMATS[written](made), written)
            for sheet in made.sheets:
                for cells in sheet.rows:
                    assert all(words(cell.text) in text for cell in cells)
            for line in made.verdicts:
                assert line.text in text

    def test_csv_has_every_figure_as_shown_and_unrounded(self) -> None:
        for made in self.pages():
            rows = list(csv.DictReader(io.StringIO(comma_separated(made))))
            for sheet in made.sheets:
                for cells in sheet.rows:
                    mine = [row for row in rows if (row["table"], row["row"]) == (sheet.key, cells[0].text)]
                    assert [row["text"].lstrip("'") for row in mine] == [words(cell.text) for cell in cells[1:]]
                    assert [row["best"] for row in mine] == [str(int(cell.best)) for cell in cells[1:]]
                    for row, cell in zip(mine, cells[1:], strict=True):
                        if isinstance(cell.value, float):
                            assert float(row["value"]) == cell.value

    def test_the_terminal_shows_every_figure(self) -> None:
        for made in self.pages():
            shown = printed(Screen(made), 200)
            texts = [
                line for sheet in made.sheets for row in sheet.rows for cell in row for line in cell.text.split("\n")
            ]
            assert all(text in shown for text in texts if len(text) <= WIDEST_NAME)  # longer ones are wrapped

    def test_the_best_is_bold(self) -> None:
        made = page(compare([seeds("lora-r12"), seeds("dora-r12", 0.4)]), full=True)
        best = next(cell.text for sheet in made.sheets for cells in sheet.rows for cell in cells if cell.best)
        assert f"**{best}**" in markdown(made)
        assert f"\\textbf{{{best}}}" in latex(made).replace("$\\pm$", "±")

    def test_every_latex_row_has_as_many_cells_as_its_table(self) -> None:
        for made in self.pages():
            for block in latex(made).split(r"\begin{tabular}")[1:]:
                columns = len(re.match(r"\{l(r*)\}", block).group(1)) + 1
                rows = [line for line in block.splitlines() if line.endswith(r"\\")]
                assert rows and all(len(re.findall(r"(?<!\\)&", line)) == columns - 1 for line in rows)

    @pytest.mark.parametrize("text", [*HOSTILE, "=cmd|' /C calc'!A0", "a|b`c*d_e", r"\input{/etc/passwd} 5% #&$"])
    def test_names_from_outside_cannot_act(self, text: str) -> None:
        made = page(compare([record(name=text, encoder=text, conditions={"device": text}), record(id="x")]), full=True)
        for shown in (printed(Screen(made)), markdown(made), latex(made), comma_separated(made)):
            assert all(sign.isprintable() or sign in "\n\u200d" for sign in shown)
        assert r"\input" not in latex(made)
        cells = [cell for row in csv.reader(io.StringIO(comma_separated(made))) for cell in row]
        assert not any(cell.startswith(("=", "@")) for cell in cells)
        for table in re.split(r"\n\n", markdown(made)):
            bars = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines() if line.startswith("| ")]
            assert len(set(bars)) <= 1


class TestFront:
    def test_a_front_fits_and_says_how_sure_it_is(self) -> None:
        groups = [named("cheap", 0.60, 10), named("dear", 0.605, 20), named("silly", 0.3, 30)]
        text = printed(Screen(front.page(pareto(groups, "weights", "sst"))))
        assert text.startswith("not dominated: cheap (100 %), dear (")
        assert max(map(len, text.splitlines())) <= 80
        assert "One run only: cheap, dear, silly." in words(text)

    def test_its_json_is_whole(self) -> None:
        found = json.loads(json.dumps(front.as_json(pareto([named("a", 0.6, 10, 2)], "weights", "sst"))))
        assert found["points"][0]["stays"] == 1.0
        assert found["points"][0]["x"] == {"mean": 10.0, "sd": 0.0, "n": 2}


def test_a_disturbed_run_shows_no_difference_of_time_but_one_of_memory() -> None:
    """Regression: less time of a single run was called less cost although the machine was flagged as busy."""
    time = CostDifference("run_s", 1.0, 0.7, -0.3, None, disturbed=True)
    assert cost_words([time]) == "time -30 % (one run, disturbed): costs about the same"
    repeated = CostDifference("run_s", 1.0, 0.7, -0.3, 0.01, disturbed=True)
    assert cost_words([repeated]) == "time -30 %: costs less"
