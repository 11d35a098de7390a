"""Snapshot tests of the screens, stored in `pictures/`: the text of each row, followed by its colours.

PICTURES=write python -m pytest tests/tui/test_pictures.py     # update the snapshots; then check the git diff
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from rich.style import Style
from textual.pilot import Pilot

from peftbench.plot import ASCII
from peftbench.tui.app import PeftbenchApp
from tests.tui.world import ON_CPU, Given, drive, going_on, run_record, screen_lines, snapshot, until

FOLDER = Path(__file__).with_name("pictures")
THREE = snapshot(
    run_record("run00003", "full-1", method="full"), going_on(), run_record("run00001", "lora-r12-1", state="stopped")
)


def picture(app: PeftbenchApp) -> str:
    """Return the screen's rows, then the style runs of each row as column=style."""
    styles = []
    for number, strip in enumerate(app.screen._compositor.render_strips()):
        column, told = 0, []
        for style, run in groupby(strip, key=lambda segment: _style_text(segment.style)):
            told.append(f"{column}={style}")
            column += sum(segment.cell_length for segment in run)
        styles.append(f"{number:>2} {' '.join(told)}")
    return "\n".join([*(line.rstrip() for line in screen_lines(app)), "", *styles, ""])


def _style_text(style: Style | None) -> str:
    if style is None:
        return "-"
    marks = "".join(letter for letter, on in (("b", style.bold), ("d", style.dim), ("r", style.reverse)) if on)
    colors = [color.name if color is not None else "" for color in (style.color, style.bgcolor)]
    return f"{colors[0]}/{colors[1]}{f'+{marks}' if marks else ''}"


def check(app: PeftbenchApp, name: str) -> None:
    """Compare the screen with its stored snapshot.

    Raises:
        AssertionError: it differs, or there is no snapshot.
    """
    path, drawn = FOLDER / f"{name}.txt", picture(app)
    if os.environ.get("PICTURES") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, "utf-8")
    assert path.exists(), f"{path} is not there: PICTURES=write draws it"
    assert drawn.splitlines() == path.read_text("utf-8").splitlines(), f"{path}: PICTURES=write draws it anew"


@pytest.fixture(autouse=True)
def _greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
def test_the_dashboard(size: tuple[int, int], theme: str) -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.pause()
        check(app, f"dashboard-{size[0]}x{size[1]}-{theme}")

    drive(test, Given(THREE), size=size, theme=theme)


def test_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        assert app.no_color
        await pilot.pause()
        check(app, "dashboard-80x24-no-colour")
        for sign in "●▲■":
            assert sum(sign in line for line in screen_lines(app)) >= 2

    drive(test, Given(THREE), size=(80, 24))


def test_ascii() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        check(app, "dashboard-80x24-ascii")

    drive(test, Given(THREE), size=(80, 24), glyphs=ASCII)


def test_no_runs() -> None:
    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        check(app, "empty-80x24")

    drive(test, Given(snapshot(machine=ON_CPU)), size=(80, 24))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
def test_help_and_form(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("peftbench.tui.screens.new_run._LATER_S", 1e6)  # no subprocess in a snapshot test

    async def test(pilot: Pilot[int], app: PeftbenchApp) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        check(app, f"help-{size[0]}x{size[1]}")
        await pilot.press("escape", "n")
        await until(pilot, lambda: any("lora on quickstart" in line for line in screen_lines(app)))
        await pilot.pause()
        check(app, f"form-{size[0]}x{size[1]}")

    drive(test, Given(THREE), size=size)
