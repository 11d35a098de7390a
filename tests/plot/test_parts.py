"""Unit tests of ticks, lines, glyphs and text widths."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from peftbench.plot import ASCII, BRAILLE, Range, glyphs_for
from peftbench.plot.cells import fit, printable, width
from peftbench.plot.dots import Dots, clip, runs
from peftbench.plot.labels import spread
from peftbench.plot.ticks import ticks

anything = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    centre, extent = draw(anything), draw(st.floats(1e-12, 1e12))
    low, high = draw(st.sampled_from([(centre, draw(anything)), (centre, centre + extent), (0.0, extent)]))
    low, high = min(low, high), max(low, high)
    return Range(low, high) if low < high and math.isfinite(high - low) else Range(0.0, 1.0)


class TestTicks:
    @pytest.mark.slow
    @settings(max_examples=300)
    @given(ranges(), st.integers(1, 30), st.booleans())
    def test_they_are_inside_ascending_and_each_labelled_its_own_way(self, span, most, whole) -> None:
        found = ticks(span, most, whole)
        assert len(found) <= most
        assert all(span.low <= tick.value <= span.high for tick in found)
        assert all(a.value < b.value for a, b in pairwise(found))
        assert len({tick.label for tick in found}) == len(found)
        assert all(tick.label.isascii() and tick.label.strip() == tick.label for tick in found)
        if not whole:
            assert found
        else:
            assert all(tick.value == int(tick.value) for tick in found)

    @given(ranges(), st.integers(2, 30))
    def test_a_label_says_its_value(self, span: Range, most: int) -> None:
        units = {"k": 1e3, "M": 1e6, "G": 1e9}
        for tick in ticks(span, most):
            factor = units.get(tick.label[-1], 1.0)
            number = tick.label.rstrip("kMG")
            assert float(number) * factor == pytest.approx(tick.value, rel=1e-9, abs=0.0)

    @pytest.mark.parametrize(
        ("span", "most", "labels"),
        [
            ((0, 1), 6, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            ((0.47, 0.93), 6, ["0.5", "0.6", "0.7", "0.8", "0.9"]),
            ((1, 10), 10, [str(n) for n in range(1, 11)]),
            ((1, 10), 4, ["5", "10"]),
            ((-1, 1), 3, ["-1", "0", "1"]),
            ((0, 40_000), 5, ["0", "10000", "20000", "30000", "40000"]),
            ((0, 4_000_000), 5, ["0M", "1M", "2M", "3M", "4M"]),
            ((0, 4e7), 3, ["0M", "20M", "40M"]),
            ((0, 5e-7), 3, ["0e-7", "2e-7", "4e-7"]),
        ],
    )
    def test_examples(self, span: tuple[float, float], most: int, labels: list[str]) -> None:
        assert [tick.label for tick in ticks(Range(*span), most)] == labels

    def test_epochs_have_no_halves(self) -> None:
        assert [tick.label for tick in ticks(Range(1, 3), 9, integers=True)] == ["1", "2", "3"]
        assert ticks(Range(1.2, 1.8), 9, integers=True) == ()


points = st.tuples(st.integers(0, 40), st.integers(0, 40))
floats = st.tuples(st.floats(-100, 100), st.floats(-100, 100))


class TestLines:
    @given(points, points)
    def test_a_line_joins_its_ends_dot_to_dot(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        dots = []
        for x, first, last in runs(start, end):
            step = 1 if last >= first else -1
            dots += [(x, y) for y in range(first, last + step, step)]
        assert (dots[0], dots[-1]) == (start, end)
        assert len(dots) == max(abs(start[0] - end[0]), abs(start[1] - end[1])) + 1
        assert all(max(abs(a - c), abs(b - d)) == 1 for (a, b), (c, d) in pairwise(dots))

    @given(points, points)
    def test_each_dot_is_the_nearest_to_the_line(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        wide, high = end[0] - start[0], end[1] - start[1]
        for x, first, last in runs(start, end):
            for y in range(min(first, last), max(first, last) + 1):
                if abs(wide) >= abs(high):
                    ideal = start[1] + high * (x - start[0]) / wide if wide else y
                    assert abs(y - ideal) <= 0.5
                else:
                    assert abs(x - (start[0] + wide * (y - start[1]) / high)) <= 0.5

    @given(floats, floats)
    def test_a_clipped_line_lies_inside_and_on_the_line(self, start, end) -> None:
        found = clip(start, end, 30, 20)
        if found is None:
            for share in range(101):
                x, y = (a + (b - a) * share / 100 for a, b in zip(start, end, strict=True))
                assert not (0.01 < x < 29.99 and 0.01 < y < 19.99)
            return
        for x, y in found:
            assert 0 <= x <= 30
            assert 0 <= y <= 20
            across = (end[0] - start[0]) * (y - start[1]) - (end[1] - start[1]) * (x - start[0])
            assert abs(across) <= 1e-6 * max(1.0, math.dist(start, end)) * 100

    @given(floats, floats, st.one_of(st.none(), st.integers(0, 20)))
    def test_no_dot_is_off_the_grid(self, start, end, phase) -> None:
        dots = Dots(30, 20)
        dots.segment(start, end, phase)
        assert len(dots.columns) == 30
        assert all(0 <= column < 1 << 20 for column in dots.columns)

    @pytest.mark.parametrize("end", [(20, 0), (0, 20), (20, 3), (3, 20), (20, 20)])
    def test_dashes_go_on_over_a_joint_in_both_directions(self, end: tuple[int, int]) -> None:
        for start, finish in (((0, 0), end), (end, (0, 0))):
            whole, parts = Dots(21, 21), Dots(21, 21)
            whole.segment(start, finish, 0)
            line = [
                (x, y)
                for x, first, last in runs(start, finish)
                for y in range(first, last + (1 if last >= first else -1), 1 if last >= first else -1)
            ]
            phase = 0
            for a, b in pairwise(line):
                phase += parts.segment(a, b, phase)
            assert parts.columns == whole.columns


class TestGlyphs:
    @pytest.mark.parametrize(
        ("encoding", "term", "only", "wanted"),
        [
            ("utf-8", "xterm-256color", False, BRAILLE),
            ("UTF8", None, False, BRAILLE),
            ("utf-8", "xterm", True, ASCII),
            ("ascii", "xterm", False, ASCII),
            ("latin-1", "xterm", False, ASCII),
            (None, "xterm", False, ASCII),
            ("utf-8", "dumb", False, ASCII),
            ("utf-8", "linux", False, ASCII),
        ],
    )
    def test_what_a_terminal_can_show(self, encoding, term, only, wanted) -> None:
        assert glyphs_for(encoding, term, only) is wanted

    def test_each_glyph_takes_one_cell(self) -> None:
        for glyphs in (BRAILLE, ASCII):
            singles = (glyphs.axis, glyphs.tick_y, glyphs.corner, glyphs.line, glyphs.tick_x, glyphs.cursor)
            for character in (*singles, glyphs.solid, glyphs.dashed, *glyphs.markers, *glyphs.dashed_markers):
                assert (len(character), cell_len(character)) == (1, 1)

    def test_no_two_markers_are_alike(self) -> None:
        for glyphs in (BRAILLE, ASCII):
            for markers in (glyphs.markers, glyphs.dashed_markers, glyphs.markers + glyphs.dashed_markers):
                assert len(set(markers)) == len(markers)
            assert len(glyphs.markers) == len(glyphs.dashed_markers) == 21


class TestLabels:
    @pytest.mark.parametrize(
        ("wanted", "rows", "given"),
        [
            ([], 5, []),
            ([2, 4], 5, [2, 4]),
            ([2, 2], 5, [2, 3]),
            ([5, 5, 5], 10, [4, 5, 6]),
            ([9, 9, 9], 10, [7, 8, 9]),
            ([0, 0, 1], 10, [0, 1, 2]),
            ([0, 4, 4, 4, 9], 10, [0, 3, 4, 5, 9]),
            ([1, 1, 1], 3, [0, 1, 2]),
        ],
    )
    def test_labels_make_room_for_each_other(self, wanted: list[int], rows: int, given: list[int]) -> None:
        assert spread(wanted, rows) == given

    @given(st.integers(1, 12), st.lists(st.integers(0, 11), max_size=12))
    def test_each_has_a_row_of_its_own_in_order(self, rows: int, wanted: list[int]) -> None:
        wanted = sorted(row for row in wanted if row < rows)[:rows]
        given_rows = spread(wanted, rows)
        assert given_rows == sorted(set(given_rows))
        assert all(0 <= row < rows for row in given_rows)
        if len(set(wanted)) == len(wanted):
            assert given_rows == wanted


class TestCells:
    @settings(max_examples=500)
    @given(st.text(alphabet=st.characters(codec=None), max_size=20))
    def test_the_width_is_the_one_that_is_shown(self, text: str) -> None:
        assert width(printable(text)) == cell_len(printable(text))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "codes",
        [
            pytest.param(
                (*range(0x20, 0x3400), *range(0x3400, 0x110000, 11)), id="an alphabet's, and of the others some"
            ),
            pytest.param(range(0x20, 0x110000), id="all", marks=pytest.mark.soak),
        ],
    )
    def test_so_it_is_for_every_character(self, codes: Iterable[int]) -> None:
        for code in codes:
            text = printable(f"a{chr(code)}")
            assert width(text) == cell_len(text), hex(code)

    @given(st.text(max_size=20), st.integers(0, 12))
    def test_a_cut_text_fits(self, text: str, cells: int) -> None:
        shown = printable(text)
        cut = fit(shown, cells)
        assert width(cut) <= cells
        assert cut == shown or cut.endswith(".") or cells == 0


def test_drawing_needs_neither_rich_nor_textual_and_numpy_only_for_long_series() -> None:
    script = (
        "import sys; from peftbench.plot import Chart, Series, draw;"
        "draw(Chart((Series('a', (1, 2), (3, 4)),)), 40, 10);"
        "print([m for m in ('rich', 'textual', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
