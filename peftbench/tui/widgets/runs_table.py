"""Table of all runs, one row each; only changed cells are updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable

from peftbench import formatting
from peftbench.plot.cells import fit, printable, width
from peftbench.report.tables import STATE_STYLE
from peftbench.report.watching import as_ascii
from peftbench.store.rows import State
from peftbench.tui.state import RunLine
from peftbench.tui.widgets.partial import PartialRefresh

_SIGNS: dict[State, str] = {
    "finished": "✓",
    "failed": "✗",
    "lost": "✗",
    "stalled": "!",
    "running": "▶",
    "starting": "▷",
    "stopping": "■",
    "stopped": "■",
    "queued": "·",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Marker and colour of a pinned run, as in the chart."""

    sign: str
    color: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column: heading, width, value, alignment, and the minimum screen width at which it is shown."""

    name: str
    cells: int
    value: Callable[[RunLine], str]
    right: bool = False
    from_width: int = 0
    of_card: bool | None = None  # True: only if a run was measured on a GPU, False: only if none was


def _name(line: RunLine) -> str:
    return " ".join((line.run.name, *(f"#{tag}" for tag in line.run.tags)))


def _epochs(line: RunLine) -> str:
    return f"{line.run.epochs_done}/{line.run.epochs_planned}"


def _gap(line: RunLine) -> str:
    return formatting.NOTHING if line.figures.gap is None else formatting.signed(line.figures.gap)


def _left(line: RunLine) -> str:
    left_s = line.figures.left_s
    if left_s is None:
        return ""
    return f"{'~' if line.state == 'queued' else ''}{short_time(left_s)}"


def _gib(mib: float | None) -> str:
    return formatting.NOTHING if mib is None else f"{mib / 1024:.1f}G"


_GAP = 2  # a cell's padding
_FRAME = 5  # the mark with its padding, and the scroll bar
_APART, _APART_LEAST = 24, 10  # width kept for what tells runs apart, and the least with which it is shown

COLUMNS = (
    Column("run", 18, _name),
    Column("state", 10, lambda line: line.state),
    Column("epoch", 7, _epochs, right=True),
    Column("dev", 5, lambda line: formatting.score(line.run.dev_avg), right=True),
    Column("gap", 6, _gap, right=True),
    Column("VRAM", 6, lambda line: _gib(line.figures.vram_mib), right=True, of_card=True),
    Column("RSS", 6, lambda line: _gib(line.figures.rss_mib), right=True, of_card=False),
    Column("J", 6, lambda line: formatting.joules(line.figures.energy_j), right=True, from_width=90, of_card=True),
    Column("left", 7, _left, right=True),
    Column("method", 11, lambda line: line.run.method, from_width=112),
    Column("workload", 11, lambda line: line.run.workload, from_width=124),
    Column("seed", 4, lambda line: str(line.run.seed), right=True, from_width=160),
    Column("trained", 8, lambda line: formatting.count(line.run.weights_trainable), right=True, from_width=160),
    Column("sweep", 16, lambda line: line.run.sweep or "", from_width=176),
    Column("created", 16, lambda line: formatting.moment(line.run.created_at), from_width=160),
    Column("id", 8, lambda line: line.run.id, from_width=160),
)


def columns_for(
    lines: Sequence[RunLine], screen_width: int, differs: Mapping[str, str] | None = None
) -> tuple[Column, ...]:
    """Return the columns that apply to these runs and fit the screen.

    Spare width goes to the names, as far as the longest needs it, then to a column of what tells runs apart.

    Args:
        lines: the runs.
        screen_width: in cells.
        differs: by run id, the settings in which runs differ.
    """
    on_card = any(line.figures.vram_mib is not None or line.figures.energy_j is not None for line in lines)
    chosen = [c for c in COLUMNS if screen_width >= c.from_width and c.of_card in (None, on_card)]
    spare = screen_width - _FRAME - sum(column.cells + _GAP for column in chosen)
    apart = max((width(printable(text)) for text in (differs or {}).values()), default=0)
    least = max(min(apart, _APART), _APART_LEAST) + _GAP
    kept = min(least, spare) if apart and spare >= _APART_LEAST + _GAP else 0
    name, longest = chosen[0], max((width(printable(_name(line))) for line in lines), default=0)
    more = max(min(longest - name.cells, spare - kept), 0)
    chosen[0] = replace(name, cells=name.cells + more)
    if kept:
        told, cells_wide = differs or {}, min(spare - more - _GAP, max(apart, _APART_LEAST))
        chosen.insert(1, Column("differs by", cells_wide, lambda line: told.get(line.run.id, "")))
    return tuple(chosen)


def short_time(seconds: float) -> str:
    """Format a duration in at most six characters: 45s, 3m05s, 2h07m, 4d03h."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded}s"
    if rounded < 3600:
        return f"{rounded // 60}m{rounded % 60:02d}s"
    if rounded < 100 * 3600:
        return f"{rounded // 3600}h{rounded % 3600 // 60:02d}m"
    return f"{rounded // 86400}d{rounded % 86400 // 3600:02d}h"


def cells(line: RunLine, mark: Mark | None, columns: Sequence[Column], letters: bool = False) -> list[Text]:
    """Return a run's cells as printable text of the columns' widths; ASCII only if `letters`."""
    texts = [Text(mark.sign, style=mark.color) if mark else Text(" ")]
    for column in columns:
        text = printable(column.value(line))
        if column.name == "state" and not letters:
            text = f"{_SIGNS[line.state]} {text}"
        text = fit(as_ascii(text) if letters else text, column.cells)
        padded = " " * (column.cells - width(text)) + text if column.right else text
        style = STATE_STYLE.get(line.state, "") if column.name == "state" else ""
        texts.append(Text(padded, style=style, no_wrap=True, end=""))
    return texts


class RunsTable(PartialRefresh, DataTable[Text]):
    """The filtered and sorted runs. The space bar pins the selected one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pin", "Pin", id="runs.pin", tooltip="Show or hide the run's curves"),
        Binding("enter", "open", "Open", show=False, id="runs.open", tooltip="Show all details of the run"),
        Binding("home", "scroll_top", "First", show=False),
        Binding("end", "scroll_bottom", "Last", show=False),
    ]

    class Pinned(Message):
        """The user has pinned or unpinned a run."""

        def __init__(self, run_id: str) -> None:
            super().__init__()
            self.run_id = run_id

    class Opened(Message):
        """The user has opened a run."""

        def __init__(self, run_id: str) -> None:
            super().__init__()
            self.run_id = run_id

    class Moved(Message):
        """The cursor has moved to another run."""

    def __init__(self, *, letters: bool = False, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._letters = letters
        self._columns_for: tuple[Column, ...] = ()
        self._ids: list[str] = []
        self._written: dict[str, tuple[RunLine, Mark | None]] = {}
        self._differs: Mapping[str, str] = {}
        self._columns_key: object = None
        self._columns_held: tuple[Column, ...] = ()
        self._wanted: str | None = None

    @property
    def run_id(self) -> str | None:
        """The id of the selected run."""
        return self._ids[self.cursor_row] if 0 <= self.cursor_row < len(self._ids) else None

    @property
    def shown_ids(self) -> tuple[str, ...]:
        """The ids of the runs on the screen."""
        first = int(self.scroll_y)
        return tuple(self._ids[first : first + self.size.height + 1])

    def select(self, run_id: str) -> None:
        """Select a run, now or as soon as it is listed."""
        if run_id in self._ids:
            self.move_cursor(row=self._ids.index(run_id))
            self._wanted = None
        else:
            self._wanted = run_id

    def show(
        self,
        lines: Sequence[RunLine],
        marks: dict[str, Mark],
        screen_width: int,
        differs: Mapping[str, str] | None = None,
    ) -> None:
        """Show these runs; the cursor stays on the selected run.

        Args:
            lines: the runs.
            marks: markers by run id.
            screen_width: in cells.
            differs: by run id, what tells runs apart.
        """
        told = differs or {}
        columns = self._columns(lines, screen_width, told)
        ids = [line.run.id for line in lines]
        layout = [(column.name, column.cells) for column in columns]
        if (
            layout != [(column.name, column.cells) for column in self._columns_for]
            or ids != self._ids
            or (told != self._differs)
        ):
            self._differs = told
            self._fill(lines, marks, columns, ids)
            return
        for row, line in enumerate(lines):
            before, now = self._written[line.run.id], (line, marks.get(line.run.id))
            if now != before:
                self._written[line.run.id] = now
                for column, (old, new) in enumerate(zip(self._cells(*before), self._cells(*now), strict=True)):
                    if old != new or old.style != new.style:
                        self._put(Coordinate(row, column), new)

    def mark(self, marks: Mapping[str, Mark]) -> None:
        """Show other marks, and write the rows alone of which they differ."""
        for row, run_id in enumerate(self._ids):
            line, before = self._written[run_id]
            if (now := marks.get(run_id)) != before:
                self._written[run_id] = (line, now)
                self._put(Coordinate(row, 0), self._cells(line, now)[0])

    def action_pin(self) -> None:
        """Pin or unpin the selected run."""
        if self.run_id is not None:
            self.post_message(self.Pinned(self.run_id))

    def action_open(self) -> None:
        """Open the selected run."""
        if self.run_id is not None:
            self.post_message(self.Opened(self.run_id))

    def on_data_table_row_highlighted(self) -> None:
        """Report that the cursor has moved."""
        self.post_message(self.Moved())

    def _put(self, at: Coordinate, text: Text) -> None:
        """Write a cell of the same width and refresh it alone: `update_cell_at` refreshes the whole table."""
        with self.held():
            self.update_cell_at(at, text)
        self.refresh_coordinate(at)

    def _columns(self, lines: Sequence[RunLine], screen_width: int, differs: Mapping[str, str]) -> tuple[Column, ...]:
        """Return `columns_for`, computed again when names, measurements or the width have changed."""
        key = (
            [(_name(line), line.figures.vram_mib is None, line.figures.energy_j is None) for line in lines],
            screen_width,
            differs,
        )
        if key != self._columns_key:
            self._columns_key, self._columns_held = key, columns_for(lines, screen_width, differs)
        return self._columns_held

    def _cells(self, line: RunLine, mark: Mark | None) -> list[Text]:
        return cells(line, mark, self._columns_for, self._letters)

    def _fill(
        self, lines: Sequence[RunLine], marks: dict[str, Mark], columns: tuple[Column, ...], ids: list[str]
    ) -> None:
        selected, scrolled = self._wanted or self.run_id, self.scroll_y
        if columns != self._columns_for:
            self.clear(columns=True)
            self.add_column(Text(" "), width=1)
            for column in columns:
                heading = Text(column.name, justify="right" if column.right else "left")
                self.add_column(heading, width=column.cells)
            self._columns_for = columns
        else:
            self.clear()
        self._ids, self._written = ids, {}
        for line in lines:
            self._written[line.run.id] = (line, marks.get(line.run.id))
            self.add_row(*self._cells(*self._written[line.run.id]))
        if selected in self._ids:
            self.move_cursor(row=self._ids.index(selected), scroll=self._wanted is not None)
            if self._wanted is None:
                self.scroll_to(y=scrolled, animate=False)
            self._wanted = None
