"""The augmentation settings of a spec: which tasks get new training rows, and by which method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from peftbench.tasks import Part

MANY_ROWS = 5000  # from this training-set size on, Wei and Zou advise a smaller n_aug
ADVISED_THERE = 4


class EdaSpec(Part):
    """Wei and Zou's easy data augmentation; the study's settings are the defaults."""

    n_aug: int = Field(9, ge=1, le=64, description="new rows per source row, over all operations")
    alpha_replace: float = Field(0.1, ge=0, le=1, description="fraction of the words replaced by a synonym; 0: never")
    alpha_insert: float = Field(0.1, ge=0, le=1, description="synonyms inserted, as a fraction of the words; 0: never")
    alpha_swap: float = Field(0.1, ge=0, le=1, description="swaps, as a fraction of the words; 0: never")
    alpha_delete: float = Field(0.1, ge=0, lt=1, description="probability with which a word is deleted; 0: never")
    style: Literal["keep", "letters"] = Field(
        "keep", description="'keep': case and punctuation; 'letters': lower-case letters only, as in the authors' code"
    )

    @model_validator(mode="after")
    def _does_something(self) -> EdaSpec:
        if not any((self.alpha_replace, self.alpha_insert, self.alpha_swap, self.alpha_delete)):
            raise ValueError("every alpha is 0, so no operation is enabled: set at least one above 0")
        return self


class BackTranslationSpec(Part):
    """Back translation through a pivot language. The defaults are the study's: MADLAD, Korean, bf16."""

    model: str = Field("google/madlad400-3b-mt", description="a seq2seq translation model: hub name or folder")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    back_model: str | None = Field(None, description="the model that translates back; None: the same model")
    back_revision: str | None = None
    family: Literal["madlad", "nllb", "m2m", "marian"] = Field(
        "madlad", description="how the target language is passed: a prefix, codes of the tokeniser, or not at all"
    )
    pivot: str = Field("ko", min_length=1, description="the pivot language, as the model names it")
    language: str = Field("en", min_length=1, description="the language of the texts, as the model names it")
    precision: Literal["bf16", "fp32"] = "bf16"
    beams: int = Field(1, ge=1, le=32, description="beam width; 1: greedy. Decoding never samples")
    max_new_tokens: int = Field(256, ge=1, le=4096, description="maximum length of a translation in tokens")
    batch_size: int = Field(32, ge=1, le=4096, description="sentences of similar length translated at once")


class AugmentSpec(Part):
    """Augmentation of the training rows of some tasks; dev and test are never augmented."""

    method: Literal["eda", "backtranslate", "both"] = Field(
        description="'both': the rows of each method, all made from the original rows"
    )
    tasks: tuple[str, ...] = Field(
        ("sst", "sts"), strict=False, min_length=1, description="augmented tasks, where the workload has them"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of EDA, apart from the run's seed: a group shares its rows")
    eda: EdaSpec = EdaSpec()
    backtranslate: BackTranslationSpec = BackTranslationSpec()

    @property
    def uses_eda(self) -> bool:
        """Whether EDA is applied."""
        return self.method in ("eda", "both")

    @property
    def uses_backtranslation(self) -> bool:
        """Whether back translation is applied."""
        return self.method in ("backtranslate", "both")


def advice(n_aug: int, rows: int, task: str) -> str | None:
    """Return a note where `n_aug` exceeds the paper's recommendation for this number of rows, else None."""
    if rows < MANY_ROWS or n_aug <= ADVISED_THERE:
        return None
    return (
        f"{task}: n_aug = {n_aug} on {rows:,} rows; Wei and Zou advise {ADVISED_THERE} from {MANY_ROWS:,} rows on "
        "(larger values brought no gain in their experiments)"
    )
