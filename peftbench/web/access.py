"""Access control of the web dashboard: Host and Origin checks, a one-time token, then a cookie.

Any web page can make a browser send requests, even to 127.0.0.1. Three checks reject them: `Host` (against DNS
rebinding: only known names are served), `Origin` (against pages from other hosts or ports), and a secret cookie that
only the authorised browser has.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections import deque
from urllib.parse import urlsplit

from peftbench.text import clean

_MOST_KEYS = 64  # authorised browsers; each used a token shown in the terminal


class AccessControl:
    """Access decisions, independent of the HTTP library.

    Args:
        names: accepted host names, in lower case and without ports.
        any_address: whether bare IP addresses are accepted too. They are not subject to DNS rebinding.
        public_origin: the origin that browsers see behind a reverse proxy, such as `https://lab.example`.
    """

    def __init__(self, names: frozenset[str], any_address: bool = False, public_origin: str | None = None) -> None:
        self._names, self._any_address, self._public_origin = names, any_address, public_origin
        self._keys: deque[bytes] = deque(maxlen=_MOST_KEYS)
        self.token = secrets.token_urlsafe(32)

    def refuses(self, host: str, origin: str | None, needs_origin: bool) -> str | None:
        """Return why a request is refused regardless of its key, or None.

        Args:
            host: the `Host` header.
            origin: the `Origin` header, if any.
            needs_origin: whether `Origin` is required; browsers send it with every WebSocket.
        """
        name = _name(host)
        if name is None or not self._is_ours(name):
            return (
                f"{clean(host, 100) or 'an empty host'} is not an accepted host name of this dashboard."
                " To accept it: peftbench serve --allow-host NAME"
            )
        if origin is None:
            return "a session needs the Origin header, which browsers send" if needs_origin else None
        if origin.lower() not in self._origins(host):
            return f"pages from {clean(origin, 100)} may not use this dashboard"
        return None

    def exchange(self, token: str) -> str | None:
        """Return a key in exchange for the token and replace the token; None if the token is wrong."""
        if not _same(token, self.token.encode()):
            return None
        self.token = secrets.token_urlsafe(32)
        key = secrets.token_urlsafe(32)
        self._keys.append(key.encode())
        return key

    def knows(self, key: str) -> bool:
        """Return whether a key was issued here."""
        known = [_same(key, given) for given in self._keys]  # compare with all keys, for constant time
        return any(known)

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._any_address and _is_address(name))

    def _origins(self, host: str) -> tuple[str, ...]:
        own = (f"http://{host.lower()}", f"https://{host.lower()}")
        return own if self._public_origin is None else (*own, self._public_origin)


def access_for(host: str, allowed: tuple[str, ...] = (), public_url: str | None = None) -> AccessControl:
    """Return the access control for a server at an address of this machine.

    Args:
        host: the address to listen on.
        allowed: additional accepted host names.
        public_url: the URL that browsers use, behind a reverse proxy.
    """
    import socket

    names = {"localhost", host.lower(), *(name.lower() for name in allowed)}
    if is_everywhere(host):
        names.add(socket.gethostname().lower())
    elif is_loopback(host):
        names |= {"127.0.0.1", "::1"}
    origin = None
    if public_url is not None:
        parts = urlsplit(public_url)
        origin = f"{parts.scheme}://{parts.netloc}".lower()
        names.add((parts.hostname or "").lower())
    return AccessControl(frozenset(names - {""}), any_address=is_everywhere(host), public_origin=origin)


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_everywhere(host: str) -> bool:
    """Return whether an address means all interfaces of this machine."""
    return host in ("0.0.0.0", "::")


def host_in_url(host: str) -> str:
    """Return an address in the form of a URL on this machine."""
    if is_everywhere(host):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host


def _name(host: str) -> str | None:
    """Return the host name of a `Host` header, in lower case, or None if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(given: str, expected: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected)
