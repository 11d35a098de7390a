"""The encoder's part of a spec: which one, how its output becomes a text's embedding, and how long a text may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from peftbench.tasks import Part, TaskSpec


class EncoderSpec(Part):
    """The pretrained encoder, its pooling and its input format."""

    name: str = Field(description="all-MiniLM-L6-v2 (embedded), a local folder, or a model on the hub")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    pooling: Literal["pooler", "cls", "mean", "last"] = Field(
        "pooler", description="default: pooler; last where encoder.name is a folder with a decoder"
    )
    pair_encoding: Literal["joint", "separate"] = "joint"
    token_types: bool = Field(True, description="mark the second text of a joint pair, if the encoder has types")
    max_length: int = Field(512, ge=8, le=8192, description="maximum input length in tokens")
    stride: int | None = Field(
        None,
        ge=0,
        description="overlap in tokens of the windows that a text longer than max_length is divided into; None: it is "
        "truncated",
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="hidden and attention dropout; None: the model's own")

    @model_validator(mode="after")
    def _windows_advance(self) -> EncoderSpec:
        if self.stride is not None and self.stride >= self.max_length:
            raise ValueError(
                f"`stride` = {self.stride} must be below `max_length` = {self.max_length}, less the special tokens: a "
                "window would not advance; a quarter of max_length is usual"
            )
        return self

    def check_windows(self, tasks: Iterable[TaskSpec]) -> None:
        """Check that the texts of these tasks can be divided into windows, where `stride` says so.

        Raises:
            ValueError: a task is one of tokens, or of pairs that are encoded as one text.
        """
        if self.stride is None:
            return
        for task in tasks:
            if task.kind == "tokens":
                raise ValueError(
                    f"`encoder.stride` = {self.stride}: windows are averaged, and task {task.name} is one of tokens, "
                    "each of which has an output of its own: leave encoder.stride out and divide its sentences in the "
                    "data"
                )
            if task.is_pair and self.pair_encoding == "joint":
                raise ValueError(
                    f"`encoder.stride` = {self.stride}: the pairs of task {task.name} are encoded as one text, whose "
                    "windows would not hold both of its texts: use --set encoder.pair_encoding=separate, or leave "
                    "encoder.stride out"
                )
