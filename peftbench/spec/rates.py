"""`train.lr = "auto"`: the rate that was published for the method on such an encoder, looked up once, as a number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftbench.errors import UsageError
from peftbench.families import family_of
from peftbench.methods.rates import RATES, rate_of
from peftbench.spec.folders import is_folder
from peftbench.text import clean

AUTO = "auto"
_KEY = "train.lr"
_LARGEST = 2**20
_EMBEDDED = "all-MiniLM-L6-v2"
_OF_EMBEDDED = {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}


def take_published_rate(tree: dict[str, Any], origins: dict[str, str]) -> None:
    """Put the published rate in the place of `train.lr = "auto"`.

    Args:
        tree: the spec's tables, before they are validated, with absolute folders.
        origins: the source of each value, by dotted key.

    Raises:
        UsageError: the encoder's configuration cannot be read here, or no rate was published for the method.
    """
    train, method, encoder = (tree.get(name) for name in ("train", "method", "encoder"))
    if not isinstance(train, dict) or train.get("lr") != AUTO:
        return
    name = method.get("name") if isinstance(method, dict) else None
    config = _config(encoder.get("name") if isinstance(encoder, dict) else None)
    model_type = str(config.get("model_type", ""))
    family = family_of(model_type)
    causal = family is not None and family.causal
    row = rate_of(str(name), model_type, causal, layer_weights(config))
    if row is None:
        known = dict.fromkeys(each for row in RATES for each in row.methods)
        raise UsageError(
            f"train.lr = 'auto': no learning rate is published for method {clean(name)}",
            f"state one, such as --set train.lr=1e-3; published: {', '.join(known)}",
        )
    train["lr"] = row.lr
    origins[_KEY] = f"auto ({origins.get(_KEY, 'default')}): {row.source}"


def layer_weights(config: Mapping[str, Any]) -> int:
    """Return about how many weights the layers of an encoder have, by its configuration; without embeddings."""
    hidden, layers, inner = (
        next((value for key in keys if isinstance(value := config.get(key), int)), 0)
        for keys in (
            ("hidden_size", "dim", "d_model", "n_embd"),
            ("num_hidden_layers", "n_layers", "num_layers", "n_layer"),
            ("intermediate_size", "hidden_dim", "d_ff", "n_inner"),
        )
    )
    return layers * (4 * hidden**2 + 2 * hidden * (inner or 4 * hidden))


def _config(encoder: object) -> Mapping[str, Any]:
    """Return the configuration of an encoder that is embedded or a folder.

    Raises:
        UsageError: it is a model of the hub, or its configuration cannot be read.
    """
    if encoder == _EMBEDDED:
        return _OF_EMBEDDED
    if not isinstance(encoder, str) or not Path(encoder).is_absolute() or not is_folder(encoder):
        raise UsageError(
            f"train.lr = 'auto': the size and family of encoder {clean(encoder)} are not known before it is loaded",
            "name a folder, or state the rate: --set train.lr=2e-5; published ones: peftbench rates",
        )
    try:
        with (Path(encoder) / "config.json").open("rb") as file:
            config = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"train.lr = 'auto': {clean(encoder)}/config.json cannot be read: {clean(error)}") from error
    return config if isinstance(config, dict) else {}
