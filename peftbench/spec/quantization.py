"""How a quantized encoder's frozen weights are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from peftbench.tasks import Part

QUANTIZED = ("nf4", "int8")  # values of `precision`


class QuantizationSpec(Part):
    """How `precision = "nf4"` and `"int8"` store the encoder's frozen linear layers (bitsandbytes)."""

    double_quant: bool = Field(True, description="of nf4: the scales of its blocks are in 8 bits themselves")
    compute_dtype: Literal["fp32", "bf16"] = Field(
        "fp32", description="products are computed in it; 'bf16': the other operations as with 'autocast'"
    )
