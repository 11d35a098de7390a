"""How a quantized encoder's frozen weights are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from peftbench.tasks import Part

PRECISIONS = {"bitsandbytes": ("nf4", "int8"), "torchao": ("int8", "fp8")}  # values of `precision`, by library
QUANTIZED = ("nf4", "int8", "fp8")


class QuantizationSpec(Part):
    """How `precision = "nf4"`, `"int8"` and `"fp8"` store the encoder's frozen linear layers."""

    library: Literal["bitsandbytes", "torchao"] = Field(
        "bitsandbytes",
        description="'bitsandbytes': nf4, int8 (which rounds inputs too); 'torchao': int8, fp8 (weights alone)",
    )
    double_quant: bool = Field(True, description="of nf4: the scales of its blocks are in 8 bits themselves")
    compute_dtype: Literal["fp32", "bf16"] = Field(
        "fp32", description="products are computed in it; 'bf16': the other operations as with 'autocast'"
    )

    def named(self, precision: str) -> str:
        """Return a precision in words: with the library, where it is not the default one."""
        return f"{precision} ({self.library})" if self.library == "torchao" else precision

    def why_not(self, precision: str) -> str | None:
        """Return why the encoder cannot be quantized so, with what is allowed; None: it can."""
        if precision not in QUANTIZED:
            stays = self == QuantizationSpec()
            return (
                None if stays else f"`quantization` has no meaning with precision = '{precision}': use nf4, int8 or fp8"
            )
        allowed = PRECISIONS[self.library]
        if precision not in allowed:
            other = next(library for library in PRECISIONS if precision in PRECISIONS[library])
            return (
                f"precision = '{precision}' with quantization.library = '{self.library}', which is for "
                f"{' and '.join(allowed)}: use one of these, or --set quantization.library={other}"
            )
        if self.library == "torchao" and not self.double_quant:
            return "quantization.double_quant is of nf4, and quantization.library = 'torchao' has none: leave it out"
        return None
