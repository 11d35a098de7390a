"""Access control: valid and invalid host names, origins, tokens and keys."""

from __future__ import annotations

import pytest

from peftbench.web.access import AccessControl, access_for, host_in_url, is_everywhere, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1:9000"])
def test_this_machines_own_names_are_served_whatever_a_tunnels_port(host: str) -> None:
    assert access_for("127.0.0.1").refuses(host, f"http://{host}", True) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1:8000@evil.example",
        "evil.example/127.0.0.1",
        "192.168.0.7:8000",
        "10.0.0.1",
        "localhost:port",
        "[::1",
        "",
    ],
)
def test_any_other_name_is_refused_and_named(host: str) -> None:
    reason = access_for("127.0.0.1").refuses(host, f"http://{host}", True)
    assert reason is not None
    assert "--allow-host" in reason


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://evil.example:8000",
        "http://127.0.0.1:9999",  # another program on this machine; it receives the SameSite cookie too
        "http://127.0.0.1",
        "http://localhost:8000",  # not the requested host name
        "http://127.0.0.1:8000.evil.example",
        "file://",
        "null",
        "",
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    door = access_for("127.0.0.1")
    assert door.refuses("127.0.0.1:8000", origin, True) is not None
    assert door.refuses("127.0.0.1:8000", origin, False) is not None


def test_an_origin_is_needed_for_a_session_alone() -> None:
    door = access_for("127.0.0.1")
    assert door.refuses("127.0.0.1:8000", None, False) is None
    assert "Origin" in (door.refuses("127.0.0.1:8000", None, True) or "")


def test_everywhere_takes_addresses_and_no_names_but_those_allowed() -> None:
    door = access_for("0.0.0.0", ("Lab.Example",))
    for host in ("192.168.0.7:8000", "[fe80::1]:8000", "lab.example:8000", "localhost:8000"):
        assert door.refuses(host, f"http://{host}", True) is None, host
    assert door.refuses("evil.example:8000", "http://evil.example:8000", True) is not None


@pytest.mark.parametrize("host", ["lab.example", "127.0.0.1:8000"])  # a proxy may or may not preserve the host name
def test_behind_a_proxy_pages_of_the_public_address_are_ours(host: str) -> None:
    door = access_for("127.0.0.1", public_url="https://lab.example/runs")
    assert door.refuses(host, "https://lab.example", True) is None
    assert door.refuses(host, "https://evil.example", True) is not None
    assert door.refuses("evil.example", "https://lab.example", True) is not None


def test_a_token_opens_once_and_is_replaced() -> None:
    door = AccessControl(frozenset({"localhost"}))
    first = door.token
    key = door.exchange(first)
    assert key is not None
    assert key != first
    assert door.knows(key)
    assert door.exchange(first) is None
    second = door.exchange(door.token)
    assert second is not None
    assert second != key
    assert door.knows(key)  # the first browser stays authorised
    assert len({first, door.token, key, second}) == 4


@pytest.mark.parametrize("wrong", ["", "x", "ключ", "\ud800", "0" * 100_000])
def test_what_is_no_token_opens_nothing_and_spends_nothing(wrong: str) -> None:
    door = AccessControl(frozenset({"localhost"}))
    token = door.token
    assert door.exchange(wrong) is None
    assert door.exchange(token[:-1]) is None
    assert not door.knows(wrong)
    assert not door.knows(token)
    assert door.token == token


def test_addresses() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.7", "lab.example")] == [False] * 4
    assert is_everywhere("0.0.0.0")
    assert [host_in_url(host) for host in ("0.0.0.0", "::", "::1", "lab.example")] == [
        "127.0.0.1",
        "[::1]",
        "[::1]",
        "lab.example",
    ]
