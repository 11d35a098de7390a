"""Load the encoder's tokeniser and check it against its vocabulary and the encoder."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from peftbench.encoder.files import EncoderFiles
from peftbench.encoder.formats import vocabulary_files
from peftbench.encoder.layout import counts_from_padding
from peftbench.errors import MissingError, UsageError
from peftbench.families import family_of
from peftbench.store.conditions import TokenizerConditions
from peftbench.text import clean

_SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id")


def load_tokenizer(files: EncoderFiles) -> Any:
    """Load the encoder's tokeniser (one of transformers' fast ones).

    Special tokens in texts are treated as text: `[SEP]` or `<pad>` is split into pieces like any other word and does
    not become the special token (`split_special_tokens`; Unigram vocabularies still contain some of them as a piece).

    Raises:
        MissingError: the folder has no tokeniser that transformers can load, or one with an empty vocabulary.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            files.folder, trust_remote_code=False, local_files_only=True, split_special_tokens=True
        )
    except Exception as error:  # transformers raises many kinds here
        raise MissingError(
            f"encoder {clean(files.name)}: its tokeniser cannot be loaded: {clean(error, 300)}",
            "copy or download its files again"
            if (files.folder / "tokenizer.json").is_file()
            else "a sentencepiece-only tokeniser needs: pip install sentencepiece; or save it with a tokenizer.json",
        ) from error
    if not tokenizer.is_fast:
        raise MissingError(f"encoder {clean(files.name)}: it has no fast tokeniser (tokenizer.json)")
    _check_words(tokenizer, files)
    return tokenizer


def _check_words(tokenizer: Any, files: EncoderFiles) -> None:
    """Check that the vocabulary has words: transformers can build a tokeniser without any."""
    pieces = tokenizer.get_vocab()
    words = pieces.keys() - set(tokenizer.all_special_tokens) - tokenizer.get_added_vocab().keys()
    there = ", ".join(path.name for path in vocabulary_files(files.folder))
    if not words:
        raise MissingError(
            f"encoder {clean(files.name)}: its tokeniser has no words: {len(pieces)} pieces, all of them special "
            f"tokens (a {type(tokenizer).__name__} from {there})",
            "add the tokeniser's own files to the folder; tokenizer_config.json must name its class",
        )


def padding_of(tokenizer: Any) -> int:
    """Return the id that batches are padded with: the tokeniser's, else that of its end-of-text token, else 0.

    It is never read: padding is told from text by the attention mask, so that a text may end in the same token.
    """
    ids = (tokenizer.pad_token_id, getattr(tokenizer, "eos_token_id", None))
    return next((number for number in ids if number is not None), 0)


def check_vocabulary(tokenizer: Any, rows: int, name: str) -> None:
    """Check that every piece of the tokeniser has a row in the embedding matrix.

    Raises:
        UsageError: the largest id has none; the message states both sizes.
    """
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise UsageError(
            f"encoder {clean(name)}: its tokeniser has {largest + 1:,} pieces, its embedding {rows:,} rows: "
            f"{largest + 1 - rows:,} pieces have no weights",
            "the tokeniser belongs to another model, or pieces were added: use the one released with the encoder",
        )


def check_fits(tokenizer: Any, encoder: Any, files: EncoderFiles, pooling: str, *, causal: bool = False) -> list[str]:
    """Check that a tokeniser matches the encoder; return notes for the run's record.

    Args:
        tokenizer: the result of `load_tokenizer`.
        encoder: the loaded model.
        files: the source of both.
        pooling: of the spec.
        causal: the encoder is a decoder.

    Raises:
        UsageError: pieces without an embedding; a different padding id where positions depend on it; CLS pooling
            although the tokeniser puts no special token first, or `last` although it puts none last and the encoder
            sees both sides of every token.
    """
    check_vocabulary(tokenizer, encoder.get_input_embeddings().weight.shape[0], files.name)
    name, config = clean(files.name), encoder.config
    differing = {
        key: (theirs, ours)
        for key in _SPECIAL
        if (theirs := getattr(tokenizer, key, None)) is not None
        and isinstance(ours := getattr(config, key, None), int)
        and theirs != ours
    }
    if counts_from_padding(encoder):
        padding = getattr(tokenizer, "pad_token_id", None)
        if padding != config.pad_token_id:
            raise UsageError(
                f"encoder {name}: its tokeniser pads with id {padding}, its configuration says {config.pad_token_id}, "
                f"and positions of a {clean(config.model_type)} depend on it",
                "use the tokeniser that the encoder was trained with",
            )
    if pooling == "cls":
        _check_first_token(tokenizer, name)
    if pooling == "last" and not causal:
        _check_last_token(tokenizer, name)
    notes = [
        f"{key}: {theirs} in the tokeniser, {ours} in the configuration of {name}"
        for key, (theirs, ours) in differing.items()
    ]
    if tokenizer.pad_token_id is None:
        notes.append(
            f"the tokeniser of {name} has no padding token: batches are padded with id {padding_of(tokenizer)}, which "
            "the attention mask hides; the embedding is as it was"
        )
    family = family_of(config.model_type)
    if family is not None and family.sees_padding:
        notes.append(f"{name}: states of a text in a {type(encoder).__name__} depend on the padding beside it")
    return notes


def _check_first_token(tokenizer: Any, name: str) -> None:
    """Check that a text begins with a special token, so that its state can stand for the text."""
    ids = tokenizer("a")["input_ids"]
    if ids and ids[0] in set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}:
        return
    token = clean(tokenizer.cls_token)
    raise UsageError(
        f"encoder.pooling = 'cls': the tokeniser of {name} "
        + (f"puts {token} at the end" if tokenizer.cls_token_id in ids else "adds no class token")
        + ", and the first token is a word",
        "use --set encoder.pooling=mean",
    )


def _check_last_token(tokenizer: Any, name: str) -> None:
    """Check that a text ends with a special token, so that its state can stand for the text."""
    ids = tokenizer("a")["input_ids"]
    if ids and ids[-1] in set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}:
        return
    raise UsageError(
        f"encoder.pooling = 'last': the tokeniser of {name} ends a text with a word, and this encoder sees both sides "
        "of every token, so that the last one stands for the text no more than any other",
        "use --set encoder.pooling=mean",
    )


def behaviour_sha256(tokenizer: Any) -> str:
    """Return a hash of everything that determines the ids of a text: the tokeniser's state and library versions.

    It covers the serialised fast tokeniser (normaliser, vocabulary, merges, added tokens, template) and transformers'
    settings: special ids, truncation and padding side, handling of special tokens in texts.
    """
    import tokenizers
    import transformers

    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # left by the previous call; every call sets its own
    backend.no_padding()
    settings = {
        "tokenizers": tokenizers.__version__,
        "transformers": transformers.__version__,
        "class": type(tokenizer).__name__,
        "special": {key: getattr(tokenizer, key, None) for key in _SPECIAL},
        "every special id": sorted(tokenizer.all_special_ids),
        "cuts": tokenizer.truncation_side,
        "pads": tokenizer.padding_side,
        "split_special_tokens": bool(tokenizer.split_special_tokens),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(backend.to_str().encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def tokenizer_facts(tokenizer: Any) -> TokenizerConditions:
    """Return facts about the tokeniser for a run's record; the padding only where it has none of its own."""
    padding: TokenizerConditions = {} if tokenizer.pad_token_id is not None else {"padded_with": padding_of(tokenizer)}
    return {
        **padding,
        "class": type(tokenizer).__name__,
        "pieces": len(tokenizer),
        "behaviour_sha256": behaviour_sha256(tokenizer),
        "special_tokens_in_texts": "text" if tokenizer.split_special_tokens else "control tokens",
    }
