"""Widgets that refresh the cells that have changed: Textual refreshes all of a widget for a title, a cell or a word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.text import Text
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Static

if TYPE_CHECKING:
    _Base = Widget
else:
    _Base = object  # a second base class that is a widget would hide the component classes of the first from Textual


class PartialRefresh(_Base):
    """Mixin of widgets that change small parts of themselves."""

    _held = False  # `refresh` is called by the constructors of base classes already
    _title: str | None = None

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Refresh regions of the content, or all of the widget unless `held`."""
        if self._held and not regions:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Ignore refreshes of the whole widget; the caller refreshes what it changes."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def set_title(self, title: str) -> None:
        """Set the title on the widget's border, and refresh the border's row alone."""
        if title == self._title:
            return
        self._title = title
        with self.held():
            setattr(self, "border_title", Text(title))  # noqa: B010
        left, top = self.content_offset
        self.refresh(Region(-left, -top, self.outer_size.width, 1))


class Lines(PartialRefresh, Static):
    """Lines of text; those of the same number are refreshed where they differ."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text: Text | None = None

    def put(self, text: Text) -> None:
        """Show a text."""
        before, self._text = self._text, text
        if before is None or before.plain.count("\n") != text.plain.count("\n"):
            self.update(text)
            return
        changed = list(changes(before, text))
        if changed:
            with self.held():
                self.update(text, layout=False)
            self.refresh(*changed)


def changes(old: Text, new: Text) -> Iterator[Region]:
    """Yield for each line in which two texts of equally many lines differ the region from its first such cell on."""
    for y, (before, now) in enumerate(
        zip(old.split("\n", allow_blank=True), new.split("\n", allow_blank=True), strict=True)
    ):
        cells = max(before.cell_len, now.cell_len)
        styled = [_styled(before), _styled(now)]
        if styled[0] == styled[1]:
            continue
        if any(line.cell_len != len(line.plain) for line in (before, now)):  # characters of another width
            yield Region(0, y, cells, 1)
            continue
        for part in styled:
            part.extend([(" ", ())] * (cells - len(part)))
        differing = [x for x, (a, b) in enumerate(zip(*styled, strict=True)) if a != b]
        if differing:
            yield Region(differing[0], y, differing[-1] + 1 - differing[0], 1)


def _styled(line: Text) -> list[tuple[str, tuple[object, ...]]]:
    """Return a line's characters with the styles of each."""
    styles: list[tuple[object, ...]] = [(line.style,) if line.style else ()] * len(line.plain)
    for span in line.spans:
        for index in range(max(span.start, 0), min(span.end, len(styles))):
            styles[index] = (*styles[index], span.style)
    return list(zip(line.plain, styles, strict=True))
