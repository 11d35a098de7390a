"""Workloads of token and multilabel tasks, with sentences made here, for tests that train on them."""

from __future__ import annotations

import json
import random
from pathlib import Path

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ASPECTS = ("food", "price", "staff")
_NAMES = ("Anna", "Ben", "Carla", "Dmitri Orlov", "Elena")
_PLACES = ("Paris", "Oslo", "New York", "Rome", "Anna Bay")
_VERBS = ("lives", "works", "stayed")

Sentence = tuple[list[str], list[str]]


def sentence(rng: random.Random) -> Sentence:
    words: list[str] = []
    tags: list[str] = []

    def add(text: str, kind: str | None = None) -> None:
        for number, word in enumerate(text.split()):
            words.append(word)
            tags.append("O" if kind is None else f"{'I' if number else 'B'}-{kind}")

    add(rng.choice(_NAMES), "PER")
    add(rng.choice(_VERBS))
    add("unhappily in")
    add(rng.choice(_PLACES), "LOC")
    add(".")
    return words, tags


def write_conll(path: Path, sentences: list[Sentence]) -> None:
    lines = [[f"{word} {tag}\n" for word, tag in zip(*own, strict=True)] for own in sentences]
    path.write_text("\n".join("".join(own) for own in lines))


def write_aspects(path: Path, count: int, rng: random.Random) -> None:
    rows = []
    for number in range(count):
        labels = [name for name in ASPECTS if rng.random() < 0.4]
        text = " ".join(("the hotel", *(f"and its {name} was fine" for name in labels)))
        rows.append({"id": f"{path.stem}-{number}", "text": text, "labels": labels})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def workload(folder: Path, encoder: Path, sizes: tuple[int, int, int] = (40, 20, 16)) -> Path:
    """Write files of both kinds and a workload of them, with a test split; return the workload's path."""
    for split, count in zip(("train", "dev", "test"), sizes, strict=True):
        rng = random.Random(split)
        write_conll(folder / f"{split}.conll", [sentence(rng) for _ in range(count)])
        write_aspects(folder / f"{split}.jsonl", count, rng)

    def source(suffix: str) -> str:
        files = ", ".join(f'{split} = "{split}.{suffix}"' for split in ("train", "dev", "test"))
        return f'source = {{ type = "files", root = "{folder}", {files} }}\n'

    path = folder / "own.toml"
    path.write_text(
        f'[encoder]\nname = "{encoder}"\n[train]\nepochs = 2\nlr = 0.002\n[split]\ndev_is = "select"\n'
        f'[tasks.ner]\nkind = "tokens"\ntext = ["tokens"]\nlabel = "tags"\nlabels = {list(TAGS)}\n{source("conll")}'
        '[tasks.aspects]\nkind = "multilabel"\ntext = ["text"]\nlabel = "labels"\nid = "id"\nclasses = 3\n'
        f"{source('jsonl')}"
    )
    return path
