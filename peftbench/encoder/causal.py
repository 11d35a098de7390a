"""Decoders as encoders: which models are causal, and which of their states can stand for a text."""

from __future__ import annotations

from typing import Any

from peftbench.errors import UsageError
from peftbench.families import family_of
from peftbench.text import clean

_PROBE = 8  # tokens


def is_known_causal(config: Any) -> bool:
    """Return whether a configuration is of a family of decoders that is known by name."""
    family = family_of(config.model_type)
    return family is not None and family.causal and not getattr(config, "use_bidirectional_attention", None)


def is_causal(encoder: Any) -> bool:
    """Return whether no state of a text depends on the tokens after it, by computing two texts that end differently."""
    import torch

    rows = int(encoder.get_input_embeddings().weight.shape[0])
    ids = torch.full((1, _PROBE), rows // 2)
    other = ids.clone()
    other[0, -1] = rows // 3
    with torch.no_grad():
        states = [encoder(input_ids=x, attention_mask=torch.ones_like(x)).last_hidden_state for x in (ids, other)]
    return torch.equal(states[0][:, :-1], states[1][:, :-1])


def check_pooling(pooling: str, name: str, *, causal: bool, has_pooler: bool) -> None:
    """Check that the pooling reads a state that depends on the text.

    Raises:
        UsageError: it reads the first token of a decoder, or a pooler that the encoder does not have.
    """
    if causal and pooling in ("pooler", "cls"):
        raise UsageError(
            f"encoder.pooling = '{pooling}': {clean(name)} is a decoder, whose first token sees nothing but itself, so "
            "that its state says nothing of the text",
            "use --set encoder.pooling=last, the state of the last token, which sees all; or mean",
        )
    if pooling == "pooler" and not has_pooler:
        raise UsageError(
            f"encoder.pooling = 'pooler': {clean(name)} has no pooler", "use --set encoder.pooling=mean, or cls"
        )


def notes_of_decoder(tokenizer: Any, *, joint_pairs: bool, tokens: bool) -> list[str]:
    """Return notes for the record of a run with a decoder.

    Args:
        tokenizer: its tokeniser.
        joint_pairs: a task reads pairs of texts as one.
        tokens: a task labels words.
    """
    notes = []
    one, two = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", "b"))
    if joint_pairs and tokenizer("a", "b")["input_ids"][-len(one + two) :] == one + two:
        notes.append(
            "the tokeniser puts nothing between the texts of a pair; with encoder.pair_encoding=separate each is read "
            "by itself"
        )
    if tokens:
        notes.append("the first piece of a word, which its tag is read from, sees only what is before it in a decoder")
    return notes
