"""Tiny random decoders of the known families with byte-level tokenisers, created locally without downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = 320

_SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": ROWS,
    "max_position_embeddings": 130, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_WIDE = {**_GROUPED, "head_dim": 16}


def bpe(*, pad: bool = False, bos: bool = False, eos: bool = False) -> Any:
    """A byte-level BPE tokeniser: `<s>` 0, `<unk>` 1, `</s>` 2 and, with `pad`, `<pad>` 3.

    `bos`, `eos`: it adds `<s>` before each text and `</s>` after it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "<unk>", "</s>", *(["<pad>"] if pad else [])]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: number for number, piece in enumerate([*names, *letters, "th", "the"])}
    backend = Tokenizer(models.BPE(vocab, [("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if bos or eos:
        single = f"{'<s> ' * bos}$A{' </s>' * eos}"
        backend.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} {single.replace('A', 'B')}", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    given = {"pad_token": "<pad>"} if pad else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", **given
    )  # fmt: skip


def _with_pad() -> Any:
    return bpe(pad=True)


def _with_bos() -> Any:
    return bpe(bos=True)


def _gpt2(**given: Any) -> Any:
    from transformers import GPT2Config

    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "vocab_size": ROWS, "n_positions": 130}
    return GPT2Config(**sizes, bos_token_id=0, eos_token_id=2, **given)


def _of(name: str, **known: Any) -> Callable[..., Any]:
    def build(**given: Any) -> Any:
        import transformers

        return getattr(transformers, name)(**{**known, **given})

    return build


# Each family: its configuration, and a tokeniser as its releases have: with padding or without, with `<s>` or without.
DECODERS: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "llama": (_of("LlamaConfig", **_GROUPED), _with_bos),
    "mistral": (_of("MistralConfig", **_GROUPED, sliding_window=16), _with_bos),
    "qwen2": (_of("Qwen2Config", **_GROUPED), _with_pad),
    "qwen3": (_of("Qwen3Config", **_WIDE), _with_pad),
    "gemma": (_of("GemmaConfig", **_WIDE), lambda: bpe(pad=True, bos=True)),
    "gemma2": (_of("Gemma2Config", **_WIDE, query_pre_attn_scalar=16, sliding_window=16), lambda: bpe(bos=True)),
    "gemma3_text": (
        _of("Gemma3TextConfig", **_WIDE, query_pre_attn_scalar=16, sliding_window=16),
        lambda: bpe(pad=True, bos=True),
    ),
    "phi3": (_of("Phi3Config", **_GROUPED), _with_pad),
    "gpt_neox": (_of("GPTNeoXConfig", **_SIZES), bpe),
    "gpt2": (_gpt2, bpe),
}


def save_decoder(name: str, folder: Path, *, tokenizer: Any = None, **changes: Any) -> Path:
    """Write a tiny decoder of a family, with its language-modelling head, and a tokeniser.

    `changes`: of the configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM

    build, tokenizer_of = DECODERS[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(build(**changes))
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.2)  # the states of texts differ by more than rounding
    model.save_pretrained(folder)
    (tokenizer or tokenizer_of()).save_pretrained(folder)
    return folder
