"""Charts by matplotlib (if installed) and in a terminal."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest

from peftbench.errors import MissingError
from peftbench.plot import ASCII
from peftbench.report.charts.chart import Bar, Curve, Picture, nothing
from peftbench.report.charts.matplotlib import drawn
from peftbench.report.charts.terminal import Drawn, chart
from tests.printing import printed

CURVES = Picture(
    "curves",
    "by epoch",
    "epoch",
    "Dev Avg",
    (
        Curve("dora $x$ & <b>", (1.0, 2.0, 3.0), (0.5, None, 0.7), 0),
        Curve("_hidden", (1.0, 2.0), (0.6, 0.8), 1, dashed=True, hollow=True),
    ),
    whole_x=True,
    notes=("a note",),
)
RANKS = Picture(
    "ranks",
    "by rank",
    "rank",
    "Dev Avg",
    (Curve("dora", (0.06, 2.06), (0.5, 0.6), lows=(0.4, 0.55), highs=(0.6, 0.65)),),
    ticks=((0.0, "1"), (2.0, "4")),
)
BARS = Picture("memory", "memory", "MiB", "", parts=("weights", "gradients"), bars=(Bar("full", (300.0, 100.0)),))
SCATTER = Picture("pareto", "front", "MiB", "Dev Avg", (Curve("full", (900.0,), (0.7,), joined=False, labelled=True),))


class TestByMatplotlib:
    @pytest.mark.slow
    @pytest.mark.parametrize("picture", [CURVES, RANKS, BARS, SCATTER], ids=lambda picture: picture.key)
    def test_every_kind_is_drawn_the_same_each_time(self, picture: Picture) -> None:
        pytest.importorskip("matplotlib")
        text = drawn(picture, "svg")
        assert ElementTree.fromstring(text) is not None
        assert drawn(picture, "svg") == text

    def test_png_is_png_and_names_are_written_as_they_are(self) -> None:
        pytest.importorskip("matplotlib")
        assert drawn(CURVES, "png").startswith(b"\x89PNG")
        text = "".join(ElementTree.fromstring(drawn(CURVES, "svg")).itertext())
        assert "dora $x$ & <b>" in text
        assert "_hidden" in text

    def test_nothing_to_draw_is_an_error(self) -> None:
        pytest.importorskip("matplotlib")
        with pytest.raises(MissingError, match="no power was measured"):
            drawn(nothing("power", "power", "no power was measured"), "svg")

    def test_without_matplotlib_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(MissingError) as caught:
            drawn(CURVES, "svg")
        assert "peftbench[plots]" in str(caught.value.hint)


class TestInATerminal:
    def test_curves_keep_their_markers_and_dashes(self) -> None:
        found = chart(CURVES)
        assert [(one.name, one.dashed, one.marker) for one in found.series] == [
            ("dora $x$ & <b>", False, 0),
            ("_hidden", True, 1),
        ]
        assert found.whole_x
        assert "a note" in printed(Drawn(CURVES), 80)

    def test_intervals_are_a_table_by_rank(self) -> None:
        lines = printed(Drawn(RANKS), 80).splitlines()
        assert any(line.split() == ["dora", "4", "0.600", "[0.550,", "0.650]"] for line in lines)

    @pytest.mark.parametrize("picture", [CURVES, RANKS, BARS, SCATTER], ids=lambda picture: picture.key)
    def test_it_fits_80_columns_also_in_ascii(self, picture: Picture) -> None:
        text = printed(Drawn(picture, ASCII), 80)
        assert max(map(len, text.splitlines())) <= 80
        assert text.replace("─", "-").isascii()

    def test_bars_are_as_long_as_their_parts(self) -> None:
        line = next(line for line in printed(Drawn(BARS, ASCII), 80).splitlines() if line.startswith("full"))
        assert (line.count("#"), line.count("=")) == (50, 16)
        assert line.endswith(" 400")

    def test_what_is_empty_says_why(self) -> None:
        assert printed(Drawn(nothing("power", "power", "not measured")), 80).strip() == "power: not measured"
