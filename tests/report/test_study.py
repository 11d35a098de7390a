"""The study's report: the workload first, known figures as published, unknown ones as dashes, evidence."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from peftbench.analysis.claims import findings
from peftbench.analysis.comparison import compare
from peftbench.analysis.groups import group
from peftbench.analysis.study_groups import StudyGroups
from peftbench.anatomy.study import ROWS as TABLE_2
from peftbench.report import published
from peftbench.report.formats import FORMATS, comma_separated, markdown
from peftbench.report.study import Study, as_json, page
from peftbench.report.terminal import Screen
from tests.analysis.made_up_study import study as made_up
from tests.report.test_figures_and_tables import printed

RISING = {"dora-r1": {"accuracy": 0.6}, "dora-r128": {"accuracy": 0.6}}


def held(groups: StudyGroups) -> Study:
    return Study(groups, findings(groups), compare(groups.all))


def moved(groups: StudyGroups, **run: str) -> StudyGroups:
    """Return the groups with something of their runs changed."""
    rows = {
        preset: group(one.label, [replace(record, run=replace(record.run, **run)) for record in one.records])
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
    on_paper = moved(made_up(RISING), workload="paper", encoder=published.ENCODER)
    text = screen(held(on_paper))
    assert "NOT" not in text and "(on paper)" not in text
    assert "NOT the study's" in screen(held(moved(on_paper, encoder="all-MiniLM-L6-v2")))


def test_seven_claims_each_with_a_standing_a_rule_and_intervals(quickstart: Study) -> None:
    found = page(quickstart)
    assert [line.tag for line in found.verdicts] == [one.standing for one in quickstart.findings]
    assert len(found.verdicts) == 7
    plateau = next(sheet for sheet in found.sheets if sheet.key == "claim_plateau")
    assert "within 0.02" in plateau.notes[0]
    assert [cells[4].text for cells in plateau.rows] == ["for", "against"]
    verdict = found.verdicts[2].text
    assert verdict.startswith("contradicted (on quickstart): accuracy plateaus from rank 12: Dev Avg of dora-r128 to")
    assert "[-0.1" in verdict


def test_published_figures_are_those_known_and_the_rest_are_dashes(quickstart: Study) -> None:
    sheets = {sheet.key: sheet for sheet in page(quickstart).sheets}
    by_row = {cells[0].text: cells for cells in sheets["table_2"].rows}
    assert {row.vram_mib for row in TABLE_2} == {cells[2].value for cells in by_row.values()} - {None}
    assert [by_row["full"][place].text for place in (2, 5)] == ["2,622", "14.4"]
    assert [by_row["dora-r4"][place].text for place in (2, 5)] == ["1,222", "–"]
    assert [cells[5].text for cells in sheets["figure_2"].rows] == ["–"] * 5
    best = sheets["table_1"].rows[-1]
    assert [cell.text for cell in best[2:]] == ["0.524", "0.892", "–", "0.782"]
    assert any("not known here" in note for note in page(quickstart).notes)


def test_a_row_without_runs_keeps_its_published_figure() -> None:
    whole = made_up(RISING)
    found = held(StudyGroups({key: one for key, one in whole.rows.items() if key != "full"}, (), ()))
    by_row = {cells[0].text: cells for sheet in page(found).sheets if sheet.key == "table_2" for cells in sheet.rows}
    assert [by_row["full"][place].text for place in (1, 2)] == ["–", "2,622"]
    assert "undecided (on quickstart): adapters match full fine-tuning: not in the store: full" in " ".join(
        line.text for line in page(found).verdicts
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
