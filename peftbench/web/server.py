"""HTTP server: the pages of textual-serve behind access control.

The routes and the protocol between page and server are those of textual_serve.server.Server.
"""

from __future__ import annotations

import asyncio
import html
import re
import shlex
import time
import webbrowser
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path

import aiohttp_jinja2
from aiohttp import WSMsgType, web
from textual_serve.server import Server, to_int

from peftbench.web.access import AccessControl
from peftbench.web.sessions import DashboardProcess, Sessions, TooManySessions, cells, hand_on

TRY_AGAIN_LATER, GOING_AWAY = 1013, 1001  # WebSocket close codes, RFC 6455 and its registry
_SCRIPT = Path(__file__).with_name("door.js")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NO_KEY = (
    "Access needs the token that `peftbench serve` printed in its terminal.\n"
    "Each token is valid for one browser: open the latest address printed there.\n"
)
_EXTERNAL_LINK = re.compile(r"<link\b[^>]*https://[^>]*>")  # an external font, whose site would see every visit
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DashboardServer(Server):
    """Serves the dashboard to authorised browsers.

    Args:
        command: the command line that starts a dashboard.
        door: access control.
        host: the address to listen on.
        port: the port.
        public_url: the URL that browsers use, behind a reverse proxy.
        sessions: maximum number of concurrent sessions.
        idle_s: seconds without key, mouse or resize input after which a session is ended; None: never.
        on_token_used: called each time a token was used and replaced.
        opens: an address to open in this machine's browser once the server listens.
        clock: monotonic clock in seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        door: AccessControl,
        *,
        host: str,
        port: int,
        public_url: str | None = None,
        sessions: int = 4,
        idle_s: float | None = 3600.0,
        on_token_used: Callable[[], None] = lambda: None,
        opens: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(shlex.join(command), host=host, port=port, title="peftbench", public_url=public_url or "")
        self.door, self.sessions = door, Sessions(sessions)
        self.idle_s, self.clock, self._told, self._opens = idle_s, clock, on_token_used, opens
        self._open: set[web.WebSocketResponse] = set()
        self._cookie = f"peftbench-{port}"  # cookies are shared by all ports of a host

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C or SIGTERM, without an access log, which would contain tokens."""
        web.run_app(self._make_app(), host=self.host, port=self.port, print=self._listens, access_log=None)

    async def on_startup(self, app: web.Application) -> None:
        """Print nothing: the command has already printed the address."""

    def _listens(self, *_: object) -> None:
        """Open the browser; aiohttp calls this instead of printing its address."""
        if self._opens is not None:
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, self._opens)

    async def on_shutdown(self, app: web.Application) -> None:
        """End all sessions, so that no dashboard process is left running."""
        ends = (_end(socket, GOING_AWAY, "peftbench serve has ended") for socket in tuple(self._open))
        await asyncio.gather(*ends, return_exceptions=True)

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._authorise)
        app.router.add_get("/door.js", self._script)
        return app

    @web.middleware
    async def _authorise(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass authorised requests on. All requests go through here, including static files and downloads."""
        wants_session = request.path == "/ws"
        reason = self.door.refuses(request.headers.get("Host", ""), request.headers.get("Origin"), wants_session)
        if reason is not None:
            return _refused(reason + "\n")
        token = request.query.get("token")
        known = self.door.knows(request.cookies.get(self._cookie, ""))
        if token is not None and request.path == "/":
            return self._accept_token(token, known)
        if not known:
            return _refused(_NO_KEY)
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _accept_token(self, token: str, known: bool) -> web.Response:
        """Return a page that removes the token from the address and sets a cookie in exchange for it.

        It is a page with a refresh, not a redirect: a browser that followed a link on another site would not send a
        SameSite=Strict cookie to the redirect target.
        """
        key = self.door.exchange(token)
        if key is None and not known:
            return _refused("This token is invalid or was already used.\n\n" + _NO_KEY)
        address = html.escape(f"{self.public_url}/" if self.public_url else "/", quote=True)
        page = f'<!DOCTYPE html><title>peftbench</title><meta http-equiv="refresh" content="0;url={address}">'
        response = web.Response(text=page, content_type="text/html", headers=_HEADERS)
        if key is not None:
            secure = self.public_url.startswith("https:")
            response.set_cookie(self._cookie, key, httponly=True, samesite="Strict", secure=secure, path="/")
            self._told()
        return response

    async def handle_index(self, request: web.Request) -> web.Response:
        """Return the page, with URLs as this browser uses them."""
        base = self.public_url or f"{request.scheme}://{request.host}"
        context = {
            "font_size": min(max(to_int(request.query.get("fontsize", "16"), 16), 4), 100),
            "app_websocket_url": f"ws{base.removeprefix('http')}/ws",
            "config": {"static": {"url": f"{base}/static/"}},
            "application": {"name": self.title},
        }
        page = aiohttp_jinja2.render_string("app_index.html", request, context)
        head = f'<title>peftbench</title><script src="{html.escape(base, quote=True)}/door.js"></script></head>'
        page = _EXTERNAL_LINK.sub("", page).replace("</head>", head, 1)
        return web.Response(text=page, content_type="text/html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a session if a slot is free."""
        socket = web.WebSocketResponse(heartbeat=15)
        await socket.prepare(request)
        try:
            async with self.sessions.slot():
                await self._session(request, socket)
        except TooManySessions:
            most = self.sessions.most
            reason = f"{most} session{'s' * (most != 1)} open, the maximum: close one, or serve --sessions {most + 1}"
            await _end(socket, TRY_AGAIN_LATER, reason)
        return socket

    async def _session(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        async def close() -> None:
            await socket.close()

        process = DashboardProcess(
            self.command,
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        self._open.add(socket)
        try:
            await process.start(cells(request.query.get("width"), 80), cells(request.query.get("height"), 24))
            await self._listen(socket, process)
        finally:
            self._open.discard(socket)
            await _uninterrupted(process.stop())

    async def _listen(self, socket: web.WebSocketResponse, process: DashboardProcess) -> None:
        """Forward messages from the browser until it disconnects or the session is idle for too long."""
        active_at = self.clock()

        async def end_when_idle(idle_s: float) -> None:
            while (left_s := active_at + idle_s - self.clock()) > 0:
                await asyncio.sleep(left_s)
            await _end(socket, GOING_AWAY, f"ended after {in_words(idle_s)} without input")

        # A separate task: the connection's pings continue even if the user is away.
        watch = None if self.idle_s is None else asyncio.create_task(end_when_idle(self.idle_s))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT and await hand_on(message.data, process):
                    active_at = self.clock()
        finally:
            if watch is not None:
                watch.cancel()

    async def _script(self, request: web.Request) -> web.Response:
        return web.Response(text=_SCRIPT.read_text("utf-8"), content_type="text/javascript")


def in_words(seconds: float) -> str:
    """Format a duration: 45 s, 60 min."""
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min"


def _refused(text: str) -> web.Response:
    return web.Response(status=403, text=f"peftbench: {text}", headers=_HEADERS)


async def _uninterrupted(work: Coroutine[object, object, None]) -> None:
    """Await a coroutine to completion even if cancelled: a slot is free only when its process has ended."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _end(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    """End a session with a reason for its page, which a WebSocket limits to 123 bytes."""
    await socket.close(code=code, message=reason.encode()[:123])
