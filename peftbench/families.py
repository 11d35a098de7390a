"""The encoder families known by name: how transformers computes each, and what its linear layers are called.

Light: data only. docs/reference/encoders.md shows the table, and tests/encoder hold it to small encoders of each.
A family that is not listed is loaded too; its layers are found by the spellings of those that are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

IN_A_LAYER = re.compile(r"\.\d+\.")  # in the name of a module that is part of one of an encoder's layers
_FFN = ("*.intermediate.dense", "*.output.dense")


class Roles(NamedTuple):
    """What the linear layers of an encoder are called, as a module's name ends (`*`: digits); `()`: there are none.

    `output` follows the attention, `ffn` are those of the feed-forward part.
    """

    query: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    value: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    ffn: tuple[str, ...] = ()


def _roles(query: str, key: str, value: str, output: str, *ffn: str) -> Roles:
    return Roles((query,), (key,), (value,), (output,), ffn)


_BERT = _roles("query", "key", "value", "attention.output.dense", *_FFN)
_PROJ = _roles("q_proj", "k_proj", "v_proj", "o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_T5 = _roles(
    *("SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o"),
    *("DenseReluDense.wi", "DenseReluDense.wi_*", "DenseReluDense.wo"),
)
_XLM = _roles("q_lin", "k_lin", "v_lin", "out_lin", "ffns.*.lin1", "ffns.*.lin2")

_CLS, _POOLER = ("mean", "cls"), ("mean", "cls", "pooler")
_LAST = ("last", "mean")
_NO_CLASS_TOKEN = "no class token: the first token is a word"

_UNPREDICTED = "memory is not predicted"


@dataclass(frozen=True, slots=True)
class Family:
    """One of transformers' families of encoders, or of decoders that can be used as one.

    lacks: why a role has no linear layers.
    poolings: the values of `encoder.pooling` that it supports.
    sees_padding: its states of a text depend on the padding beside it.
    causal: a decoder: each token sees only those before it.
    """

    model_type: str
    encoder_class: str
    attention: Literal["sdpa", "eager"]
    poolings: tuple[str, ...]
    roles: Roles = _BERT
    native: bool = False
    lacks: str = ""
    sees_padding: bool = False
    causal: bool = False
    note: str = ""


FAMILIES: tuple[Family, ...] = (
    Family("bert", "BertModel", "sdpa", _POOLER, native=True),
    Family("roberta", "RobertaModel", "sdpa", _POOLER, native=True),
    Family("xlm-roberta", "XLMRobertaModel", "sdpa", _POOLER, native=True),
    Family("camembert", "CamembertModel", "sdpa", _POOLER, native=True),
    Family(
        *("distilbert", "DistilBertModel", "sdpa", _CLS),
        _roles("q_lin", "k_lin", "v_lin", "out_lin", "ffn.lin1", "ffn.lin2"),
        note="no token types",
    ),
    Family(
        *("albert", "AlbertModel", "sdpa", _POOLER),
        _roles("query", "key", "value", "attention.dense", "ffn", "ffn_output"),
        note="all layers share their weights, and so one adapter",
    ),
    Family("electra", "ElectraModel", "sdpa", _CLS),
    Family(
        *("mpnet", "MPNetModel", "eager", _POOLER),
        _roles("attn.q", "attn.k", "attn.v", "attn.o", *_FFN),
        note="no token types",
    ),
    Family(
        *("deberta", "DebertaModel", "eager", _CLS),
        _roles("in_proj", "in_proj", "in_proj", "attention.output.dense", *_FFN),
        note="query, key and value are one matrix, with one adapter",
    ),
    Family(
        *("deberta-v2", "DebertaV2Model", "eager", _CLS),
        _roles("query_proj", "key_proj", "value_proj", "attention.output.dense", *_FFN),
        native=True,
        note="DeBERTa v3 too; by transformers with a convolution (`conv_kernel_size`)",
    ),
    Family(
        *("modernbert", "ModernBertModel", "sdpa", _CLS),
        _roles("Wqkv", "Wqkv", "Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
        native=True,
        note="query, key and value are one matrix, with one adapter; no token types",
    ),
    Family("nomic_bert", "NomicBertModel", "sdpa", _CLS, _PROJ),
    Family("eurobert", "EuroBertModel", "sdpa", _CLS, _PROJ, note="no token types"),
    Family("gte", "GteModel", "sdpa", _CLS, _PROJ),
    Family(
        *("xlnet", "XLNetModel", "eager", ("mean", "last")),
        Roles(ffn=("ff.layer_1", "ff.layer_2")),
        lacks="its attention multiplies by parameters of its own (rel_attn.q, k, v and o) instead of linear layers",
        note="its class token is the last; positions are relative, without a bound",
    ),
    Family("big_bird", "BigBirdModel", "eager", _POOLER, note="attends in full (`original_full`)"),
    Family(
        *("longformer", "LongformerModel", "eager", _POOLER),
        note="with cls or pooler its first token attends to all and all to it, through `query_global`, `key_global` "
        f"and `value_global`, which are not among the default targets; {_UNPREDICTED}",
    ),
    *(
        Family(
            *(model_type, encoder_class, "sdpa", ("mean", "last"), _T5),
            note=f"the encoder alone, by `AutoModelForTextEncoding`; {_NO_CLASS_TOKEN}; positions are relative, "
            "without a bound",
        )
        for model_type, encoder_class in (
            ("t5", "T5EncoderModel"),
            ("mt5", "MT5EncoderModel"),
            ("umt5", "UMT5EncoderModel"),
        )
    ),
    Family(
        *("funnel", "FunnelModel", "eager", _CLS),
        _roles("q_head", "k_head", "v_head", "post_proj", "linear_1", "linear_2"),
        sees_padding=True,
        note="with its decoder; a FunnelBaseModel, which returns fewer states than tokens, is refused",
    ),
    Family(
        "flaubert",
        "FlaubertModel",
        "eager",
        _CLS,
        _XLM,
        note=f"with `pre_norm` transformers cannot compute it; {_UNPREDICTED}",
    ),
    Family("xlm", "XLMModel", "eager", _CLS, _XLM, note=f"no language ids are passed; {_UNPREDICTED}"),
    Family("roberta-prelayernorm", "RobertaPreLayerNormModel", "sdpa", _POOLER),
    Family("xlm-roberta-xl", "XLMRobertaXLModel", "sdpa", _POOLER),
    Family("data2vec-text", "Data2VecTextModel", "sdpa", _POOLER),
    Family("ernie", "ErnieModel", "sdpa", _POOLER),
    Family("rembert", "RemBertModel", "eager", _POOLER),
    Family("roformer", "RoFormerModel", "eager", _CLS),
    Family("mobilebert", "MobileBertModel", "sdpa", _POOLER),
    Family("convbert", "ConvBertModel", "eager", _CLS, sees_padding=True),
    Family("nystromformer", "NystromformerModel", "eager", _CLS, sees_padding=True),
    Family(
        *("fnet", "FNetModel", "eager", _POOLER),
        Roles(ffn=_FFN),
        lacks="it has no attention: a Fourier transform mixes the tokens",
        sees_padding=True,
    ),
    Family(
        *("squeezebert", "SqueezeBertModel", "eager", _POOLER),
        Roles(),
        lacks="its projections are grouped convolutions instead of linear layers",
        note="full and last-layer only",
    ),
    *(
        Family(model_type, decoder_class, "sdpa", _LAST, _PROJ, causal=True, note=note)
        for model_type, decoder_class, note in (
            ("llama", "LlamaModel", "SmolLM and TinyLlama too"),
            ("mistral", "MistralModel", ""),
            ("qwen2", "Qwen2Model", "Qwen2.5 too"),
            ("qwen3", "Qwen3Model", ""),
            ("gemma", "GemmaModel", ""),
            ("gemma3_text", "Gemma3TextModel", "text only; bidirectional with `use_bidirectional_attention`"),
        )
    ),
    Family(
        *("gemma2", "Gemma2Model", "eager", _LAST, _PROJ),
        causal=True,
        note="attention logits are capped, which `sdpa` cannot do",
    ),
    Family(
        *("phi3", "Phi3Model", "sdpa", _LAST),
        _roles("qkv_proj", "qkv_proj", "qkv_proj", "o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        causal=True,
        note="query, key and value are one matrix, with one adapter",
    ),
    Family(
        *("gpt_neox", "GPTNeoXModel", "sdpa", _LAST),
        _roles(
            *("query_key_value", "query_key_value", "query_key_value", "attention.dense"),
            *("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        ),
        causal=True,
        note="Pythia too; query, key and value are one matrix, with one adapter",
    ),
    Family(
        *("gpt2", "GPT2Model", "sdpa", _LAST),
        Roles(),
        lacks="its projections are transformers' Conv1D, whose weights are transposed, instead of linear layers",
        causal=True,
        note="full and last-layer only",
    ),
)

_BY_TYPE = {family.model_type: family for family in FAMILIES}


def family_of(model_type: str) -> Family | None:
    """Return the family of a configuration's `model_type`; None if it is not in the table."""
    return _BY_TYPE.get(model_type)


def counted_in_layers(names: Iterable[str]) -> dict[str, int]:
    """Return the names that modules have within an encoder's layer, and how many have each."""
    return dict(Counter(IN_A_LAYER.split(name)[-1] for name in names))


def spellings(role: str) -> tuple[tuple[str, ...], ...]:
    """Return how the families spell a role, each spelling once, in the table's order."""
    return tuple(dict.fromkeys(names for family in FAMILIES if (names := getattr(family.roles, role))))
