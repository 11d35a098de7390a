"""Content of charts: every point, only the lines between points, exactly the requested size."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from peftbench.plot import ASCII, BRAILLE, Chart, Range, Series, draw, lay_out
from peftbench.plot.layout import y_range
from peftbench.plot.model import CURSOR
from peftbench.plot.rich_lines import rich_lines
from tests.plot.pictures import inside, lines, lit, one, picture

HOSTILE = ["[red]x[/]", "\x1b[31mx", "[@click=app.x]y[/]", "\x1b]8;;http://x\x07z", "a\nb\rc", "\u202egnp", ":smile:"]
WIDE = ["日本語", "한국어", "👩‍👩‍👧", "❤️ 1️⃣", "e\u0301tude", "हिन्दी", "🧑🏽‍💻", "\u2630\u4dc0", "\u1112\u1161\u11ab"]

numbers = st.one_of(st.floats(-1, 1), st.floats(allow_nan=True, allow_infinity=True), st.none(), st.just(0.0))
finite = st.floats(-1e300, 1e300)
names = st.one_of(st.sampled_from(HOSTILE + WIDE), st.text(max_size=12))
sizes = st.tuples(st.integers(1, 130), st.integers(1, 45))


@st.composite
def series(draw: st.DrawFn, values: st.SearchStrategy[float | None] = numbers) -> Series:
    xs = sorted(draw(st.lists(st.one_of(st.integers(0, 30), finite), max_size=30)))
    ys = draw(st.lists(values, min_size=len(xs), max_size=len(xs)))
    marker = draw(st.one_of(st.none(), st.integers(0, 40)))
    return Series(draw(names), xs, ys, "cyan", draw(st.booleans()), marker, draw(names))


@st.composite
def ranges(draw: st.DrawFn) -> Range | None:
    low, high = sorted((draw(finite), draw(finite)))
    return Range(low, high) if low < high else None


charts = st.builds(
    Chart,
    st.lists(series(), max_size=5).map(tuple),
    x=ranges(),
    y=ranges(),
    title=names,
    x_label=names,
    whole_x=st.booleans(),
    legend_rows=st.integers(0, 3),
    cursor_x=st.one_of(st.none(), finite),
)


@pytest.mark.slow
@settings(max_examples=200)
@given(charts, sizes, st.sampled_from([BRAILLE, ASCII]))
def test_a_chart_is_exactly_as_large_as_asked_for_whatever_is_in_it(chart, size, glyphs) -> None:
    drawn = picture(chart, *size, glyphs)
    assert all(character.isprintable() for line in drawn for character in line)


@given(charts, sizes)
def test_ascii_is_ascii_but_for_the_names(chart: Chart, size: tuple[int, int]) -> None:
    nameless = tuple(Series("x", one.xs, one.ys, one.color, one.dashed, one.marker) for one in chart.series)
    chart = Chart(nameless, chart.x, chart.y, "title", "x", chart.whole_x, cursor_x=chart.cursor_x)
    assert all(line.isascii() for line in picture(chart, *size, ASCII))


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(numbers, min_size=1, max_size=400), ranges(), st.tuples(st.integers(1, 60), st.integers(1, 20)))
def test_every_point_within_range_has_its_dot(ys: list[float | None], y: Range | None, size: tuple[int, int]) -> None:
    chart = one(ys, y=y)
    frame = lay_out(chart, *size, BRAILLE)
    shown = lit(chart, *size)
    known = [(x, y) for x, y in enumerate(ys, 1) if y is not None and math.isfinite(y) and inside(frame.y, y)]
    assert {frame.dot(x, y) for x, y in known} <= shown
    if not any(y is not None and math.isfinite(y) for y in ys):
        assert not shown


@given(st.lists(st.one_of(st.floats(-1, 1), st.none()), min_size=1, max_size=60))
def test_every_dot_lies_between_two_neighbouring_points(ys: list[float | None]) -> None:
    chart, size = one(ys), (40, 10)
    frame = lay_out(chart, *size, BRAILLE)
    places = [None if y is None else frame.dot(x, y) for x, y in enumerate(ys, 1)]
    pairs = [(a, b) for a, b in pairwise(places) if a and b] + [(a, a) for a in places if a]
    boxes = [[sorted(values) for values in zip(*pair, strict=True)] for pair in pairs]
    for x, y in lit(chart, *size):
        assert any(left <= x <= right and top <= y <= bottom for (left, right), (top, bottom) in boxes)


@pytest.mark.slow
@given(st.lists(st.one_of(st.floats(-1, 1), st.none()), min_size=2, max_size=60))
def test_dashes_are_part_of_the_line(ys: list[float | None]) -> None:
    assert lit(one(ys, dashed=True), 60, 20) <= lit(one(ys), 60, 20)


def test_a_line_is_unbroken_and_a_dashed_one_is_not() -> None:
    solid, dashed = lit(one([0.0, 1.0]), 60, 20), lit(one([0.0, 1.0], dashed=True), 60, 20)
    across = {x for x, _ in solid}
    assert across == set(range(max(across) + 1))
    for x, y in solid:
        assert (x, y) == max(solid) or any((x + dx, y + dy) in solid for dx in (0, 1) for dy in (-1, 0, 1) if dx or dy)
    assert 0.4 < len(dashed) / len(solid) < 0.8


@pytest.mark.parametrize("ys", [[0.0, None, 1.0], [0.0, math.nan, 1.0], [0.0, math.inf, 1.0]])
def test_a_gap_is_not_joined(ys: list[float | None]) -> None:
    chart = one(ys)
    frame = lay_out(chart, 60, 20, BRAILLE)
    assert lit(chart, 60, 20) == {frame.dot(1, 0.0), frame.dot(3, 1.0)}


def test_a_point_alone_is_a_dot_in_the_middle() -> None:
    chart = one([0.5])
    (dot,) = lit(chart, 40, 10)
    frame = lay_out(chart, 40, 10, BRAILLE)
    assert dot[0] == 0
    assert abs(dot[1] - (4 * frame.rows - 1) / 2) <= 0.5


def test_equal_values_are_a_line_in_the_middle() -> None:
    chart = one([0.25] * 5)
    frame = lay_out(chart, 40, 10, BRAILLE)
    assert {y for _, y in lit(chart, 40, 10)} == {frame.dot(1, 0.25)[1]}
    assert len(lit(chart, 40, 10)) == 2 * frame.columns


@pytest.mark.parametrize("chart", [Chart(()), one([]), one([None, None])])
@pytest.mark.parametrize("glyphs", [BRAILLE, ASCII])
def test_a_chart_without_points_says_so(chart: Chart, glyphs) -> None:
    drawn = picture(chart, 40, 10, glyphs)
    assert "".join(drawn).split() == [
        "no",
        "data",
        "yet",
        *(["━" if glyphs is BRAILLE else "A", "one"] if chart.series else []),
    ]
    picture(chart, 1, 1, glyphs)


def test_a_view_past_the_points_says_so() -> None:
    assert "no data in this range" in "".join(picture(one([1.0, 2.0], x=Range(5, 6)), 40, 10))


def test_a_line_through_the_view_is_clipped_not_left_out() -> None:
    chart = one([0.0, 10.0], [0.0, 10.0], x=Range(4, 6), y=Range(4, 6))
    frame = lay_out(chart, 40, 12, BRAILLE)
    right, bottom = 2 * frame.columns - 1, 4 * frame.rows - 1
    assert {(0, bottom), (right, 0)} <= lit(chart, 40, 12)


def test_a_cell_has_the_colour_of_whoever_has_most_of_its_dots() -> None:
    flat = Series("flat", (0, 1), (0.5, 0.5), "red")
    steep = Series("steep", (0.5, 0.5), (0.0, 1.0), "blue")
    for order in ((flat, steep), (steep, flat)):
        chart = Chart(order, x=Range(0, 1), y=Range(0, 1), legend_rows=0)
        rows = draw(chart, 41, 11)
        frame = lay_out(chart, 41, 11, BRAILLE)
        column, row = frame.cell(0.5, 0.5)
        at, styles = 0, {}
        for segment in rows[frame.top + row]:
            styles |= dict.fromkeys(range(at, at + len(segment.text)), segment.style)
            at += len(segment.text)
        assert styles[frame.left + column] == "blue"
        assert styles[frame.left + column + 5] == "red"


def test_in_ascii_each_series_has_its_letter_and_the_dashed_twin_the_small_one() -> None:
    dev, train = (Series(name, (1, 9), (y, y), "c", dashed, 3) for name, y, dashed in (("d", 1, False), ("t", 2, True)))
    drawn = picture(Chart((dev, train, Series("third", (1, 9), (3, 3)))), 60, 14, ASCII)
    assert drawn[-1].split() == ["D", "d", "d", "t", "C", "third"]
    plot = "".join(drawn[:-3])
    assert plot.count("D") == plot.count("C") > plot.count("d") > 10


def test_of_equals_the_last_one_has_the_cell() -> None:
    twins = tuple(Series(color, (0, 1), (0.5, 0.5), color) for color in ("red", "blue"))
    rows = draw(Chart(twins, x=Range(0, 1), legend_rows=0), 41, 11)
    assert {segment.style for row in rows for segment in row} & {"red", "blue"} == {"blue"}


@pytest.mark.parametrize("ys", [[0.0, 0.4, 0.1, 0.9, 1.0], [1.0, 0.0, 1.0, 0.0, 1.0]])
def test_points_far_apart_have_their_dots_on_a_dashed_line_too(ys: list[float]) -> None:
    chart = one(ys, dashed=True)
    frame = lay_out(chart, 100, 30, BRAILLE)
    assert {frame.dot(x, y) for x, y in enumerate(ys, 1)} <= lit(chart, 100, 30)


def test_markers_stand_on_points_and_keep_apart() -> None:
    ys = [0.5] * 200
    line = next(line for line in picture(one(ys, marker=1), 60, 10) if "▲" in line)
    places = [place for place, character in enumerate(line) if character == "▲"]
    assert len(places) > 10
    assert min(b - a for a, b in pairwise(places)) >= 4
    assert "△" in "".join(picture(one(ys, marker=1, dashed=True), 60, 10))


def test_a_cursor_is_a_line_of_its_own_style() -> None:
    chart = Chart((Series("a", (0, 10), (0, 1), "red"),), cursor_x=5.0)
    rows = draw(chart, 40, 12)
    assert sum(segment.style == CURSOR for row in rows for segment in row) >= 5


class TestLong:
    """A series with more points than columns looks the same with and without numpy."""

    @settings(max_examples=20)
    @given(st.integers(0, 1000), st.booleans())
    def test_numpy_and_python_draw_alike(self, seed: int, gaps: bool) -> None:
        rng = np.random.default_rng(seed)
        xs, ys = np.sort(rng.uniform(0, 10, 4_000)), rng.normal(0, 1, 4_000).cumsum()
        if gaps:
            ys[rng.integers(0, 4_000, 900)] = math.nan
            ys[1000:1700] = math.inf
        short = Series("s", xs.tolist(), [None if math.isnan(y) else y for y in ys.tolist()])
        long = Series("s", np.repeat(xs, 6), np.repeat(ys, 6))
        whole = [draw(Chart((one,)), 80, 20) for one in (short, long)]
        assert whole[0] == whole[1]

    @pytest.mark.parametrize("held", [list, tuple, np.asarray, lambda values: array("d", values)])
    def test_every_point_of_many_has_its_dot(self, held) -> None:
        rng = np.random.default_rng(1)
        xs, ys = np.sort(rng.uniform(0, 1, 30_000)), rng.normal(0, 1, 30_000)
        chart = one(held(ys.tolist()), held(xs.tolist()))
        frame = lay_out(chart, 90, 25, BRAILLE)
        assert {frame.dot(x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)} <= lit(chart, 90, 25)

    @pytest.mark.parametrize("steps", [1, 3, 7])
    def test_a_steep_curve_of_many_points_is_unbroken(self, steps: int) -> None:
        ys = [round(40 * math.sin(place / 40) / steps) * steps for place in range(1_000)]
        shown = lit(one(ys), 100, 30)
        for x, y in shown:
            if x < max(shown)[0]:
                below = {dy for dx, dy in shown if dx == x}
                beside = {dy for dx, dy in shown if dx == x + 1}
                assert any(abs(a - b) <= 1 for a in below for b in beside), (x, y)

    def test_a_single_peak_among_many_is_seen(self) -> None:
        ys = [0.0] * 100_000
        ys[54_321] = 1.0
        chart = one(ys)
        frame = lay_out(chart, 80, 20, BRAILLE)
        assert frame.dot(54_322, 1.0) in lit(chart, 80, 20)


class TestRanges:
    def test_y_has_a_little_air_and_holds_all_points(self) -> None:
        found = y_range((Series("a", (1, 2, 3), (0.2, 0.9, 99.0)),), Range(1, 2))
        assert found.low == pytest.approx(0.165)
        assert found.high == pytest.approx(0.935)

    @pytest.mark.parametrize("ends", [(1, 1), (2, 1), (math.nan, 1), (0, math.inf), (-1.7e308, 1.7e308)])
    def test_a_range_without_extent_is_refused(self, ends: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="finite ends"):
            Range(*ends)

    @pytest.mark.parametrize("xs", [(2, 1), (1, math.nan, 2), (math.nan,), (1, math.inf)])
    def test_xs_must_ascend(self, xs: tuple[float, ...]) -> None:
        with pytest.raises(ValueError, match="ascending"):
            Series("a", xs, [0.0] * len(xs))
        with pytest.raises(ValueError, match="ascending"):
            Series("a", (*xs[:1], *[xs[0]] * 30_000, *xs[1:], -1e9), [0.0] * (30_001 + len(xs)))

    def test_as_many_ys_as_xs(self) -> None:
        with pytest.raises(ValueError, match="as many"):
            Series("a", (1, 2), (1.0,))

    def test_no_cell_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one cell"):
            draw(Chart(()), 0, 5)


@given(ranges(), st.integers(1, 150), st.booleans())
def test_labels_of_x_are_whole_and_apart(x: Range | None, width: int, whole: bool) -> None:
    chart = Chart((Series("", (0,), (0.5,)),), x=x, whole_x=whole)
    frame = lay_out(chart, width, 12, BRAILLE)
    assert picture(chart, width, 12)[-1].split() == [tick.label for _, tick in sorted(frame.x_ticks.items())]


class TestLegend:
    def chart(self, count: int, rows: int = 1) -> Chart:
        return Chart(
            tuple(Series(f"run {n}", (1,), (0.5,), "c", marker=n, note="0.5") for n in range(count)), legend_rows=rows
        )

    def test_what_has_no_room_is_counted(self) -> None:
        assert picture(self.chart(3), 40, 10)[-1].split("  ")[:3] == ["● run 0 0.5", "▲ run 1 0.5", "■ run 2 0.5"]
        assert picture(self.chart(20), 40, 10)[-1].rstrip() == "● run 0 0.5  ▲ run 1 0.5  +18"
        assert picture(self.chart(20, rows=2), 40, 10)[-1].rstrip().endswith("  +15")

    def test_a_long_name_is_cut(self) -> None:
        chart = Chart((Series("日" * 60, (1,), (0.5,)),))
        assert picture(chart, 20, 10)[-1].rstrip() == "━ " + "日" * 8 + ".."

    def test_a_series_without_a_name_is_not_in_it(self) -> None:
        assert picture(Chart((Series("", (1,), (0.5,)),)), 40, 10)[-1].strip().startswith("1")

    def test_small_charts_give_up_title_legend_and_axes_one_after_the_other(self) -> None:
        chart = Chart((Series("name", (1, 2), (0.5, 1.0), marker=0),), title="title")
        seen = {height: "\n".join(picture(chart, 40, height)) for height in (3, 5, 6, 7)}
        assert ["title" in seen[height] for height in seen] == [False, False, False, True]
        assert ["name" in seen[height] for height in seen] == [False, False, True, True]
        assert ["└" in seen[height] for height in seen] == [False, True, True, True]


@pytest.mark.parametrize("size", [(20, 5), (40, 8), (80, 24), (120, 36), (400, 100)])
@pytest.mark.parametrize("name", WIDE + HOSTILE)
def test_names_break_no_line_at_any_size(name: str, size: tuple[int, int]) -> None:
    chart = Chart((Series(name, (1, 2), (0.5, 1.0), marker=0, note=name),), title=name, x_label=name, empty=name)
    drawn = picture(chart, *size)
    assert all(character.isprintable() for line in drawn for character in line)
    picture(Chart((), empty=name, title=name), *size)


def test_rich_gets_the_same_text_with_its_styles() -> None:
    chart = Chart((Series("[red]x[/]", (1, 2), (0.5, 1.0), "cyan"),), title="t")
    rows = draw(chart, 50, 12)
    texts = rich_lines(rows)
    assert [text.plain for text in texts] == lines(rows)
    assert all(cell_len(text.plain) == 50 for text in texts)
    assert {span.style for text in texts for span in text.spans} >= {"cyan", "dim", "bold"}
