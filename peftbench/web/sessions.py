"""Sessions: a browser's WebSocket and its dashboard subprocess, limited in number and ended cleanly."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from textual_serve.app_service import AppService

_log = logging.getLogger("peftbench.web")
_PATIENCE_S = 10.0  # timeout for a dashboard that was asked to quit
MOST_CELLS = 1000  # maximum width and height of a terminal, whose size comes from the browser


class TooManySessions(Exception):
    """The maximum number of sessions is open."""


class Sessions:
    """Limits and counts the open sessions.

    Args:
        most: maximum number of concurrent sessions.
        wait_s: how long a new session waits for a slot. After a page reload the old session is still ending.
    """

    def __init__(self, most: int, wait_s: float = 3.0) -> None:
        self.most, self._wait_s = most, wait_s
        self._slots = asyncio.Semaphore(most)
        self.count = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot within the context.

        Raises:
            Full: no slot became free in time.
        """
        try:
            await asyncio.wait_for(self._slots.acquire(), self._wait_s)
        except TimeoutError:
            raise TooManySessions from None
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self._slots.release()


class DashboardProcess(AppService):
    """The dashboard subprocess of a session: started without a shell, and ended with the session."""

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        environment = self._build_environment(width=width, height=height)
        self._process = process = await asyncio.create_subprocess_exec(
            *shlex.split(self.command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the server's terminal must not reach it; it is asked to quit
        )
        self._stdin = process.stdin
        return process

    async def start(self, width: int, height: int) -> None:
        """Start the process, and close the session when the process ends for any reason."""
        await super().start(width, height)
        assert self._task is not None
        self._task.add_done_callback(lambda _: self._close_session())

    def _close_session(self) -> None:
        self._closing = asyncio.ensure_future(self.remote_close())

    async def stop(self) -> None:
        """Ask the process to quit; kill it after a timeout."""
        process = self._process
        if process is None:
            return
        try:
            await asyncio.wait_for(super().stop(), _PATIENCE_S)
            await asyncio.wait_for(process.wait(), _PATIENCE_S)
        except TimeoutError:
            _log.warning("a dashboard did not quit within %.0f s and was killed", _PATIENCE_S)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def hand_on(text: str, process: AppService) -> bool:
    """Forward a browser's message to the dashboard; return whether it was user input.

    Malformed messages are ignored: they are untrusted input.
    """
    try:
        kind, *rest = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
    if kind == "stdin" and rest and isinstance(rest[0], str):
        await process.send_bytes(rest[0].encode("utf-8", "replace"))
    elif kind == "resize" and rest and isinstance(rest[0], dict):
        await process.set_terminal_size(cells(rest[0].get("width"), 80), cells(rest[0].get("height"), 24))
    elif kind == "focus":
        await process.focus()
    elif kind == "blur":
        await process.blur()
    else:
        if kind == "ping" and rest and isinstance(rest[0], str):
            await process.remote_write_str(json.dumps(["pong", rest[0]]))
        return False
    return True


def cells(value: Any, otherwise: int) -> int:
    """Return a terminal's width or height sent by a browser, clamped to 1..`MOST_CELLS`."""
    try:
        return min(max(int(value), 1), MOST_CELLS)
    except (TypeError, ValueError, OverflowError):
        return otherwise
