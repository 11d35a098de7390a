"""Which snapshots are worth a redraw."""

from __future__ import annotations

import threading
from dataclasses import replace

from textual.message import Message

from peftbench.tui.machine import Machine
from peftbench.tui.poller import CLOCK_EVERY_S, Poller, StateReady, worth_showing
from peftbench.tui.state import DashboardState, StateRequest


def test_only_what_shows_something_else_is_worth_it_but_for_the_clock() -> None:
    before = DashboardState(100.0, total=3)
    assert not worth_showing(before, replace(before, now_s=100.3))
    assert worth_showing(before, replace(before, now_s=100.0 + CLOCK_EVERY_S))
    for other in (
        {"total": 4},
        {"problem": "gone"},
        {"machine": Machine(cores=2)},
        {"pinned": ("a",)},
        {"read": False},
    ):
        assert worth_showing(before, replace(before, now_s=100.1, **other))


def test_a_feed_posts_no_snapshot_twice() -> None:
    class Counting:
        looks = 0

        def look(self, wanted: StateRequest) -> DashboardState:
            self.looks += 1
            if self.looks == 10:
                enough.set()
            return DashboardState(100.0, total=self.looks // 5)

        def close(self) -> None:
            pass

    enough, posted = threading.Event(), list[Message]()
    poller = Poller(Counting, posted.append, every_s=0.001)
    poller.start()
    assert enough.wait(60)
    poller.close()
    totals = [message.snapshot.total for message in posted if isinstance(message, StateReady)]
    assert totals == sorted(set(totals))
    assert len(totals) >= 2
