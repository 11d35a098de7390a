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
_HU = "Hu et al. 2021, arXiv 2106.09685, table 9"
_DEBERTA_CODE = "github.com/microsoft/DeBERTa, experiments/glue"
_CLARK = "Clark et al. 2020, arXiv 2003.10555; github.com/google-research/electra, configure_finetuning.py"
_WARNER = "Warner et al. 2024, arXiv 2412.13663, table 6"
_LIU = "Liu et al. 2019, arXiv 1907.11692, table 10; fairseq, examples/roberta/README.glue.md"
_XTREME = "github.com/google-research/xtreme, scripts/train_xnli.sh"
_MENG = "Meng et al. 2024, arXiv 2404.02948, table 10"
_LAYERWISE = "batch 32, linear, lower rates for lower layers"


def _full(family: str, sizes: tuple[Size, ...], lr: float, published: str, setting: str, source: str) -> Rate:
    return Rate(("full",), (family,), sizes, lr, published, setting, source, checked=True)


# The first row that fits is taken, one that names the family before others.
RATES: tuple[Rate, ...] = (
    _full("deberta-v2", ("small",), 4.5e-5, "4.5e-5", "v3-small, MNLI, batch 64", f"{_DEBERTA_CODE}/mnli.sh"),
    _full("deberta-v2", ("base",), 1.5e-5, "1.5e-5", "v3-base, MNLI, batch 64", f"{_DEBERTA_CODE}/mnli.sh"),
    _full("deberta-v2", ("large",), 7e-6, "5.5e-6 to 1e-5", "v3-large, batch 32 or 64", _DEBERTA_CODE),
    _full("deberta-v2", ("billions",), 3e-6, "2e-6 to 3e-6", "v2-xxlarge", _DEBERTA_CODE),
    _full("modernbert", ("small", "base"), 8e-5, "8e-5 and 5e-5, of 1e-5 to 8e-5", "GLUE, batch 64", _WARNER),
    _full("modernbert", ("large", "billions"), 5e-5, "1e-5 to 8e-5, by task", "GLUE, batch 64", _WARNER),
    _full("electra", ("small",), 3e-4, "3e-4", _LAYERWISE, _CLARK),
    _full("electra", ("base",), 1e-4, "1e-4", _LAYERWISE, _CLARK),
    _full("electra", ("large",), 5e-5, "5e-5", _LAYERWISE, _CLARK),
    _full("roberta", ("large",), 1e-5, "1e-5, 2e-5", "batch 16 or 32, linear, warm-up 6 %", _LIU),
    Rate(
        *(("full",), ("roberta", "camembert"), _ALL, 2e-5, "1e-5, 2e-5, 3e-5"),
        *("batch 16 or 32, linear, warm-up 6 %; of the large model", "Liu et al. 2019, arXiv 1907.11692, table 10"),
    ),
    _full("xlm-roberta", ("small", "base"), 2e-5, "2e-5", "XNLI, batch 32", _XTREME),
    _full("xlm-roberta", ("large", "billions"), 3e-5, "3e-5", "XNLI, batch 32", _XTREME),
    _full("albert", _ALL, 2e-5, "1e-5 to 5e-5, by task", "base, batch 16 to 128", "Lan et al. 2019, arXiv 1909.11942"),
    _full(
        "bert", ("small",), 5e-5, "3e-4, 1e-4, 5e-5, 3e-5", "batch 8 to 128", "github.com/google-research/bert, README"
    ),
    _full(
        _DECODER, _ALL, 2e-5, "a tenth of LoRA's", "over ranks and models", "Schulman et al. 2025, LoRA Without Regret"
    ),
    _full(
        *(_ANY, _ALL, 3e-5, "5e-5, 3e-5, 2e-5", "BERT, batch 16 or 32, 2 to 4 epochs"),
        "Devlin et al. 2019, arXiv 1810.04805, appendix A.3",
    ),
    Rate(("lora",), ("deberta-v2",), ("base",), 3e-4, "1e-4 to 4e-4", "r 8, alpha 8, q, k and v", _MENG, True),
    Rate(("dora",), ("deberta-v2",), ("base",), 2e-4, "1e-4 to 4e-4", "r 8, q, k and v", _MENG, True),
    Rate(
        ("lora",),
        ("deberta-v2",),
        ("billions",),
        1e-4,
        "6e-5 to 2e-4",
        "v2-xxlarge, r 8, alpha 8",
        f"{_HU[:-1]}10",
        True,
    ),
    Rate(
        *(("lora",), (_DECODER,), _ALL, 2e-4, "2e-4 up to 13B, then 1e-4", "nf4, r 64, alpha 16, batch 16, constant"),
        *("Dettmers et al. 2023, arXiv 2305.14314; github.com/artidoro/qlora, scripts", True),
    ),
    Rate(
        *(("dora",), (_DECODER,), _ALL, 2e-4, "1e-4 to 3e-4", "Llama 7B to 13B, r 16 and 32, alpha 2 r"),
        *("Liu et al. 2024, arXiv 2402.09353, table 8", True),
    ),
    Rate(
        *(("lora", "dora"), (_ANY,), ("large", "billions"), 3e-4, "2e-4 to 4e-4"),
        *("LoRA, RoBERTa-large, r 8, alpha 16, q and v, linear", _HU, True),
    ),
    Rate(
        *(("lora", "dora"), (_ANY,), ("small", "base"), 4e-4, "4e-4, 5e-4"),
        *("LoRA, RoBERTa-base, r 8, alpha 8, q and v, linear", _HU, True),
    ),
    Rate(
        *(("rslora",), (_DECODER,), _ALL, 1e-4, "1e-4", "Llama-3.2-3B, r 64, alpha 64, cosine; not tuned"),
        *("github.com/huggingface/peft, method_comparison/MetaMathQA", True),
    ),
    Rate(
        *(("pissa",), (_DECODER,), _ALL, 2e-5, "2e-5", "Llama-2-7B, r 128, alpha 128, batch 128"),
        *("github.com/GraphPKU/PiSSA, scripts", True),
    ),
    Rate(("pissa",), (_ANY,), _ALL, 1e-4, "3e-5 to 5e-4, by task", "DeBERTa-v3-base, r 8, alpha 8", _MENG, True),
    Rate(
        *(("loraplus",), (_ANY, _DECODER), _ALL, 5e-5, "5e-5, of A", "ratio 16; RoBERTa-base on MNLI: ratio 80"),
        *("PEFT's documentation; github.com/nikhil-ghosh-berkeley/loraplus", True),
    ),
    Rate(
        *(("adalora",), (_ANY,), _ALL, 8e-4, "5e-4 to 2.2e-3, by task", "DeBERTa-v3-base, batch 32"),
        *("Zhang et al. 2023, arXiv 2303.10512, table 8", True),
    ),
    Rate(
        *(("vera",), (_ANY,), _ALL, 1e-2, "2e-2, of the head 1e-2", "RoBERTa on MRPC, batch 128"),
        *("PEFT's example for sequence classification", True),
    ),
    Rate(
        *(("ia3",), (_DECODER,), _ALL, 3e-3, "3e-3", "T0-3B, batch 8, Adafactor"),
        *("Liu et al. 2022, arXiv 2205.05638; github.com/r-three/t-few", True),
    ),
    Rate(
        *(("ia3",), (_ANY,), _ALL, 1e-3, "1e-3", "RoBERTa-large on MRPC, batch 8"),
        *("PEFT's example for sequence classification", True),
    ),
    Rate(
        *(("oft",), (_ANY,), _ALL, 3e-4, "8e-5 to 9e-4, by task", "DeBERTa-v3-base, block 16, batch 32"),
        *("Liu et al. 2023, arXiv 2311.06243, table 7", True),
    ),
    Rate(
        *(("boft",), (_ANY,), _ALL, 3e-4, "5e-5 to 8e-4, by task", "DeBERTa-v3-base, batch 32"),
        *("Liu et al. 2023, arXiv 2311.06243, table 7", True),
    ),
    Rate(
        *(("bitfit",), (_ANY,), _ALL, 1e-3, "1e-3", "BERT-base; the default of the authors' program"),
        *("github.com/benzakenelad/BitFit", True),
    ),
    Rate(
        *(("houlsby",), (_ANY,), _ALL, 3e-4, "3e-5, 3e-4, 3e-3", "BERT-large; the authors' example has 3e-4"),
        *("Houlsby et al. 2019, arXiv 1902.00751, section 3.2", True),
    ),
    Rate(("pfeiffer",), ("roberta",), ("large",), 3e-4, "3e-4, 3e-5", "RoBERTa-large, batch 32, linear", _HU, True),
    Rate(
        *(("pfeiffer",), (_ANY,), _ALL, 1e-4, "1e-4", "BERT-base, batch 32, 10 epochs"),
        *("AdapterHub's documentation, training", True),
    ),
    Rate(
        *(("last-layer",), (_ANY, _DECODER), _ALL, 1e-3, "1e-3", "BERT-base, frozen; the study has it too"),
        *("github.com/benzakenelad/BitFit", True),
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
