"""Details of one run on tabbed pages: the output of `peftbench show`, and the curves by task."""

from __future__ import annotations

from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static, TabbedContent, TabPane

from peftbench.report import resources, tables
from peftbench.report.memory import memory_page
from peftbench.report.watching import curves
from peftbench.store.rows import RunRecord
from peftbench.tui.actions import BY_NAME
from peftbench.tui.screens.run_screen import RunScreen
from peftbench.tui.state import DashboardState
from peftbench.tui.widgets.chart_view import ChartView
from peftbench.tui.widgets.key_bar import KeyBar

PAGES = ("overview", "curves", "phases", "memory", "spec")


class RunView(RunScreen):
    """Details of one run, updated while it is active."""

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
        """The id of the run shown."""
        return self.run_id

    def compose(self) -> ComposeResult:
        """Yield the pages."""
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
        """Show the current snapshot; the dashboard screen below requests the run's data."""
        self.show(self.app.snapshot)

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill the active page."""
        active = self.query_one(TabbedContent).active
        if active != "curves":
            self.query_one(f"#scroll_{active}").focus()
        self.show(self.app.snapshot)

    def show(self, snapshot: DashboardState) -> None:
        """Show a snapshot if the run has changed."""
        if not self.query(TabbedContent):  # not mounted yet, or unmounted
            return
        detail = snapshot.details.get(self.run_id)
        active = self.query_one(TabbedContent).active
        if detail is None or not active:
            if snapshot.read and snapshot.line(self.run_id) is None:
                self.query_one("#title", Static).update(Text("this run no longer exists", style="bold"))
            return
        if self._shown == (detail.record, active):
            return
        self._shown = (detail.record, active)
        self.query_one("#title").display = active != "overview"  # the overview starts with the title
        self.query_one("#title", Static).update(tables.run_title(detail.record.run))
        if active == "curves":
            self.query_one(ChartView).put(curves(detail.record, self.app.glyphs))
        else:
            self.query_one(f"#page_{active}", Static).update(_page(active, detail.record))

    def action_page(self, page: str) -> None:
        """Switch to a page."""
        self.query_one(TabbedContent).active = page


def _page(page: str, record: RunRecord) -> RenderableType:
    if page == "overview":
        return tables.run_page(record)
    if page == "phases":
        return resources.phases(record)
    if page == "memory":
        return memory_page(record.run)
    return tables.spec_page(record.run)
