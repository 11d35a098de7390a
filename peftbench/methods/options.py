"""The options of each method, as a spec's `[method]` table states them. Light: no torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from peftbench.tasks import Part


class MethodOptions(Part):
    """Options every method has: its registered name. A plug-in's options derive from this."""

    name: str


class LastLayerOptions(MethodOptions):
    """`last-layer`: the encoder frozen, only the tasks' heads trained."""


class FullOptions(MethodOptions):
    """`full`: every weight of the encoder trained, shared by all tasks."""


class LoraOptions(MethodOptions):
    """`lora`: `h = W0 x + (alpha / rank) B A x` on each target, one adapter set a task (Hu et al. 2021, eq. 3)."""

    rank: int = Field(ge=1, le=4096)
    alpha: float = Field(gt=0, description="default: equal to rank, a scale of 1")
    targets: tuple[str, ...] = Field(
        ("query", "key", "value"),
        strict=False,
        min_length=1,
        description="query, key, value (found in any known architecture) or literal module names",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")

    @model_validator(mode="before")
    @classmethod
    def _alpha_defaults_to_rank(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("alpha") is None:
            rank = data.get("rank")
            if isinstance(rank, int) and 0 < rank <= 4096:
                return {**data, "alpha": float(rank)}
            return {**data, "alpha": 1.0}  # rank is wrong, and the only error to show
        return data


class DoraOptions(LoraOptions):
    """`dora`: magnitude and direction apart (Liu et al. 2024, eq. 5), the norm detached (section 4.3)."""

    norm_axis: Literal["output", "input"] = Field(
        "output",
        description="norm per output feature, as the authors' code and HF PEFT; 'input' is the text's literal reading",
    )
