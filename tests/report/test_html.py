"""HTML reports: one file with charts and without external resources, whatever text the names contain."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.groups import Group, group_of
from peftbench.analysis.pareto import pareto
from peftbench.report.charts import runs
from peftbench.report.charts.chart import Bar, Curve, Picture, bounds, nothing
from peftbench.report.charts.svg import svg
from peftbench.report.comparison import page
from peftbench.report.formats.html import html
from peftbench.report.page import Cell, Line, Page, Sheet
from peftbench.store.rows import SampleRow
from peftbench.study.charts import of_study
from peftbench.study.claims import findings
from peftbench.study.groups import StudyGroups
from peftbench.study.report import Study
from peftbench.study.report import page as study_page
from tests.study.made_up_study import row, study

HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x onerror=a>&\"'</style></svg>"
ANATOMY = dict.fromkeys(("weights", "trainable", "gradients", "optimizer", "activations", "workspace"), 2**20)
LOADS = re.compile(r"""<(?:script|link|img|iframe|object|embed|base)\b|@import|url\(|\b(?:src|href)=|https?:""")


def named(name: str, preset: str = "dora-r12", **of: float) -> Group:
    one = row(preset, **of)
    return group_of(name, [replace(r, run=replace(r.run, name=name, preset=name, workload=name)) for r in one.records])


def with_memory(one: Group, **parts: int | None) -> Group:
    records = [replace(r, run=replace(r.run, memory_predicted=ANATOMY | parts)) for r in one.records]
    return group_of(one.label, records)


class Tags(HTMLParser):
    """Collects the start tags of a document and checks that they are closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def compared() -> str:
    groups = [with_memory(named(HOSTILE)), with_memory(named(HOSTILE + "2", "dora-r4", accuracy=0.75))]
    groups = [
        group_of(one.label, [replace(r, run=replace(r.run, workload=HOSTILE)) for r in one.records]) for one in groups
    ]
    return html(page(compare(groups)), runs.of_groups(groups, {}))


def test_hostile_names_are_text_and_nothing_else(compared: str) -> None:
    tags = Tags(compared)
    assert tags.open == []
    assert set(tags.seen) & {"script", "img"} == set()
    assert "&lt;script&gt;alert(1)" in compared
    assert compared.count("</style>") == 1


@pytest.mark.slow
def test_a_report_loads_nothing(compared: str) -> None:
    assert LOADS.findall(html(study_page(held()), of_study(held().groups, {}))) == []
    assert "default-src 'none'" in compared


def test_every_field_of_a_page_is_escaped() -> None:
    line = Line(HOSTILE, tag=HOSTILE)
    sheet = Sheet(HOSTILE, HOSTILE, (HOSTILE, HOSTILE), ((Cell(HOSTILE), Cell(HOSTILE, best=True)),), (HOSTILE,))
    curve = Curve(HOSTILE, (1.0, 2.0), (1.0, 2.0), labelled=True)
    marks = [
        Picture(HOSTILE, HOSTILE, HOSTILE, HOSTILE, (curve,), ticks=((1.0, HOSTILE),), notes=(HOSTILE,)),
        Picture(HOSTILE, HOSTILE, HOSTILE, HOSTILE, parts=(HOSTILE,), bars=(Bar(HOSTILE, (1.0,)),)),
        Picture(HOSTILE, HOSTILE, HOSTILE, HOSTILE, (replace(curve, labelled=False),)),
        nothing(HOSTILE, HOSTILE, HOSTILE),
    ]
    text = html(Page(HOSTILE, (line,), (line,), (line,), (sheet,), (HOSTILE,)), marks)
    assert "<script" not in text and "<img" not in text
    assert Tags(text).open == []


def held() -> Study:
    groups = study({"dora-r1": {"accuracy": 0.6}})
    groups = StudyGroups({key: with_memory(one) for key, one in groups.rows.items()}, (), ())
    return Study(groups, findings(groups), compare(groups.all))


def test_the_studys_report_has_its_claims_first_and_its_pictures() -> None:
    found = held()
    text = html(study_page(found), of_study(found.groups, {}))
    assert text.index("NOT the study") < text.index('<li class="') < text.index("<svg") < text.index("<table")
    assert re.findall(r'<figure id="(\w+)"', text) == ["curves", "ranks", "pareto", "memory"]
    assert "power over time: no power was measured" in text
    assert text.count("<tr>") > 30


def test_figure_2_has_dev_solid_and_train_dashed_with_open_markers() -> None:
    groups = [row("dora-r1", gap=0.1), row("dora-r12", gap=0.2)]
    drawn = runs.curves(groups)
    assert [(curve.dashed, curve.hollow, curve.colour) for curve in drawn.curves] == [
        (True, True, 0),
        (False, False, 0),
        (True, True, 1),
        (False, False, 1),
    ]
    assert drawn.curves[1].xs == (1.0, 2.0)
    assert drawn.curves[1].ys == pytest.approx((0.7, 0.7))
    assert drawn.curves[0].ys == pytest.approx((0.7, 0.8))
    text = svg(drawn)
    assert (text.count('line c1 dashed"'), text.count('line c1"'), text.count('dot c1 hollow"')) == (1, 1, 2)


def test_a_score_against_rank_has_its_interval() -> None:
    drawn = runs.ranks([row("dora-r1", accuracy=0.6), row("dora-r12"), row("full")])
    (curve,) = drawn.curves
    assert (curve.xs[0], drawn.ticks[1][1]) == (0.0, "12")
    assert all(low < y < high for low, y, high in zip(curve.lows, curve.ys, curve.highs, strict=True))
    assert svg(drawn).count('class="whisker') == 6


def test_a_wide_interval_is_cut_at_the_picture_and_keeps_the_points_apart() -> None:
    curve = Curve("x", (1.0, 2.0), (0.5, 0.6), lows=(-9.0, 0.55), highs=(9.0, 0.65))
    drawn = Picture("k", "t", "x", "y", (curve,))
    low, high = bounds(drawn)[1]
    assert 0.2 < low < 0.5 < 0.6 < high < 0.9
    assert svg(drawn).count('class="whisker') == 4


def test_memory_is_in_mib_and_says_whether_it_was_measured() -> None:
    drawn = runs.memory([with_memory(row("full"), weights=3 * 2**20), row("dora-r1")])
    assert drawn.bars == (Bar("full", (3.0, 1.0, 1.0, 1.0, 1.0)),)
    assert drawn.notes[0].startswith("predicted") and drawn.notes[1] == "unknown: dora-r1"
    assert runs.memory([row("full")]).empty is not None


def test_what_is_not_dominated_is_filled() -> None:
    groups = [row("full", accuracy=0.6, memory_mib=900), row("dora-r1", memory_mib=400)]
    drawn = runs.front(pareto(groups, "rss"))
    assert {curve.name: curve.hollow for curve in drawn.curves if curve.labelled} == {
        "full (<1 %)": True,
        "dora-r1 (100 %)": False,
    }


def test_names_beside_points_do_not_lie_on_each_other() -> None:
    close = [Curve(f"name{n}", (1.0,), (0.5 + n / 1000,), joined=False, labelled=True) for n in range(4)]
    far = Curve("far", (2.0,), (0.9,), joined=False, labelled=True)
    root = ElementTree.fromstring(svg(Picture("k", "t", "x", "y", (*close, far))))
    at = sorted(float(text.get("y", 0)) for text in root.iter("text") if (text.text or "").startswith("name"))
    assert all(b - a >= 13 for a, b in itertools.pairwise(at))


def test_power_is_thinned_by_means() -> None:
    one = row("full", 1)
    samples = [SampleRow(n, 100.0 + n, "train", power_w=50.0 if n % 2 else 70.0) for n in range(4000)]
    (curve,) = runs.power([one], {one.first.id: samples}).curves
    assert len(curve.xs) == 400
    assert curve.ys == pytest.approx([60.0] * 400)


@pytest.mark.parametrize("ys", [(None, None), (0.5, None), (0.5, 0.5), (None, 0.2)])
def test_gaps_and_flat_curves_are_drawn(ys: tuple[float | None, ...]) -> None:
    text = svg(Picture("k", "t", "x", "y", (Curve("x", (1.0, 2.0), ys),)))
    assert ElementTree.fromstring(text) is not None
    assert text.count("<circle") == sum(y is not None for y in ys)


@pytest.mark.slow
def test_the_studys_averages_stand_in_the_picture_of_ranks_of_its_report_alone() -> None:
    groups = held().groups
    ranks = next(picture for picture in of_study(groups, {}) if picture.key == "ranks")
    theirs = ranks.curves[-1]
    assert (theirs.name, theirs.dashed, theirs.hollow) == ("dora, the study's Table 1", True, True)
    assert theirs.ys == (0.731, 0.747, 0.758, 0.748, 0.750)
    assert [label for _, label in ranks.ticks] == ["1", "4", "12", "24", "128"]
    plain = next(picture for picture in runs.of_groups(list(groups.rows.values()), {}) if picture.key == "ranks")
    assert "study" not in " ".join(curve.name for curve in plain.curves)
