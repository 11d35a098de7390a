"""Everything of one run, a page each: what `peftbench show` prints, its curves by task, its log."""

from __future__ import annotations

import json
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static, TabbedContent, TabPane

from peftbench.report import resources, tables
from peftbench.report.anatomy import memory_page
from peftbench.report.watching import curves
from peftbench.spec import flatten
from peftbench.store.rows import RunRecord
from peftbench.tui.actions import BY_NAME
from peftbench.tui.screens.acting import ActsOnRun
from peftbench.tui.snapshot import Snapshot
from peftbench.tui.widgets.chart_view import ChartView
from peftbench.tui.widgets.key_bar import KeyBar

PAGES = ("overview", "curves", "phases", "memory", "spec")


class RunView(ActsOnRun):
    """One run, live while it goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Back"),
        *(Binding(str(number), f"page('{page}')", page.capitalize()) for number, page in enumerate(PAGES, 1)),
        *(BY_NAME[name].binding() for name in ("log", "stop", "resume", "retry", "export", "delete")),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self._shown: tuple[RunRecord, str] | None = None

    @property
    def run_at_hand(self) -> str | None:
        """The run that is shown."""
        return self.run_id

    def compose(self) -> ComposeResult:
        """Lay the pages out."""
        yield Static(id="title")
        with TabbedContent(classes="page"):
            for number, page in enumerate(PAGES, 1):
                with TabPane(f"{number} {page}", id=page):
                    if page == "curves":
                        yield ChartView(self.app.glyphs)
                    else:
                        with VerticalScroll(id=f"scroll_{page}"):
                            yield Static(id=f"page_{page}")
        yield KeyBar()

    def on_mount(self) -> None:
        """Show what is known of the run; the dashboard below asks for it."""
        self.show(self.app.snapshot)

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the page that is looked at now."""
        active = self.query_one(TabbedContent).active
        if active != "curves":
            self.query_one(f"#scroll_{active}").focus()
        self.show(self.app.snapshot)

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot, where it says something new of the run."""
        if not self.query(TabbedContent):  # not laid out yet, or no more
            return
        detail = snapshot.details.get(self.run_id)
        active = self.query_one(TabbedContent).active
        if detail is None or not active:
            if snapshot.read and snapshot.line(self.run_id) is None:
                self.query_one("#title", Static).update(Text("this run is not there any more", style="bold"))
            return
        if self._shown == (detail.record, active):
            return
        self._shown = (detail.record, active)
        self.query_one("#title").display = active != "overview"  # which begins with it
        self.query_one("#title", Static).update(tables.run_title(detail.record.run))
        if active == "curves":
            self.query_one(ChartView).put(curves(detail.record, self.app.glyphs))
        else:
            self.query_one(f"#page_{active}", Static).update(_page(active, detail.record))

    def action_page(self, page: str) -> None:
        """Look at a page."""
        self.query_one(TabbedContent).active = page


def _page(page: str, record: RunRecord) -> RenderableType:
    if page == "overview":
        return tables.run_page(record)
    if page == "phases":
        return resources.phases(record)
    if page == "memory":
        return memory_page(record.run)
    values = dict(flatten(json.loads(record.run.spec_json)))
    return tables.spec_table(values.items(), record.run.origins)
