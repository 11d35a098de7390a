"""Learning rates that were published for a method on a family and size of encoder: what `train.lr = "auto"` takes.

Light: data only. docs/reference/learning-rates.md shows the table. A rate is a start for a search, not its result: the
best one also depends on the data, the batch and the schedule (arXiv 2602.04998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Size = Literal["small", "base", "large", "billions"]
# Upper ends, in weights of the encoder's layers (without embeddings).
SIZES: tuple[tuple[Size, int], ...] = (("small", 60_000_000), ("base", 200_000_000), ("large", 1_000_000_000))
_DECODER = "decoder"  # any causal encoder
_ANY = "any"


@dataclass(frozen=True, slots=True)
class Rate:
    """A published learning rate.

    methods: the methods that it is of. families: values of `model_type`, `decoder` or `any`. sizes: of the encoder.
    lr: the rate taken. published: the rates as the source gives them. setting: what they were used with.
    checked: the source, or a page that quotes it, was read for this table; else the rate is cited from memory.
    """

    methods: tuple[str, ...]
    families: tuple[str, ...]
    sizes: tuple[Size, ...]
    lr: float
    published: str
    setting: str
    source: str
    checked: bool = False


_ALL: tuple[Size, ...] = ("small", "base", "large", "billions")
_ROBERTA = ("roberta", "xlm-roberta", "camembert")
_LORA = ("lora", "dora", "rslora", "pissa", "delta-lora")
_HU = "Hu et al. 2021, arXiv 2106.09685, table 9"

# The first row that fits is taken.
RATES: tuple[Rate, ...] = (
    Rate(
        *(("full",), ("deberta-v2",), ("small",), 4.5e-5, "4.5e-5"),
        *("batch 64, 3 epochs", "model card of microsoft/deberta-v3-small"),
    ),
    Rate(
        *(("full",), ("deberta-v2",), ("base",), 2e-5, "2e-5"),
        *("batch 64, 3 epochs", "model card of microsoft/deberta-v3-base"),
    ),
    Rate(
        *(("full",), ("deberta-v2",), ("large", "billions"), 6e-6, "6e-6"),
        *("batch 64, 2 epochs", "model card of microsoft/deberta-v3-large", True),
    ),
    Rate(
        *(("full",), ("modernbert",), _ALL, 5e-5, "1e-5, 3e-5, 5e-5, 8e-5"),
        *("GLUE, a grid for each task", "Warner et al. 2024, arXiv 2412.13663, appendix"),
    ),
    Rate(
        *(("full",), ("electra",), ("small",), 3e-4, "3e-4"),
        *("batch 32, a lower rate for lower layers", "Clark et al. 2020, arXiv 2003.10555, appendix B"),
    ),
    Rate(
        *(("full",), ("electra",), ("base",), 1e-4, "1e-4"),
        *("batch 32, a lower rate for lower layers", "Clark et al. 2020, arXiv 2003.10555, appendix B"),
    ),
    Rate(
        *(("full",), ("electra",), ("large",), 5e-5, "3e-5, 5e-5"),
        *("batch 32, a lower rate for lower layers", "Clark et al. 2020, arXiv 2003.10555, appendix B"),
    ),
    Rate(
        *(("full",), _ROBERTA, _ALL, 2e-5, "1e-5, 2e-5, 3e-5"),
        *("batch 16 or 32, warm-up 6 %, linear", "Liu et al. 2019, arXiv 1907.11692, table 10"),
    ),
    Rate(
        *(("full",), (_DECODER,), _ALL, 2e-5, "a tenth of LoRA's"),
        *("the ratio of the best rates, over ranks and models", "Schulman et al. 2025, LoRA Without Regret", True),
    ),
    Rate(
        *(("full",), (_ANY,), _ALL, 3e-5, "2e-5, 3e-5, 5e-5"),
        *("BERT: batch 16 or 32, 2 to 4 epochs, linear", "Devlin et al. 2019, arXiv 1810.04805, appendix A.3", True),
    ),
    Rate(
        *(_LORA, (_DECODER,), _ALL, 2e-4, "2e-4"),
        *("QLoRA up to 13B, batch 16, constant", "Dettmers et al. 2023, arXiv 2305.14314, table 9"),
    ),
    Rate(
        *(_LORA, (_ANY,), ("large", "billions"), 3e-4, "2e-4 to 4e-4"),
        *("RoBERTa-large: r 8, alpha 16, query and value, linear", _HU),
    ),
    Rate(
        *(_LORA, (_ANY,), ("small", "base"), 4e-4, "4e-4, 5e-4"),
        *("RoBERTa-base: r 8, query and value, linear", _HU, True),
    ),
    Rate(
        *(("adalora",), (_ANY,), _ALL, 8e-4, "5e-4 to 2.2e-3; SST-2 8e-4"),
        *("DeBERTa-v3-base, batch 32", "Zhang et al. 2023, arXiv 2303.10512, appendix", True),
    ),
    Rate(
        *(("bitfit",), (_ANY,), _ALL, 4e-4, "1e-4 to 1e-3"),
        *("BERT, batch 16", "Ben Zaken et al. 2022, arXiv 2106.10199, appendix"),
    ),
    Rate(
        *(("houlsby",), (_ANY,), _ALL, 3e-4, "3e-5, 3e-4, 3e-3"),
        *("BERT-large, batch 32", "Houlsby et al. 2019, arXiv 1902.00751, section 3.2"),
    ),
    Rate(
        *(("pfeiffer",), (_ANY,), _ALL, 1e-4, "1e-4"),
        *("RoBERTa and BERT", "Pfeiffer et al. 2021, arXiv 2005.00247"),
    ),
    Rate(*(("ia3",), (_ANY,), _ALL, 3e-3, "3e-3"), *("T0-3B, batch 8", "Liu et al. 2022, arXiv 2205.05638")),
    Rate(
        *(("vera",), (_ANY,), _ALL, 4e-3, "4e-3 to 1e-2"),
        *("RoBERTa-base, of the vectors", "Kopiczko et al. 2023, arXiv 2310.11454, appendix"),
    ),
    Rate(
        *(("last-layer",), (_ANY,), _ALL, 1e-3, "1e-3 or 1e-5"),
        *("BERT-base, batch 8, constant; printed exchanged with `full`", "the study that peftbench reproduces", True),
    ),
)


def rate_of(method: str, model_type: str, causal: bool, weights: int) -> Rate | None:
    """Return the first row for a method on an encoder; None where nothing was published.

    Args:
        method: its registered name.
        model_type: the encoder's, as in its configuration.
        causal: it is a decoder.
        weights: those of its layers, without embeddings.
    """
    size = next((name for name, end in SIZES if weights < end), "billions")
    families = {model_type, _DECODER if causal else _ANY}
    rows = [row for row in RATES if method in row.methods and size in row.sizes and families & set(row.families)]
    own = [row for row in rows if model_type in row.families]
    return next(iter(own or rows), None)
