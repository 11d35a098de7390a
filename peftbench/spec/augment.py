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


class BackTranslationSpec(Part):
    """Back translation: into another language and back. The study's are the defaults: MADLAD, Korean, bf16."""

    model: str = Field("google/madlad400-3b-mt", description="a seq2seq translation model: hub name or folder")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    back_model: str | None = Field(None, description="the model that translates back; None: the same one")
    back_revision: str | None = None
    family: Literal["madlad", "nllb", "m2m", "marian"] = Field(
        "madlad", description="how the model is told the language: a prefix, codes of its tokeniser, or not at all"
    )
    pivot: str = Field("ko", min_length=1, description="the language between, as the model names it")
    language: str = Field("en", min_length=1, description="the language of the texts, as the model names it")
    precision: Literal["bf16", "fp32"] = "bf16"
    beams: int = Field(1, ge=1, le=32, description="1: greedy, as all of it is without chance")
    max_new_tokens: int = Field(256, ge=1, le=4096, description="longest translation")
    batch_size: int = Field(32, ge=1, le=4096, description="sentences of similar length translated at once")


class AugmentSpec(Part):
    """New training rows of some tasks; dev and test are never augmented."""

    method: Literal["eda", "backtranslate", "both"] = Field(
        description="'both': the rows of each, all made from the rows that were there"
    )
    tasks: tuple[str, ...] = Field(
        ("sst", "sts"), strict=False, min_length=1, description="those of them that the workload has"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of EDA's draws; not the run's seed: a group shares its rows")
    eda: EdaSpec = EdaSpec()
    backtranslate: BackTranslationSpec = BackTranslationSpec()

    @property
    def uses_eda(self) -> bool:
        """Whether EDA makes rows."""
        return self.method in ("eda", "both")

    @property
    def uses_backtranslation(self) -> bool:
        """Whether back translation makes rows."""
        return self.method in ("backtranslate", "both")


def advice(n_aug: int, rows: int, task: str) -> str | None:
    """Return what the paper advises against, where `n_aug` is more than it advises for so many rows."""
    if rows < MANY_ROWS or n_aug <= ADVISED_THERE:
        return None
    return (
        f"{task}: n_aug = {n_aug} on {rows:,} rows; Wei and Zou advise {ADVISED_THERE} from {MANY_ROWS:,} rows on "
        "(more made no difference to them)"
    )
