"""The options of each method, as in a spec's `[method]` table. Light: imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from peftbench.tasks import Part

TARGET_WORDS: dict[str, tuple[str, ...]] = {
    "qkv": ("query", "key", "value"),
    "attention": ("query", "key", "value", "output"),
    "mlp": ("ffn",),
    "all-linear": ("query", "key", "value", "output", "ffn"),
}
"""Words for several targets, with their roles in `peftbench.families`. `all-linear` also has layers without a role."""

LARGEST_RANK = 4096
_LAYERS = re.compile(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*")


class MethodOptions(Part):
    """Options of every method: its registered name. A plug-in's options derive from this."""

    name: str


class LastLayerOptions(MethodOptions):
    """`last-layer`: the encoder frozen, only the tasks' heads trained."""


class FullOptions(MethodOptions):
    """`full`: every weight of the encoder trained, shared by all tasks."""


class LayeredOptions(MethodOptions):
    """Which of the encoder's layers have adapters."""

    layers: str | None = Field(
        None, description="only these layers, counted from 0: '6-11', '0,2,4'; None: all", examples=["6-11"]
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _one_layer_may_be_a_number(cls, layers: Any) -> Any:
        return str(layers) if type(layers) is int else layers

    @field_validator("layers")
    @classmethod
    def _layers_are_numbers(cls, layers: str | None) -> str | None:
        if layers is not None:
            layer_numbers(layers)
        return layers


class TargetedOptions(LayeredOptions):
    """The layers that adapters are applied to."""

    targets: tuple[str, ...] = Field(
        ("query", "key", "value"),
        strict=False,
        min_length=1,
        description="query, key, value (in every known family of encoders), attention (these and the output "
        "projection), mlp, all-linear (all of the encoder's layers), or literal module names",
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _one_target_may_be_a_word(cls, targets: Any) -> Any:
        if not isinstance(targets, str):
            return targets
        if targets not in TARGET_WORDS:
            raise ValueError(f"expected a list of module names, or one of: {', '.join(TARGET_WORDS)}")
        return TARGET_WORDS["qkv"] if targets == "qkv" else (targets,)


def layer_numbers(layers: str) -> frozenset[int]:
    """Return the layers denoted by a text such as '6-11' or '0,2,4-5'.

    Raises:
        ValueError: the text is malformed.
    """
    numbers: set[int] = set()
    for part in layers.split(","):
        match = _LAYERS.fullmatch(part)
        if match is None or (match[2] and int(match[1]) > int(match[2])):
            raise ValueError("expected layer numbers such as '6-11' or '0,2,4'")
        numbers |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(numbers)


def layers_and_target(pattern: str) -> tuple[frozenset[int] | None, str | None]:
    """Return the layers and the target that a key of `rank_pattern` names; None where it names none.

    Raises:
        ValueError: it is none of '6-11', 'value' and '6-11 value'.
    """
    first, *rest = pattern.split()[:3] or [""]
    if not first[:1].isdigit():
        if rest or not first:
            raise ValueError(f"expected layers, a target, or both, such as '6-11 value', instead of '{pattern}'")
        return None, first
    if len(rest) > 1:
        raise ValueError(f"expected layers, a target, or both, such as '6-11 value', instead of '{pattern}'")
    return layer_numbers(first), rest[0] if rest else None


def _undotted(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested tables, which a file or `--set` makes of a key with dots (`output.dense`)."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _undotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class LowRankOptions(TargetedOptions):
    """Rank and scale of a low-rank adapter."""

    rank: int = Field(ge=1, le=LARGEST_RANK)
    alpha: float = Field(gt=0, description="default: equal to rank, a scale of 1")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")

    @model_validator(mode="before")
    @classmethod
    def _alpha_defaults_to_rank(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("alpha") is None:
            rank = data.get("rank")
            if isinstance(rank, int) and 0 < rank <= LARGEST_RANK:
                return {**data, "alpha": float(rank)}
            return {**data, "alpha": 1.0}  # rank is invalid, which should be the only error reported
        return data


class LoraOptions(LowRankOptions):
    """`lora`: `h = W0 x + (alpha / rank) B A x` on each target, one adapter set per task (Hu et al. 2021, eq. 3)."""

    rank_pattern: dict[str, int] = Field(
        {},
        description="other ranks, by layers ('6-11'), by targets, or by both ('6-11 value'); the scale stays alpha / "
        "rank everywhere",
        examples=[{"6-11": 16}],
    )
    train_norms: bool = Field(
        False, description="train the encoder's norms too, a copy for each task; with `layers` those of these layers"
    )
    train_embeddings: bool = Field(
        False, description="train the tables of words, positions and types too, a copy for each task"
    )
    train_pooler: bool = Field(
        False, description="train the pooler too, a copy for each task; encoder.pooling = 'pooler'"
    )

    @field_validator("rank_pattern", mode="before")
    @classmethod
    def _names_may_have_dots(cls, pattern: Any) -> Any:
        return dict(_undotted(pattern)) if isinstance(pattern, dict) else pattern

    @field_validator("rank_pattern")
    @classmethod
    def _patterns_can_be_read(cls, pattern: dict[str, int]) -> dict[str, int]:
        for key, rank in pattern.items():
            layers_and_target(key)
            if not 1 <= rank <= LARGEST_RANK:
                raise ValueError(f"the rank of '{key}' is {rank}, and must be from 1 to {LARGEST_RANK}")
        return pattern


class DoraOptions(LoraOptions):
    """`dora`: magnitude and direction separated (Liu et al. 2024, eq. 5), the norm detached (section 4.3)."""

    norm_axis: Literal["output", "input"] = Field(
        "output",
        description="norm of each row of W (an output feature), as the authors' code and PEFT; 'input': of each column",
    )


class LoraPlusOptions(LoraOptions):
    """`loraplus`: LoRA with a higher learning rate for B than for A (Hayou et al. 2024, arXiv 2402.12354)."""

    lr_ratio: float = Field(16.0, ge=1, description="learning rate of B over that of A, which is train.lr")


class DeltaLoraOptions(LoraOptions):
    """`delta-lora`: W changes too, by the change of B A (Zi et al. 2023, arXiv 2309.02411); one W per task."""

    ratio: float = Field(2.0, gt=0, description="change of W for a change of s B A of 1 (the paper's lambda)")
    start: int = Field(100, ge=0, description="steps of a task before W starts to change (the paper's K)")
    dropout: float = Field(0.0, ge=0, le=0, description="must be 0, else the gradients of A, B and W would disagree")


class RsLoraOptions(LowRankOptions):
    """`rslora`: LoRA with the scale alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732)."""


class PissaOptions(LowRankOptions):
    """`pissa`: LoRA that starts from the principal singular vectors of W0 (Meng et al. 2024, arXiv 2404.02948)."""

    iterations: int | None = Field(16, ge=1, description="of the randomised SVD; None: the exact one, slower")


class AdaLoraOptions(LowRankOptions):
    """`adalora`: ranks shift to important layers (Zhang et al. 2023, arXiv 2303.10512). `rank` is the initial one."""

    target_rank: int = Field(8, ge=1, description="mean rank at the end")
    start: float = Field(0.1, ge=0, lt=1, description="fraction of a task's steps before ranks are reduced")
    final: float = Field(0.4, gt=0, lt=1, description="fraction of a task's steps at the end, with fixed ranks")
    every: int = Field(10, ge=1, description="steps between two allocations")
    orthogonal: float = Field(0.5, ge=0, description="weight of the penalty that keeps P and Q orthogonal")

    @model_validator(mode="after")
    def _ranks_fall(self) -> AdaLoraOptions:
        if self.target_rank >= self.rank:
            raise ValueError(f"target_rank ({self.target_rank}) must be below rank ({self.rank})")
        if self.start + self.final >= 1:
            raise ValueError("start + final must be below 1: ranks change in between")
        return self


class VeraOptions(TargetedOptions):
    """`vera`: one frozen random pair A, B for all layers, only two scaling vectors trained (Kopiczko et al. 2023)."""

    rank: int = Field(256, ge=1, le=LARGEST_RANK)
    initial: float = Field(0.1, gt=0, description="initial value of the vector d")
    dropout: float = Field(0.0, ge=0, lt=1)


class Ia3Options(TargetedOptions):
    """`ia3`: learned vectors scale keys, values and the feed-forward's hidden states (Liu et al. 2022)."""

    targets: tuple[str, ...] = Field(("key", "value", "intermediate.dense"), strict=False, min_length=1)
    inputs: tuple[str, ...] = Field(
        (), strict=False, description="the targets whose input is scaled instead of their output"
    )

    @model_validator(mode="after")
    def _inputs_are_targets(self) -> Ia3Options:
        if strange := set(self.inputs) - set(self.targets):
            raise ValueError(f"inputs: {', '.join(sorted(strange))} is not among targets ({', '.join(self.targets)})")
        return self


class OftOptions(TargetedOptions):
    """`oft`: an orthogonal, block-diagonal rotation of W0's input (Qiu et al. 2023, arXiv 2306.07280)."""

    block_size: int = Field(32, ge=2, description="must divide the layers' input width")
    dropout: float = Field(0.0, ge=0, lt=1)


class BoftOptions(TargetedOptions):
    """`boft`: a rotation as a product of sparse butterfly factors (Liu et al. 2023, arXiv 2311.06243)."""

    block_size: int = Field(8, ge=2, description="must divide the layers' input width")
    factors: int = Field(2, ge=1, description="butterfly factors")
    dropout: float = Field(0.0, ge=0, lt=1)


class BitFitOptions(MethodOptions):
    """`bitfit`: only the encoder's biases, a copy of each for every task (Ben Zaken et al. 2022, arXiv 2106.10199)."""


class BottleneckOptions(LayeredOptions):
    """A small feed-forward network inside the encoder's layers: `A(h) = U f(D h + d) + u`."""

    bottleneck: int | None = Field(None, ge=1, le=65536, description="width of D h; None: by `reduction_factor`")
    reduction_factor: int | None = Field(
        None, ge=1, le=65536, description="width of the encoder over that of D h; None: 16, or by `bottleneck`"
    )
    activation: Literal["relu", "gelu", "silu", "tanh"] = Field("relu", description="f")
    init_std: float = Field(0.01, gt=0, le=1, description="standard deviation of D and U at the start, truncated at 2")
    train_norms: bool = Field(False, description="train the norms too, a copy for each task")

    @model_validator(mode="after")
    def _one_of_the_two_gives_the_width(self) -> Self:
        if self.bottleneck is not None and self.reduction_factor is not None:
            raise ValueError("`bottleneck` and `reduction_factor` both give the width of D h: choose one")
        return self

    def width(self, hidden: int) -> int:
        """Return the width of D h for vectors of a width."""
        return self.bottleneck or max(1, hidden // (self.reduction_factor or 16))


class HoulsbyOptions(BottleneckOptions):
    """`houlsby`: two bottleneck adapters in each layer, and its norms (Houlsby et al. 2019, arXiv 1902.00751)."""

    activation: Literal["relu", "gelu", "silu", "tanh"] = Field("gelu", description="f; gelu as in the authors' code")
    train_norms: bool = Field(True, description="train the norms too, a copy for each task, as the paper does")


class PfeifferOptions(BottleneckOptions):
    """`pfeiffer`: one bottleneck adapter in each layer, after its last norm (Pfeiffer et al. 2021)."""


class LnTuningOptions(MethodOptions):
    """`ln-tuning`: only the layer norms (Zhao et al. 2023, arXiv 2312.11420), one set per task."""


class PeftOptions(MethodOptions):
    """`peft`: any other tuner of HF PEFT, with PEFT's own configuration keys."""

    peft_type: str = Field(description="one of peft.PeftType, such as LOHA")
    config: dict[str, Any] = Field(default_factory=dict, description="the keys of its configuration class")
