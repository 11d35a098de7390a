"""The dashboard in a browser: access by address, allowed actions, warnings."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.inside import inside
from tests.patience import PATIENCE_S
from tests.processes import PEFTBENCH, Terminal
from tests.processes import terminal_environment as environment

pytest.importorskip("textual_serve")

from aiohttp import ClientConnectionError, ClientSession, ClientWebSocketResponse, CookieJar, WSMsgType


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(*words: str, port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*PEFTBENCH, "serve", "--port", str(port), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


async def let_in(client: ClientSession, address: str) -> None:
    """Open the address as a browser does; retries until the server listens."""
    while True:
        try:
            async with client.get(address) as answer:
                assert answer.status == 200
                return
        except ClientConnectionError:
            await asyncio.sleep(0.05)


async def screen_with(session: ClientWebSocketResponse, wanted: bytes) -> None:
    """Read a session until its screen contains a text."""
    shown = b""
    while wanted not in shown:
        message = await session.receive()
        assert message.type == WSMsgType.BINARY, (message, shown[-2000:])
        shown += message.data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "answer"),
    [((), b"read-only: runs cannot be started"), (("--allow-actions",), b"New run: ")],
)
def test_a_browser_sees_the_dashboard_and_acts_where_it_may(
    tmp_path: Path, words: tuple[str, ...], answer: bytes
) -> None:
    port = free_port()

    async def use(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        address = process.stderr.readline().strip()
        assert address.startswith(f"http://127.0.0.1:{port}/?token=")
        async with asyncio.timeout(200), ClientSession(cookie_jar=CookieJar(unsafe=True)) as client:
            await let_in(client, address)
            origin = f"http://127.0.0.1:{port}"
            async with client.ws_connect(f"{origin}/ws?width=100&height=30", origin=origin) as session:
                await screen_with(session, b"No runs yet")
                await session.send_json(["stdin", "n"])
                await screen_with(session, answer)
        assert not list(tmp_path.iterdir())

    with serving("--db", str(tmp_path / "runs.db"), *words, port=port) as process:
        asyncio.run(use(process))
        process.terminate()
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait() == 0
    assert "address for the next one: http://127.0.0.1" in told
    assert "Traceback" not in told


@pytest.mark.slow
@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_warning_where_others_can_reach_it(tmp_path: Path, host: str, warned: bool) -> None:
    port = free_port()
    with serving("--host", host, "--db", str(tmp_path / "runs.db"), port=port) as process:
        assert process.stderr is not None
        told = [process.stderr.readline()]
        while "Ctrl-C" not in told[-1]:
            told.append(process.stderr.readline())
        process.terminate()
        told.append(process.stderr.read())
    assert told[0].startswith(f"http://127.0.0.1:{port}/?token=")
    assert ("warning: 0.0.0.0 is reachable from other machines" in "".join(told)) == warned


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--public-url", "lab.example"), "--public-url lab.example: not the URL of a web page"),
        (("--public-url", "ftp://lab.example"), "--public-url"),
        (("--public-url", "http://u:p@lab.example"), "--public-url"),
        (("--public-url", "http://lab.example:x"), "--public-url"),
        (("--allow-host", "http://lab.example"), "--allow-host http://lab.example: not a host name"),
        (("--allow-host", "*"), "--allow-host"),
        (("--sessions", "0"), "--sessions"),
        (("--idle-minutes", "-1"), "--idle-minutes"),
    ],
)
def test_what_is_no_address_is_refused(words: tuple[str, ...], told: str) -> None:
    done = inside("serve", "--port", free_port(), *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_replay_on_a_terminal(tmp_path: Path) -> None:
    """From the first moment to the end, in the real program, of a run that a store holds."""
    from peftbench.store.rows import SampleRow
    from tests.store.life import Life
    from tests.stored import create_resolved, put_scored_epoch

    life = Life(tmp_path / "runs.db")
    run_id = create_resolved(life, name="played-1")
    life.claim(run_id)
    for number in (1, 2):
        put_scored_epoch(life, run_id, number, 0.5 + number / 10)
        life.put_samples(run_id, [SampleRow(number, time.time(), "train", rss_mib=500.0)])
        time.sleep(0.05)
    life.finish(run_id, "finished")
    life.close()
    terminal = Terminal("replay", "played-1", "--speed", "0.05", "--db", str(tmp_path / "runs.db"))
    try:
        terminal.read_until(b"replay x0.05")
        terminal.read_until(b"running")
        terminal.read_until(b"finished")
        terminal.read_until(b"0.700")
    finally:
        terminal.close()
