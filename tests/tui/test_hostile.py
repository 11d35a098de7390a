"""10,000 fuzzed names and texts on the screen: no crash, no escape sequence, nothing clickable, full rows."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from peftbench.report.tables import run_page
from peftbench.store.rows import Event
from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.run_view import RunView
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.runs_table import RunsTable
from tests.marks import soaked_but
from tests.printing import HOSTILE
from tests.tui.world import AT, NOW_S, ON_CARD, Given, drive, going_on, run_record, snapshot

COUNT = 10_000
_PIECES = (
    *HOSTILE,
    *(
        "[@click=app.quit]",
        "[@click=app.bell()]x[/]",
        "m[/x]",
        "m[r=8]",
        "lora[/]",
        "[bold",
        "]",
        "\\[",
        "[link=http://x]y[/link]",
    ),
    *("\x1b]52;c;aGk=\x07", "\x1b[2J", "\x1b[?1049l", "\x9b31m", "\x00", "\x7f", "\x08" * 5, "\r", "\n", "\t", "\v"),
    *(
        "名前",
        "ｆｕｌｌ",
        "👩‍🔬",
        "🏳️‍🌈",
        "é",
        "\u0301\u0301",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\U000e0041",
        "ﷺ",
        "﷽",
        "ก็็็",
    ),
    *("$", "${x}", "{0}", "%s", "..", "-", "--help", "'; DROP TABLE runs;--", "a" * 300, " ", "lora-r12"),
)


_ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_OF_SCROLLBARS = ("grab", "release", "scroll_up", "scroll_down")


def fuzzed(count: int, seed: int = 0) -> list[str]:
    """Return random texts of hostile fragments and characters from all of Unicode."""
    noise = random.Random(seed)
    found = []
    for _ in range(count):
        pieces = [noise.choice(_PIECES) for _ in range(noise.randint(0, 4))]
        for _ in range(noise.randint(0, 6)):
            pieces.append(chr(noise.choice((noise.randint(0, 0x2FF), noise.randint(0, 0x10FFFF)))))
        noise.shuffle(pieces)
        found.append("".join(piece for piece in pieces if not "\ud800" <= piece <= "\udfff"))
    return found


def check(app: PeftbenchApp) -> None:
    """Check that the screen has no control characters or links, and that every row has its full width."""
    width = app.size.width
    for strip in app.screen._compositor.render_strips():
        text = "".join(segment.text for segment in strip)
        assert cell_len(text) == width, ascii(text)
        for segment in strip:
            assert segment.control is None
            assert not _ACTS.search(segment.text), ascii(segment.text)
            meta = segment.style.meta if segment.style else {}
            actions = {key: value for key, value in meta.items() if key.startswith("@")}
            assert all(value in _OF_SCROLLBARS for value in actions.values()), (ascii(text), meta)
            assert segment.style is None or segment.style.link is None


@pytest.mark.slow
@pytest.mark.soak
def test_ten_thousand_names_in_the_table() -> None:
    template = run_record()
    lines = snapshot(template).lines * COUNT
    names = fuzzed(COUNT)
    fuzzy = tuple(
        replace(
            line,
            run=replace(line.run, id=f"run{n:05d}", name=name, workload=names[-n], method=names[n - 7], sweep=name),
        )
        for n, (line, name) in enumerate(zip(lines, names, strict=True))
    )

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        table = app.screen.query_one(RunsTable)
        assert table.row_count == COUNT
        await pilot.press("z")
        await pilot.pause()
        assert table.size.height > 50
        for row in range(0, COUNT, table.size.height - 3):
            table.scroll_to(y=row, animate=False, force=True)
            table.move_cursor(row=min(row + 5, COUNT - 1), scroll=False)
            await pilot.pause()
            check(app)

    drive(test, Given(DashboardState(NOW_S, fuzzy, (), {}, ON_CARD)), size=(80, 100))


@pytest.mark.slow
@pytest.mark.parametrize("seed", soaked_but((0,), range(3)))
def test_names_in_curves_header_lines_and_pages(seed: int) -> None:
    names = fuzzed(60, seed + 1)
    source = Given(snapshot(run_record()))

    def world(number: int) -> DashboardState:
        one, two, three, four = (names[(number + k) % len(names)] for k in range(4))
        first = run_record("run00001", one)
        first = replace(first, run=replace(first.run, preset=two, workload=three, encoder=four, method=two))
        events = tuple(Event(n, AT, text, text) for n, text in enumerate((one, two, three)))
        second = going_on("run00002", two, reason=three)
        card = replace(ON_CARD.cards[0], name=four)
        records = (replace(first, events=events), second)
        run_page(records[0])
        return snapshot(*records, machine=replace(ON_CARD, cards=(card,)), problem=one or None)

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        for number in range(len(names)):
            app.snapshot = source.snapshot = world(number)
            app.screen_stack[0].show(app.snapshot)  # type: ignore[attr-defined]
            await pilot.pause()
            check(app)
            if number % 10 == 0:
                app.push_screen(RunView("run00001"))
                await pilot.pause()
                check(app)
                await pilot.press("escape")
            if number % 7 == 0:
                app.show_message(names[number] or "x", wrong=True)
                await pilot.pause()
                check(app)

    drive(test, source, size=(120, 36))
