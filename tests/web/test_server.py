"""The server with a real client: missing token, wrong origin or host, session limit, idle timeout, disconnects."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual_serve")

import aiohttp
from aiohttp import ClientSession, ClientWebSocketResponse, CookieJar, WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestServer

from peftbench.web.access import access_for
from peftbench.web.server import GOING_AWAY, TRY_AGAIN_LATER, DashboardServer

# Minimal version of textual's web driver: a greeting, its process id, then an echo of every packet; obeys `quit`.
APP = """
import json, os, sys
def send(kind, data):
    os.write(1, kind + len(data).to_bytes(4, "big") + data)
os.write(1, b"__GANGLION__\\n")
send(b"D", b"pid %d" % os.getpid())
while head := sys.stdin.buffer.read(5):
    data = sys.stdin.buffer.read(int.from_bytes(head[1:], "big"))
    if head[:1] == b"M" and json.loads(data)["type"] == "quit" or data == b"q":
        if data != b"q" or len(sys.argv) < 2:
            send(b"M", b'{"type": "exit"}')
        break
    send(b"D", head[:1] + data)
"""
Use = Callable[[DashboardServer, TestServer, ClientSession], Awaitable[None]]


def serve(use: Use, tmp_path: Path, *words: str, **settings: Any) -> None:
    """Serve an echo app for the duration of a test."""
    script = tmp_path / "app.py"
    script.write_text(APP)

    async def run() -> None:
        command = [sys.executable, str(script), *words]
        server = DashboardServer(command, access_for("127.0.0.1"), host="127.0.0.1", port=8000, **settings)
        async with asyncio.timeout(120), TestServer(await server._make_app()) as at:
            async with ClientSession(at.make_url("/"), cookie_jar=CookieJar(unsafe=True)) as client:
                await use(server, at, client)
            await until(lambda: server.sessions.count == 0)  # before the event loop of its subprocesses is closed
            await asyncio.sleep(0.1)

    asyncio.run(run())


async def let_in(server: DashboardServer, client: ClientSession) -> None:
    async with client.get("/", params={"token": server.door.token}) as answer:
        assert answer.status == 200


async def session(at: TestServer, client: ClientSession, **headers: str) -> ClientWebSocketResponse:
    own = {"Origin": str(at.make_url("/")).rstrip("/")}
    return await client.ws_connect("/ws?width=80&height=24", headers={**own, **headers})


async def process_of(socket: ClientWebSocketResponse) -> int:
    return int((await socket.receive_bytes()).split()[1])


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


async def closed(socket: ClientWebSocketResponse) -> tuple[int, str]:
    """Return the close code and reason sent by the server."""
    while True:
        message = await socket.receive()
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED):
            return int(message.data or 0), str(message.extra or "")


def test_nothing_is_served_without_a_token(tmp_path: Path) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        for path in (
            "/",
            "/?token=",
            "/?token=wrong",
            "/ws",
            "/static/js/textual.js",
            "/static/",
            "/download/x",
            "/no",
        ):
            async with client.get(path) as answer:
                assert answer.status == 403, path
                assert (await answer.text()).startswith("peftbench: ")
                assert not answer.cookies
        with pytest.raises(WSServerHandshakeError) as refused:
            await session(at, client)
        assert refused.value.status == 403
        with pytest.raises(WSServerHandshakeError):
            await session(at, client, Cookie="peftbench-8000=guessed")
        assert server.sessions.count == 0

    serve(use, tmp_path)


def test_a_token_lets_one_browser_in_and_leaves_the_address(tmp_path: Path) -> None:
    told: list[str] = []

    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        token = server.door.token
        async with client.get("/", params={"token": token}) as answer:
            assert token not in await answer.text()
            assert 'url=/"' in await answer.text()
            cookie = answer.cookies["peftbench-8000"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert token not in cookie.value
        assert told == ["again"]
        async with client.get("/") as answer:
            page = await answer.text()
        assert answer.status == 200
        assert f'data-session-websocket-url="ws://{at.host}:{at.port}/ws"' in page
        assert "/door.js" in page
        assert "https:" not in page
        assert answer.headers["X-Frame-Options"] == "DENY"
        for path in ("/door.js", "/static/js/textual.js"):
            async with client.get(path) as answer:
                assert answer.status == 200
        async with client.get("/", params={"token": token}) as answer:
            assert answer.status == 200  # used, but this browser is authorised: a page reload
        async with aiohttp.request("GET", at.make_url("/"), params={"token": token}) as answer:
            assert answer.status == 403
            assert "already used" in await answer.text()

    serve(use, tmp_path, on_token_used=lambda: told.append("again"))


def test_a_session_of_our_page_has_the_app_behind_it(tmp_path: Path) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        socket = await session(at, client)
        pid = await process_of(socket)
        await socket.send_json(["stdin", "é"])
        assert await socket.receive_bytes() == b"D" + "é".encode()
        await socket.send_json(["resize", {"width": 10**9, "height": -3}])
        assert await socket.receive_bytes() == b'M{"type": "resize", "width": 1000, "height": 1}'
        await socket.send_json(["ping", "17"])
        assert await socket.receive_json() == ["pong", "17"]
        assert server.sessions.count == 1
        await socket.close()
        await until(lambda: server.sessions.count == 0)
        assert not is_there(pid)

    serve(use, tmp_path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},  # DNS rebinding
    ],
)
def test_with_the_key_but_from_elsewhere(tmp_path: Path, headers: dict[str, str]) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        with pytest.raises(WSServerHandshakeError) as refused:
            await session(at, client, **headers)
        assert refused.value.status == 403
        for path in ("/", "/static/js/textual.js", f"/?token={server.door.token}"):
            token = server.door.token
            async with client.get(path, headers=headers) as answer:
                assert answer.status == 403, path
                assert not answer.cookies
            assert server.door.token == token
        await (await session(at, client)).close()  # the authorised browser is still accepted

    serve(use, tmp_path)


def test_a_session_without_an_origin_is_none_of_a_browsers(tmp_path: Path) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        with pytest.raises(WSServerHandshakeError):
            await client.ws_connect("/ws")

    serve(use, tmp_path)


@pytest.mark.slow
def test_so_many_at_once_and_the_next_is_told(tmp_path: Path) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        two = [await session(at, client) for _ in range(2)]
        pids = [await process_of(socket) for socket in two]
        assert len(set(pids)) == 2
        assert await closed(await session(at, client)) == (
            TRY_AGAIN_LATER,
            "2 sessions open, the maximum: close one, or serve --sessions 3",
        )
        waiting = asyncio.create_task(session(at, client))
        await two[0].close()
        third = await waiting
        assert await process_of(third) not in pids

    serve(use, tmp_path, sessions=2)


def test_an_idle_session_is_ended_whatever_its_connection_says(tmp_path: Path) -> None:
    """Pings of the connection and of the page do not count as user input."""

    at_s = [0.0]

    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        socket = await session(at, client)
        pid = await process_of(socket)

        async def keep_pinging() -> None:
            while not socket.closed:
                await socket.ping()
                await socket.send_json(["ping", "1"])
                await asyncio.sleep(0.05)

        pinging = asyncio.create_task(keep_pinging())
        at_s[0] = 0.3
        assert await closed(socket) == (GOING_AWAY, "ended after 0.2 s without input")
        pinging.cancel()
        await until(lambda: server.sessions.count == 0)
        assert not is_there(pid)

    serve(use, tmp_path, idle_s=0.2, clock=lambda: at_s[0])


def test_a_key_begins_the_time_anew(tmp_path: Path) -> None:
    at_s, looks = [0.0], [0]

    def clock() -> float:
        looks[0] += 1
        return at_s[0]

    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        socket = await session(at, client)
        await process_of(socket)
        at_s[0] = 0.15
        await socket.send_json(["stdin", "x"])
        assert await socket.receive_bytes() == b"Dx"
        at_s[0] = 0.3  # less than 0.2 s after the key: the server looks again, twice, and it is open still
        before = looks[0]
        await until(lambda: looks[0] >= before + 2)
        assert not socket.closed
        at_s[0] = 0.4
        assert (await closed(socket))[0] == GOING_AWAY

    serve(use, tmp_path, idle_s=0.2, clock=clock)


@pytest.mark.parametrize("words", [(), ("without a word",)])
def test_a_session_ends_with_its_app(tmp_path: Path, words: tuple[str, ...]) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        socket = await session(at, client)
        pid = await process_of(socket)
        await socket.send_json(["stdin", "q"])
        await closed(socket)
        await until(lambda: server.sessions.count == 0)
        assert not is_there(pid)

    serve(use, tmp_path, *words)


def test_no_app_is_left_when_the_server_ends(tmp_path: Path) -> None:
    pids: list[int] = []

    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        socket = await session(at, client)
        pids.append(await process_of(socket))
        ending = asyncio.create_task(at.close())
        assert await closed(socket) == (GOING_AWAY, "peftbench serve has ended")
        await ending

    serve(use, tmp_path)
    assert not is_there(pids[0])


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "7", '"stdin"', '["stdin"]', '["stdin", 7]', '["resize", 3]', '["what", {}]', "[" * 100_000],
)
def test_what_is_no_message_changes_nothing(tmp_path: Path, text: str) -> None:
    async def use(server: DashboardServer, at: TestServer, client: ClientSession) -> None:
        await let_in(server, client)
        socket = await session(at, client)
        await process_of(socket)
        await socket.send_str(text)
        await socket.send_json(["stdin", "x"])
        assert await socket.receive_bytes() == b"Dx"

    serve(use, tmp_path)
