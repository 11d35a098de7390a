"""What a spec says of augmentation: which new training rows are made, from which tasks' rows, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from peftbench.tasks import Part

MANY_ROWS = 5000  # from so many training rows on, Wei and Zou advise fewer new ones
ADVISED_THERE = 4


class EdaSpec(Part):
    """Wei and Zou's easy data augmentation; the study's settings are the defaults."""

    n_aug: int = Field(9, ge=1, le=64, description="new rows of each row, all operations together")
    alpha_replace: float = Field(0.1, ge=0, le=1, description="part of the words replaced by a synonym; 0: never")
    alpha_insert: float = Field(0.1, ge=0, le=1, description="synonyms inserted, as part of the words; 0: never")
    alpha_swap: float = Field(0.1, ge=0, le=1, description="swaps, as part of the words; 0: never")
    alpha_delete: float = Field(0.1, ge=0, lt=1, description="probability with which a word is deleted; 0: never")
    style: Literal["keep", "letters"] = Field(
        "keep", description="'keep' case and punctuation; 'letters': lower-case letters alone, as the authors' program"
    )

    @model_validator(mode="after")
    def _does_something(self) -> EdaSpec:
        if not any((self.alpha_replace, self.alpha_insert, self.alpha_swap, self.alpha_delete)):
            raise ValueError("every alpha is 0, so no operation is left: set one above 0")
        return self


def advice(n_aug: int, rows: int, task: str) -> str | None:
    """Return what the paper advises against, where `n_aug` is more than it advises for so many rows."""
    if rows < MANY_ROWS or n_aug <= ADVISED_THERE:
        return None
    return (
        f"{task}: n_aug = {n_aug} on {rows:,} rows; Wei and Zou advise {ADVISED_THERE} from {MANY_ROWS:,} rows on "
        "(more made no difference to them)"
    )
