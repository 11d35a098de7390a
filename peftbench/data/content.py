"""Tokeniser coverage of texts: unknown pieces, inputs without content, special tokens within texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peftbench.data.tokenise import Ragged
from peftbench.errors import DataError
from peftbench.text import clean

WARN_UNKNOWN = 0.2
REFUSE_UNKNOWN = 0.9
REFUSE_EMPTY = 0.9


@dataclass(frozen=True, slots=True)
class Content:
    """Content counts of inputs, apart from the special tokens of the tokeniser's template.

    inputs: texts, or joint pairs.
    pieces: tokens other than special tokens; `unknown` of them are the unknown token.
    empty: inputs without pieces.
    controlled: inputs with more special tokens than the template adds, to each window: the text itself contains one.
    """

    inputs: int
    pieces: int
    unknown: int
    empty: int
    controlled: int

    @property
    def unknown_share(self) -> float:
        """The fraction of pieces that are unknown; 0 without pieces."""
        return self.unknown / self.pieces if self.pieces else 0.0

    @property
    def empty_share(self) -> float:
        """The fraction of inputs without content."""
        return self.empty / self.inputs if self.inputs else 0.0


def content_of(parts: Sequence[Ragged], tokenizer: Any, joint_pairs: bool) -> Content:
    """Count the pieces, unknown pieces and special tokens of inputs.

    Args:
        parts: tokens of the inputs, by part.
        tokenizer: the tokeniser that produced them.
        joint_pairs: each input is a joint pair, with the pair template.
    """
    unknown_id = tokenizer.unk_token_id
    control = np.array(sorted(set(tokenizer.all_special_ids) - {unknown_id}), dtype=np.int32)
    template = tokenizer.num_special_tokens_to_add(pair=joint_pairs)
    inputs = pieces = unknown = empty = controlled = 0
    for part in parts:
        controls = _counts(np.isin(part.ids, control), part.offsets)
        words = part.lengths - controls
        inputs += len(words)
        pieces += int(words.sum())
        unknown += 0 if unknown_id is None else int(np.count_nonzero(part.ids == unknown_id))
        empty += int(np.count_nonzero(words == 0))
        beyond = controls > template * part.window_counts
        # where the template adds none, a text without any piece is a special token alone
        controlled += int(np.count_nonzero(beyond if template else beyond & (part.lengths > 1)))
    return Content(inputs, pieces, unknown, empty, controlled)


def check_content(content: Content, task: str, split: str, encoder: str) -> list[str]:
    """Return notes on a split's inputs for the run's record.

    Raises:
        DataError: a training split is almost entirely unknown to the tokeniser, or empty: the tokeniser is for another
            language, or not the encoder's.
    """
    where = f"{clean(task)} {split}"
    hint = "check that the tokeniser fits the encoder and the language of the texts, or set another encoder.name"
    unknown = f"{content.unknown_share:.0%} of the pieces are unknown to the tokeniser of {clean(encoder)}"
    empty = f"{content.empty:,} of {content.inputs:,} inputs have no content after the tokeniser of {clean(encoder)}"
    if split == "train" and content.unknown_share >= REFUSE_UNKNOWN:
        raise DataError(f"{where}: {unknown}: nothing can be learned from them", hint)
    if split == "train" and content.empty_share >= REFUSE_EMPTY:
        raise DataError(f"{where}: {empty}: nothing can be learned from them", hint)
    notes = []
    if content.unknown_share >= WARN_UNKNOWN:
        notes.append(f"{where}: {unknown}")
    if content.empty:
        notes.append(f"{where}: {empty}")
    if content.controlled:
        notes.append(f"{where}: {content.controlled:,} inputs contain text that the tokeniser reads as a special token")
    return notes


def _counts(marked: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the number of marked tokens of each text, `[texts]`."""
    running = np.zeros(len(marked) + 1, dtype=np.int64)
    np.cumsum(marked, out=running[1:])
    return np.asarray(running[offsets[1:]] - running[offsets[:-1]])
