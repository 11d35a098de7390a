"""The study's report: the workload first, every published value beside ours, nine claims with evidence."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.groups import group_of
from peftbench.report.formats.terminal import Screen
from peftbench.report.formats.text import FORMATS, comma_separated, markdown
from peftbench.study import published
from peftbench.study.claims import findings
from peftbench.study.groups import StudyGroups, study_groups
from peftbench.study.report import Study, as_json, page
from tests.printing import printed
from tests.study.made_up_study import row
from tests.study.made_up_study import study as made_up

RISING = {"dora-r1": {"accuracy": 0.6}, "dora-r128": {"accuracy": 0.6}}


def held(groups: StudyGroups) -> Study:
    return Study(groups, findings(groups), compare(groups.all))


def moved(groups: StudyGroups, **run: str) -> StudyGroups:
    """Return the groups with changes to their runs."""
    rows = {
        preset: group_of(one.label, [replace(record, run=replace(record.run, **run)) for record in one.records])
        for preset, one in groups.rows.items()
    }
    return StudyGroups(rows, (), ())


@pytest.fixture(scope="module")
def quickstart() -> Study:
    return held(made_up(RISING))


def screen(study: Study, width: int = 80) -> str:
    return printed(Screen(page(study)), width)


def test_on_another_workload_the_first_line_says_so_in_every_format(quickstart: Study) -> None:
    assert screen(quickstart).startswith("NOT the study's workload: these runs are on quickstart")
    for write in FORMATS.values():
        first = "\n".join(write(page(quickstart)).splitlines()[:2])
        assert "NOT" in first and "quickstart" in first
    assert list(as_json(quickstart))[:2] == ["workload", "is_the_studys_workload"]
    assert not as_json(quickstart)["is_the_studys_workload"]
    assert all("(on quickstart)" in line.text for line in page(quickstart).verdicts)


def test_only_the_studys_workload_with_its_encoder_is_the_studys() -> None:
    on_paper = moved(made_up(RISING), workload="paper", encoder=published.facts().encoder)
    text = screen(held(on_paper))
    assert "NOT" not in text and "(on paper)" not in text
    assert "NOT the study's" in screen(held(moved(on_paper, encoder="all-MiniLM-L6-v2")))


def test_nine_claims_each_with_a_standing_a_rule_and_intervals(quickstart: Study) -> None:
    found = page(quickstart)
    assert [line.tag for line in found.verdicts] == [one.standing.replace(" ", "-") for one in quickstart.findings]
    assert len(found.verdicts) == 9
    plateau = next(sheet for sheet in found.sheets if sheet.key == "claim_plateau")
    assert "within 0.02" in plateau.notes[0]
    assert [cells[4].text for cells in plateau.rows] == ["for", "neither", "for", "against"]
    verdict = found.verdicts[2].text
    assert verdict.startswith(
        "contradicted (on quickstart): 3. scores rise with the rank up to 12 and level off after it: Dev Avg of "
        "dora-r128 to"
    )
    assert "[-0.1" in verdict


def test_a_claim_that_no_run_speaks_to_says_so_and_keeps_its_rule(quickstart: Study) -> None:
    found = page(quickstart)
    power, order = found.verdicts[5], found.verdicts[8]
    assert power.text.startswith("undecided (on quickstart): 6. ") and "no power was measured" in power.text
    assert order.text.startswith("holds by construction, tested (on quickstart): 9. ")
    assert "not in the database: two groups that differ only in the order" in order.text
    assert (order.tag, "test_task_order.py" in order.text) == ("by-construction", True)
    assert [note.split(":")[0] for note in found.notes if note.startswith("rule of")] == [
        "rule of claim 7",
        "rule of claim 9",
    ]


def cells_of(study: Study, key: str) -> list[list[str]]:
    return [[cell.text for cell in cells] for sheet in page(study).sheets if sheet.key == key for cells in sheet.rows]


def test_every_figure_of_table_1_stands_beside_ours(quickstart: Study) -> None:
    rows = {cells[0]: cells for cells in cells_of(quickstart, "table_1")}
    # ours and the study's of sst, paraphrase and Dev Avg (the synthetic workload has two tasks)
    assert [rows[name][place] for name in ("full", "dora-r12", "dora-r12-augmented") for place in (3, 5, 7)] == [
        *("0.470", "0.891", "0.748"),
        *("0.519", "0.892", "0.758"),
        *("0.504", "0.864", "0.738"),
    ]
    assert rows["last-layer-dropout"][3::2][:3] == ["0.412", "0.743", "0.555"]
    assert rows["dora-r12-augmented"][1:3] == ["0", "no run"]
    assert rows["last-layer"][3::2][:3] == ["no such row"] * 3
    assert list(rows) == [row.preset for row in published.rows()] + ["last-layer"]


def test_every_figure_of_table_2_stands_beside_ours(quickstart: Study) -> None:
    rows = {cells[0]: cells for cells in cells_of(quickstart, "table_2")}
    assert {name: cells[2::2] for name, cells in rows.items() if name != "last-layer"} == {
        "last-layer-dropout": ["814", "115.5", "320", "2.77"],
        "full": ["2,622", "18.7", "270", "14.4"],
        "lora-r12": ["1,222", "20.9", "230", "11.0"],
        "dora-r1": ["1,218", "21.0", "240", "11.4"],
        "dora-r4": ["1,222", "22.0", "245", "11.1"],
        "dora-r12": ["1,232", "20.9", "244", "11.7"],
        "dora-r24": ["1,248", "20.8", "245", "11.8"],
        "dora-r128": ["1,384", "19.6", "266", "13.6"],
        "dora-r12-augmented": ["1,232", "21.0", "241", "11.5"],
    }
    assert rows["full"][1::2] == ["901 ±1", "10.0 ±0.1", "not measured", "not measured"]
    assert rows["dora-r12-augmented"][1::2] == ["no run"] * 4


def test_the_leaderboards_scores_are_told_to_be_of_test(quickstart: Study) -> None:
    theirs, theirs_on_dev, ours, ours_on_test = cells_of(quickstart, "leaderboard")
    assert theirs == ["study's", "test", "0.524", "0.892", "0.862", "0.782"]
    assert theirs_on_dev[:5] == ["study's", "dev", "0.519", "0.892", "0.864"]
    assert ours[:3] == ["ours", "dev", "0.700 ±0.002"]
    assert ours_on_test == ["ours", "test", *["no labels"] * 4]


def test_figure_2_has_the_studys_average_of_each_rank(quickstart: Study) -> None:
    assert [cells[2] for cells in cells_of(quickstart, "figure_2")] == ["0.731", "0.747", "0.758", "0.748", "0.750"]


def test_no_published_figure_is_a_dash(quickstart: Study) -> None:
    for key in ("table_1", "leaderboard", "table_2", "figure_2"):
        assert "–" not in [text for cells in cells_of(quickstart, key) for text in cells]


def test_augmented_runs_made_as_the_studys_stand_in_its_row_and_others_below() -> None:
    augmented = row("dora-r12", augmented=True)
    found = held(study_groups([row("dora-r12"), row("dora-r4"), augmented, row("dora-r4", augmented=True)]))
    rows = cells_of(found, "table_1")
    assert [cells[0] for cells in rows][-2:] == ["dora-r12-augmented", "dora-r4-augmented"]
    assert rows[-2][1:3] == ["3", "0.700 ±0.002"]
    assert rows[-1][3] == "no such row"
    mine = next(each for each in as_json(found)["rows"] if each["row"] == "dora-r12-augmented")
    assert mine["ours"]["runs"] == list(augmented.ids)
    assert mine["published"]["dev"]["dev_avg"] == 0.738


def test_json_keeps_its_keys_and_has_every_published_figure(quickstart: Study) -> None:
    found = as_json(quickstart)
    assert {"workload", "is_the_studys_workload", "source", "unknown", "claims", "not_alike", "left_out", "rows"} < set(
        found
    )
    assert [claim["number"] for claim in found["claims"]] == list(range(1, 10))
    assert [claim["claim"] for claim in found["claims"]] == [
        *("adapters-match", "dora-best", "plateau", "rank-cost", "memory-not-compute", "power", "augmentation", "gap"),
        "task-order",
    ]
    by_row = {each["row"]: each["published"] for each in found["rows"]}
    assert by_row["full"]["vram_mib"] == 2622
    assert by_row["full"]["j_per_step"] == pytest.approx(14.44, abs=0.005)
    assert (by_row["lora-r12"]["sst_its"], by_row["lora-r12"]["power_w"], by_row["lora-r12"]["lr"]) == (20.9, 230, 1e-4)
    assert set(by_row["last-layer"].values()) == {None}
    assert found["test"]["published"] == {"sst": 0.524, "paraphrase": 0.892, "sts": 0.862, "leaderboard": 0.782}


def test_a_row_without_runs_keeps_its_published_figure() -> None:
    whole = made_up(RISING)
    found = held(StudyGroups({key: one for key, one in whole.rows.items() if key != "full"}, (), ()))
    by_row = {cells[0]: cells for cells in cells_of(found, "table_2")}
    assert by_row["full"][1:3] == ["no run", "2,622"]
    assert (
        "undecided (on quickstart): 1. adapters match full fine-tuning, or are better: not in the database: full"
        in (" ".join(line.text for line in page(found).verdicts))
    )


def test_no_line_is_wider_than_the_screen(quickstart: Study) -> None:
    assert max(map(len, screen(quickstart).splitlines())) <= 80


def test_every_format_has_the_same_numbers(quickstart: Study) -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated(page(quickstart)))))
    mine = next(row for row in rows if row["table"] == "claim_plateau" and row["column"] == "estimate")
    claim = next(one for one in as_json(quickstart)["claims"] if one["claim"] == "plateau")
    assert float(mine["value"]) == claim["evidence"][0]["estimate"]
    assert mine["text"] in markdown(page(quickstart)).replace("\\", "")
    json.dumps(as_json(quickstart), allow_nan=False)


def test_what_makes_the_rows_unlike_is_named_before_any_verdict() -> None:
    groups = made_up(RISING)
    odd = moved(StudyGroups({"full": groups.rows["full"]}, (), ()), conditions={"device": "another", "threads": 9})
    text = screen(held(StudyGroups({**groups.rows, **odd.rows}, (), ())))
    assert text.index("not alike, device") < text.index("adapters match")
