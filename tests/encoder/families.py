"""Tiny random encoders of many families with their tokenisers, created locally without downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = (
    "the",
    "a",
    "film",
    "book",
    "was",
    "is",
    "good",
    "bad",
    "fine",
    "very",
    "not",
    "one",
    "two",
    "yes",
    "no",
    "and",
)
ROWS = 320  # of every embedding: enough for a byte-level alphabet

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def wordpiece(pad: int = 0) -> Any:
    """A BERT tokeniser; `pad`: the id of its padding."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names.insert(pad, "[PAD]")
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*names, *letters, *(f"##{letter}" for letter in letters if letter.isalnum()), *WORDS]
    vocab = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def byte_level() -> Any:
    """A RoBERTa tokeniser: bytes, `<s>` 0, `<pad>` 1, `</s>` 2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: place for place, piece in enumerate([*names, *letters, "th", "the"])}
    backend = Tokenizer(models.BPE(vocab, [("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", cls_token="<s>", sep_token="</s>",
        bos_token="<s>", eos_token="</s>", mask_token="<mask>",
    )  # fmt: skip


def unigram(*, cls_last: bool = False, t5: bool = False) -> Any:
    """An XLM-R tokeniser, with `<pad>` and `</s>` in its vocabulary.

    `cls_last`: XLNet's, `A <sep> <cls>`; `t5`: T5's, `A </s>`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = [(chr(code), -8.0) for code in range(33, 127)]
    words = [(f"▁{word}", -3.0) for word in WORDS]
    backend = Tokenizer(models.Unigram([*((name, 0.0) for name in names), ("▁", -4.0), *letters, *words], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    single, pair = (
        ("$A </s> <s>:2", "$A </s> $B:1 </s>:1 <s>:2") if cls_last else ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    )
    if t5:
        single, pair = "$A </s>", "$A </s> $B </s>"
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    if t5:
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
        )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", cls_token="<s>", sep_token="</s>",
        bos_token="<s>", eos_token="</s>", mask_token="<mask>",
    )  # fmt: skip


def _of(name: str, **given: Any) -> Callable[[int], Any]:
    def build(rows: int) -> Any:
        import transformers

        known = {**_SIZES, "vocab_size": ROWS, "max_position_embeddings": rows, **given}
        return getattr(transformers, name)(**known)

    return build


def _plain(name: str, **given: Any) -> Callable[[int], Any]:
    """A configuration with its own names for sizes."""

    def build(rows: int) -> Any:
        import transformers

        if name not in UNBOUNDED:
            given["max_position_embeddings"] = rows
        return getattr(transformers, name)(vocab_size=ROWS, **given)

    return build


UNBOUNDED = ("XLNetConfig", "T5Config", "MT5Config", "UMT5Config", "FunnelConfig")  # their positions are relative

_ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_V3 = {
    "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_buckets": 16,
}  # fmt: skip

_WORDPIECE = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
_T5 = {
    "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "pad_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip

# Each family: configuration given the rows of its position table, tokeniser, and the number of unusable rows.
FAMILIES: dict[str, tuple[Callable[[int], Any], Callable[[], Any], int]] = {
    "bert": (_of("BertConfig"), wordpiece, 0),
    "electra": (_of("ElectraConfig", embedding_size=16), wordpiece, 0),
    "albert": (_of("AlbertConfig", embedding_size=16), wordpiece, 0),
    "distilbert": (
        _plain("DistilBertConfig", dim=32, n_layers=2, n_heads=2, hidden_dim=48),
        wordpiece,
        0,
    ),
    "roberta": (_of("RobertaConfig", **_ROBERTA), byte_level, 2),
    "xlm-roberta": (_of("XLMRobertaConfig", **_ROBERTA), unigram, 2),
    "camembert": (_of("CamembertConfig", **_ROBERTA), unigram, 2),
    "roberta-prelayernorm": (_of("RobertaPreLayerNormConfig", **_ROBERTA), byte_level, 2),
    "xlm-roberta-xl": (_of("XLMRobertaXLConfig", **_ROBERTA), unigram, 2),
    "data2vec-text": (_of("Data2VecTextConfig", **_ROBERTA), byte_level, 2),
    "longformer": (_of("LongformerConfig", attention_window=8, **_ROBERTA), byte_level, 2),
    "mpnet": (_of("MPNetConfig", **_ROBERTA), byte_level, 2),
    "deberta": (_of("DebertaConfig"), wordpiece, 0),
    "deberta-v2": (_of("DebertaV2Config"), wordpiece, 0),
    "deberta-v3": (_of("DebertaV2Config", **_V3), wordpiece, 0),
    "big_bird": (_of("BigBirdConfig", block_size=4, num_random_blocks=2), wordpiece, 0),
    "nystromformer": (_of("NystromformerConfig", num_landmarks=2, segment_means_seq_len=2), wordpiece, 0),
    "xlnet": (
        _plain("XLNetConfig", d_model=32, n_layer=2, n_head=2, d_inner=48, pad_token_id=1),
        lambda: unigram(cls_last=True),
        0,
    ),
    "modernbert": (
        _of("ModernBertConfig", local_attention=16, global_attn_every_n_layers=2, **_WORDPIECE),
        wordpiece,
        0,
    ),
    "nomic_bert": (_of("NomicBertConfig", head_dim=16), wordpiece, 0),
    "eurobert": (_of("EuroBertConfig", num_key_value_heads=2, mask_token_id=4, **_ROBERTA), byte_level, 0),
    "gte": (_of("GteConfig"), wordpiece, 0),
    "t5": (_plain("T5Config", **_T5), lambda: unigram(t5=True), 0),
    "mt5": (_plain("MT5Config", **_T5), lambda: unigram(t5=True), 0),
    "umt5": (_plain("UMT5Config", **_T5), lambda: unigram(t5=True), 0),
    "funnel": (
        _plain(
            "FunnelConfig",
            d_model=32,
            d_head=16,
            n_head=2,
            d_inner=48,
            block_sizes=[1, 1],
            num_decoder_layers=1,
            architectures=["FunnelModel"],
        ),
        wordpiece,
        0,
    ),
    "flaubert": (_plain("FlaubertConfig", emb_dim=32, n_layers=2, n_heads=2, pad_index=1), unigram, 0),
    "xlm": (_plain("XLMConfig", emb_dim=32, n_layers=2, n_heads=2, pad_index=1), unigram, 0),
    "ernie": (_of("ErnieConfig"), wordpiece, 0),
    "rembert": (_of("RemBertConfig", input_embedding_size=16), wordpiece, 0),
    "roformer": (_of("RoFormerConfig", embedding_size=16), wordpiece, 0),
    "mobilebert": (_of("MobileBertConfig", embedding_size=16, intra_bottleneck_size=16), wordpiece, 0),
    "convbert": (_of("ConvBertConfig", embedding_size=32, conv_kernel_size=3), wordpiece, 0),
    "fnet": (_of("FNetConfig"), wordpiece, 0),
    "squeezebert": (_of("SqueezeBertConfig", embedding_size=32), wordpiece, 0),
}


def save_family(name: str, folder: Path, rows: int = 130, **changes: Any) -> Path:
    """Write a tiny encoder of a family and its tokeniser; `rows` of its position table.

    Of an encoder-decoder the decoder is written too. `changes`: of the configuration.
    """
    import torch
    from transformers import AutoModel

    build, tokenizer, _ = FAMILIES[name]
    config = build(rows)
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
