"""The pooling of a spec that states none, where its encoder is a folder with a decoder: the last token.

Only a folder is looked into: what the hub's cache holds would make a spec depend on the machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peftbench.families import family_of
from peftbench.spec.folders import is_folder

_KEY = "encoder.pooling"
_DEFAULT = "pooler"
_LARGEST = 2**20
_ORIGIN = "a {} is a decoder"


def pool_decoders(tree: dict[str, Any], origins: dict[str, str]) -> None:
    """Set `encoder.pooling` to `last` where nothing states it and `encoder.name` is a folder with a known decoder.

    Args:
        tree: the spec's tables, before they are validated, with absolute folders.
        origins: the source of each value, by dotted key.
    """
    encoder = tree.get("encoder")
    if not isinstance(encoder, dict):
        return
    origin = origins.get(_KEY, "default")
    derived = origin.startswith(_ORIGIN.partition("{")[0]) and origin.endswith(_ORIGIN.partition("}")[2])
    unstated = encoder.get("pooling", _DEFAULT) == _DEFAULT and origin == "default"
    if not (unstated or derived):
        return
    encoder.pop("pooling", None)  # of a stored spec, whose encoder may be another one now
    origins.pop(_KEY, None)
    decoder = _decoder_in(encoder.get("name"))
    if decoder is not None:
        encoder["pooling"], origins[_KEY] = "last", _ORIGIN.format(decoder)


def _decoder_in(name: object) -> str | None:
    """Return the type of the decoder in a folder; None if there is none, or the name is of the hub."""
    if not isinstance(name, str) or not Path(name).is_absolute() or not is_folder(name):
        return None
    try:
        with (Path(name) / "config.json").open("rb") as file:
            config = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return None  # reported when the encoder is loaded
    if not isinstance(config, dict) or config.get("use_bidirectional_attention"):
        return None
    family = family_of(str(config.get("model_type")))
    return family.model_type if family is not None and family.causal else None
