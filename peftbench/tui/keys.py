"""Keys in order: each is handled, with what it focuses or opens, before the next one is given to a widget.

Textual gives every key to the widget focused when it is read, but moves the focus later. Keys read at once (a fast
typist over SSH, a pasted line) would all reach the first widget, and Enter act on a form whose text was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from textual.app import App
from textual.events import Key
from textual.message_pump import MessagePump

_AT_LATEST_S = 0.5  # until the next key is given even if a widget has not answered, because it was removed or is busy


class KeysInOrder:
    """Gives keys to an app one at a time.

    Args:
        app: the app.
        give: gives a key to the focused widget: the app's own handler of events.
    """

    def __init__(self, app: App[Any], give: Callable[[Key], Awaitable[None]]) -> None:
        self._app, self._give = app, give
        self._waiting: deque[Key] = deque()
        self._given = 0  # number of keys given so far
        self._busy = False

    async def take(self, key: Key) -> None:
        """Give a key, or keep it until those before it have been handled."""
        if self._busy:
            self._waiting.append(key)
            return
        self._busy = True
        self._given += 1
        number = self._given
        through: list[MessagePump] = list((self._app.focused or self._app.screen).ancestors_with_self)
        self._app.set_timer(_AT_LATEST_S, lambda: self._handled(number))
        await self._give(key)
        # A key goes from the focused widget up to the app, which acts on it; then a new screen focuses its first field.
        self._follow(through, lambda: self._follow([self._app.screen, self._app], lambda: self._handled(number)))

    def _follow(self, through: Sequence[MessagePump], end: Callable[[], object]) -> None:
        """Go through message queues behind a key, and call `end` after the last one."""
        for index, pump in enumerate(through):
            if pump.call_later(self._follow, through[index + 1 :], end):
                return
        end()

    def _handled(self, number: int) -> None:
        if number == self._given and self._busy:
            self._busy = False
            if self._waiting:
                self._app.call_later(self.take, self._waiting.popleft())
