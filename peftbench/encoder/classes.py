"""Which class of transformers computes an encoder, with which attention; and whether it computes states of a text."""

from __future__ import annotations

from typing import Any

from peftbench.encoder.files import EncoderFiles
from peftbench.errors import MissingError
from peftbench.text import clean

_PROBE = 8  # tokens


def auto_class(config: Any) -> Any:
    """Return transformers' auto class for a configuration's encoder.

    Of an encoder-decoder (T5) it is the one that loads the encoder alone.

    Raises:
        MissingError: the configuration is of an encoder-decoder whose encoder transformers has no class for.
    """
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    if MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None) is not None:
        return AutoModelForTextEncoding
    if getattr(config, "is_encoder_decoder", False):
        raise MissingError(
            f"encoder: a {clean(config.model_type)} is an encoder with a decoder, and transformers has no class for "
            "its encoder alone",
            "use an encoder, such as google-bert/bert-base-uncased, or one of the T5 family",
        )
    return AutoModel


def attention_of(config: Any) -> str:
    """Return the attention implementation for a configuration's encoder: sdpa if supported, else eager.

    transformers' others need a GPU (flash) or a compiler (flex).
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

    kinds = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None) or MODEL_MAPPING.get(type(config), ())
    kinds = kinds if isinstance(kinds, tuple | list) else (kinds,)
    return "sdpa" if kinds and all(getattr(kind, "_supports_sdpa", False) for kind in kinds) else "eager"


def check_computes(encoder: Any, files: EncoderFiles) -> None:
    """Check that transformers' forward gives a state for each token of a short text.

    Raises:
        MissingError: it fails, or returns something else.
    """
    import torch
    import transformers

    where = f"encoder {clean(files.name)}: transformers {transformers.__version__}'s {type(encoder).__name__}"
    another = "use another encoder, or a version of transformers that computes this one"
    rows = int(encoder.get_input_embeddings().weight.shape[0])
    ids = torch.full((1, _PROBE), rows // 2)
    try:
        with torch.no_grad():
            output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
        states = getattr(output, "last_hidden_state", None)
    except Exception as error:  # transformers raises many types here
        raise MissingError(
            f"{where} cannot compute a text's states: {type(error).__name__}: {clean(error, 200)}", another
        ) from error
    if states is None or states.ndim != 3 or states.shape[1] != _PROBE:
        shape = "none" if states is None else f"a tensor of {' x '.join(map(str, states.shape))}"
        raise MissingError(
            f"{where} returns {shape} as the states of a text of {_PROBE} tokens, not one state for each token", another
        )
