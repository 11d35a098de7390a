"""How far new rows are from their sources: words in common, and similarity by an encoder."""

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
from peftbench.errors import MissingError
from peftbench.seeds import generator
from peftbench.spec.model import EncoderSpec

SAMPLE = 200  # rows of each operation whose similarity is computed
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Quality:
    """One operation's rows beside their sources, on the mean.

    words_in_common: 2 x the words that both have / the words of the two together (Dice), 1 where nothing but order or
        punctuation differs.
    similarity: cosine of the two texts' mean-pooled vectors, over at most `SAMPLE` rows; None without an encoder.
    left_out: rows that were dropped, by reason.
    """

    operation: str
    rows: int
    words_in_common: float | None
    similarity: float | None
    left_out: Mapping[str, int]


def quality(examples: Sequence[Example], new: NewRows, embedder: Embedder | None) -> list[Quality]:
    """Return each operation's quality, in the order in which the operations are first met.

    Args:
        examples: the sources.
        new: what was made of them.
        embedder: for similarity.
    """
    sources = {example.id: example.texts for example in examples}
    operations = dict.fromkeys([*(row.operation for row in new.rows), *new.left_out])
    found = []
    for operation in operations:
        rows = [row for row in new.rows if row.operation == operation]
        common = [words_in_common(sources[row.source_id], row.texts) for row in rows]
        found.append(
            Quality(
                operation,
                len(rows),
                float(np.mean(common)) if common else None,
                None if embedder is None or not rows else _similarity(_some(rows), sources, embedder),
                new.left_out.get(operation, {}),
            )
        )
    return found


def words_in_common(source: Sequence[str], new: Sequence[str]) -> float:
    """Return how much of two rows' words, taken as bags, are the same: from 0 to 1."""
    first, second = (Counter(" ".join(map(plain, texts)).split()) for texts in (source, new))
    whole = first.total() + second.total()
    return 2 * (first & second).total() / whole if whole else 1.0


class Embedder:
    """Texts as vectors of length 1, by an encoder that is on this machine: the one asked for, else the embedded one.

    Raises:
        MissingError: neither is.
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
        """Return one vector a text, `[texts, hidden]`: the mean over its tokens."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found = np.zeros((len(texts), self.encoder.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            batch = self.tokenizer(
                [texts[place] for place in places],
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
            found[places] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return found


def _some(rows: Sequence[NewRow]) -> list[NewRow]:
    chosen = torch.randperm(len(rows), generator=generator(0, "similarity"))[:SAMPLE]
    return [rows[int(place)] for place in chosen]


def _similarity(rows: Sequence[NewRow], sources: Mapping[str, Sequence[str]], embedder: Embedder) -> float:
    old = embedder.vectors([text for row in rows for text in sources[row.source_id]])
    new = embedder.vectors([text for row in rows for text in row.texts])
    return float((old * new).sum(axis=1).mean())
