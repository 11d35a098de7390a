"""Similarity of augmented rows to their sources: word overlap and cosine similarity of embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from peftbench.data.augment.rows import NewRow, NewRows
from peftbench.data.augment.words import plain
from peftbench.data.examples import Example
from peftbench.encoder import EMBEDDED_NAME, find_encoder, load_encoder, load_tokenizer
from peftbench.encoder.layout import hidden_size
from peftbench.errors import MissingError
from peftbench.seeds import generator
from peftbench.spec.encoder import EncoderSpec

SAMPLE = 200  # rows per operation for which the similarity is computed
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Quality:
    """Mean similarity of one operation's rows to their sources.

    words_in_common: Dice coefficient of the words: 2 x common / total of both; 1 if only order or punctuation differ.
    similarity: cosine of the two mean-pooled embeddings, over at most `SAMPLE` rows; None without an encoder.
    left_out: rejected rows, by reason.
    """

    operation: str
    rows: int
    words_in_common: float | None
    similarity: float | None
    left_out: Mapping[str, int]


def quality(examples: Sequence[Example], new: NewRows, embedder: Embedder | None) -> list[Quality]:
    """Return each operation's quality, in order of first occurrence.

    Args:
        examples: the source rows.
        new: the augmented rows.
        embedder: for the similarity.
    """
    sources = {example.id: example.texts for example in examples}
    operations = dict.fromkeys([*(row.operation for row in new.rows), *new.left_out])
    qualities = []
    for operation in operations:
        rows = [row for row in new.rows if row.operation == operation]
        common = [words_in_common(sources[row.source_id], row.texts) for row in rows]
        qualities.append(
            Quality(
                operation,
                len(rows),
                float(np.mean(common)) if common else None,
                None if embedder is None or not rows else _similarity(_sampled(rows), sources, embedder),
                new.left_out.get(operation, {}),
            )
        )
    return qualities


def words_in_common(source: Sequence[str], new: Sequence[str]) -> float:
    """Return the Dice coefficient of two rows' bags of words, from 0 to 1."""
    first, second = (Counter(" ".join(map(plain, texts)).split()) for texts in (source, new))
    word_count = first.total() + second.total()
    return 2 * (first & second).total() / word_count if word_count else 1.0


class Embedder:
    """Unit-length text embeddings from an encoder on this machine: the requested one, else the embedded one.

    Raises:
        MissingError: neither is available.
    """

    def __init__(self, asked: EncoderSpec) -> None:
        spec = asked.model_copy(update={"pooling": "mean"})
        try:
            files = find_encoder(spec, local=True)
        except MissingError:
            spec = EncoderSpec(name=EMBEDDED_NAME, pooling="mean", max_length=128)
            files = find_encoder(spec, local=True)
        self.name, self.max_length = spec.name, spec.max_length
        self.tokenizer = load_tokenizer(files)
        self.encoder: Any = load_encoder(spec, files).eval()

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return one vector per text, `[texts, hidden]`: the mean over its tokens."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        embeddings = np.zeros((len(texts), hidden_size(self.encoder)), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            indices = order[start : start + _BATCH]
            batch = self.tokenizer(
                [texts[index] for index in indices],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=self.max_length,
            )
            states = self.encoder(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            embeddings[indices] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return embeddings


def _sampled(rows: Sequence[NewRow]) -> list[NewRow]:
    chosen = torch.randperm(len(rows), generator=generator(0, "similarity"))[:SAMPLE]
    return [rows[int(index)] for index in chosen]


def _similarity(rows: Sequence[NewRow], sources: Mapping[str, Sequence[str]], embedder: Embedder) -> float:
    old = embedder.vectors([text for row in rows for text in sources[row.source_id]])
    new = embedder.vectors([text for row in rows for text in row.texts])
    return float((old * new).sum(axis=1).mean())
