"""Takes the pictures in this folder: the real dashboard, driven by keys as a newcomer would, with real runs.

    python docs/screens/take.py

From an empty database to two compared runs of the quickstart workload, and a third beside them; some minutes on two
cores.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from peftbench.tui.app import PeftbenchApp
from peftbench.tui.screens.compare import Compare
from peftbench.tui.screens.dashboard import Dashboard

FOLDER = Path(__file__).parent
SIZE = (120, 36)
PATIENCE_S = 1800.0


async def walk(database: Path) -> None:
    """Go from nothing to two compared runs and a third beside them, and take a picture at every station."""
    app = PeftbenchApp(database)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.snapshot.read)
        await take(pilot, "1-empty")

        await pilot.press("n")
        await until(pilot, lambda: "MiB" in text(app))
        await take(pilot, "2-form")
        await start(pilot, app)
        await until(pilot, lambda: done(app, "lora-r12-1") >= 1)
        await until(pilot, lambda: app.snapshot.lines[0].progress is not None)
        await take(pilot, "3-training")

        await pilot.press("n", "enter", *"last-layer", "enter")
        await until(pilot, lambda: "last-layer on quickstart" in text(app))
        await start(pilot, app)
        await until(pilot, lambda: isinstance(app.screen, Dashboard) and len(app.snapshot.lines) == 2)
        await until(pilot, lambda: all(line.state == "finished" for line in app.snapshot.lines))
        await pilot.pause(2)
        await take(pilot, "4-finished")

        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Compare) and "against" in text(app))
        await pilot.pause(2)
        await take(pilot, "5-compared")
        await pilot.press("escape")

        await pilot.press("n", "enter", *"full", "enter")
        await until(pilot, lambda: "full on quickstart" in text(app))
        await start(pilot, app)
        await until(pilot, lambda: isinstance(app.screen, Dashboard) and done(app, "full-1") >= 2)
        await until(pilot, lambda: app.snapshot.lines[0].progress is not None)
        await take(pilot, "6-several")
        await until(pilot, lambda: all(line.state == "finished" for line in app.snapshot.lines))
        await pilot.press("q")


async def start(pilot: Pilot[int], app: PeftbenchApp) -> None:
    """Start what the form shows, from its fourth field."""
    await until(pilot, lambda: "Enter starts" in text(app))
    await pilot.press("tab", "tab", "tab")
    await pilot.pause()
    await pilot.press("enter")


def done(app: PeftbenchApp, name: str) -> int:
    """Return how many epochs of a run are done."""
    return next((line.run.epochs_done for line in app.snapshot.lines if line.run.name == name), 0)


def text(app: PeftbenchApp) -> str:
    """Return what is on the screen."""
    return "\n".join("".join(part.text for part in strip) for strip in app.screen._compositor.render_strips())


async def until(pilot: Pilot[int], true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while not true():
        if asyncio.get_running_loop().time() > end:
            raise SystemExit(f"not within {PATIENCE_S:.0f} s: the screen is\n{text(pilot.app)}")  # type: ignore[arg-type]
        await pilot.pause(0.1)


async def take(pilot: Pilot[int], name: str) -> None:
    """Write the screen as a picture."""
    await pilot.pause(0.5)
    picture = pilot.app.export_screenshot(title="peftbench")
    fonts = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # they would be fetched from elsewhere
    (FOLDER / f"{name}.svg").write_text(fonts.sub("", picture), "utf-8")
    print(name)


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    asyncio.run(walk(Path("runs.db")))
