"""Small translation models with random weights and real tokenisers, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path

SENTENCES = ["the film was great and the plot was dull", "a slow story that moves nobody", "so what"]
ALPHABET = list("abcdefghijklmnopqrstuvwxyz")


def tiny_t5(folder: Path, seed: int = 0) -> Path:
    """Save a one-layer T5 with a trained Unigram tokeniser that knows MADLAD's marks `<2ko>` and `<2en>`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import T5Config, T5ForConditionalGeneration, T5TokenizerFast

    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<2ko>", "<2en>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", initial_alphabet=ALPHABET, show_progress=False
    )
    inner.train_from_iterator(SENTENCES * 10, trainer)
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = T5TokenizerFast(
        tokenizer_object=inner, extra_ids=0, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    _save(T5ForConditionalGeneration(config), folder)
    return folder


def tiny_nllb(folder: Path) -> Path:
    """Save a one-layer M2M-100 with NLLB's tokeniser, of single letters and NLLB's codes."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *ALPHABET]
    tokenizer = NllbTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    _save(M2M100ForConditionalGeneration(config), folder)
    return folder


def _save(model: object, folder: Path) -> None:
    """Scale the weights up first: with the default initialisation, such a small model gives constant output."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.8)
    model.save_pretrained(folder)
