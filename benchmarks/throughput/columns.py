"""The columns: Hugging Face's ways to train, and peftbench's. To add one, add a `Column` to `columns_of`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.throughput.texts import CLASSES, VOCABULARY
from peftbench.data.batches import Batch
from peftbench.encoder import set_dropout
from peftbench.families import Family, family_of
from peftbench.model import MultitaskModel
from peftbench.spec import resolve

Order = Literal["random", "sorted"]  # of the batches of an evaluation

RANK = 12
LEARNING_RATE = 1e-5
PRESETS = {"lora": "lora-r12", "dora": "dora-r12", "full": "full", "last-layer": "last-layer"}


@dataclass(frozen=True, slots=True)
class Shape:
    """An encoder's size and pooling; `family` is transformers' name of its model type."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    pooling: Literal["cls", "mean", "last"]
    family: Literal["bert", "modernbert", "deberta-v2", "llama"] = "bert"
    key_heads: int | None = None  # of a decoder, which shares keys and values between heads

    @property
    def known(self) -> Family:
        """What is known of its family."""
        family = family_of(self.family)
        assert family is not None
        return family

    @property
    def targets(self) -> list[str]:
        """The linear layers with adapters: query, key and value."""
        roles = self.known.roles
        return list(dict.fromkeys([*roles.query, *roles.key, *roles.value]))

    @property
    def runtime(self) -> Literal["native", "transformers"]:
        """What computes peftbench's columns: transformers, over padded batches, where the native runtime does not."""
        return "native" if self.known.native else "transformers"


_MORE: dict[str, dict[str, Any]] = {  # of a family's configuration; the texts have no pieces beyond VOCABULARY
    "deberta-v2": {  # v3
        "vocab_size": VOCABULARY,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_buckets": 256,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
    },
    "llama": {"vocab_size": VOCABULARY, "use_cache": False},
}

SHAPES = {
    "base": Shape(768, 12, 12, 3072, "cls"),  # BERT-base
    "minilm": Shape(384, 6, 12, 1536, "mean"),  # all-MiniLM-L6-v2
    "modernbert": Shape(768, 22, 12, 1152, "cls", "modernbert"),  # ModernBERT-base
    "deberta": Shape(768, 12, 12, 3072, "cls", "deberta-v2"),  # DeBERTa-v3-base
    "decoder": Shape(576, 30, 9, 1536, "last", "llama", 3),  # SmolLM2-135M
    "tiny": Shape(32, 2, 2, 48, "mean"),  # for the tests
    "tiny-modernbert": Shape(32, 2, 2, 48, "cls", "modernbert"),
    "tiny-deberta": Shape(32, 2, 2, 48, "cls", "deberta-v2"),
    "tiny-decoder": Shape(32, 2, 2, 48, "last", "llama", 1),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings shared by the columns of one configuration."""

    shape: str
    dropout: float


@dataclass(frozen=True, slots=True)
class Stepper:
    """A model in training mode that maps a batch to logits, and its optimiser."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    autocast: bool = False

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, in fp32."""
        with self._precision():
            logits = self.model(batch)
        return F.cross_entropy(logits.float(), batch.labels.long())

    def step(self, batch: Batch) -> None:
        """Take one training step."""
        self.loss(batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.autocast)


@dataclass(frozen=True, slots=True)
class Column:
    """One way to train.

    Args:
        name: as displayed.
        method: the method whose baseline it is compared with.
        build: creates its model and optimiser.
        packed: it takes batches without padding.
        batches: their order.
        bar: it is its method's baseline.
        evaluation: the orders in which it is also evaluated; empty: it is not.
    """

    name: str
    method: str
    build: Callable[[Setting], Stepper]
    packed: bool = False
    batches: Literal["random", "bucketed"] = "random"
    bar: bool = False
    evaluation: tuple[Order, ...] = ()


def new_encoder(setting: Setting) -> nn.Module:
    """Return a randomly initialised encoder of the setting's shape."""
    from transformers import AutoConfig, AutoModel

    shape = SHAPES[setting.shape]
    more = dict(_MORE.get(shape.family, {}))
    if shape.key_heads is not None:
        more["num_key_value_heads"] = shape.key_heads
    config = AutoConfig.for_model(
        shape.family,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        **more,
    )
    set_dropout(config, setting.dropout)
    torch.manual_seed(0)
    pooler = {"add_pooling_layer": False} if shape.family == "bert" else {}
    encoder: nn.Module = AutoModel.from_config(config, attn_implementation=shape.known.attention, **pooler)
    return encoder


class PlainClassifier(nn.Module):
    """A typical model written with transformers: encoder, pooling, linear head."""

    def __init__(self, encoder: nn.Module, pooling: str, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits, `[batch, classes]`."""
        text: Any = batch.texts[0]
        states = self.encoder(input_ids=text.ids, attention_mask=text.mask).last_hidden_state
        if self.pooling == "cls":
            pooled = states[:, 0]
        elif self.pooling == "last":
            pooled = states[torch.arange(len(states)), text.mask.sum(dim=1) - 1]
        else:
            mask = text.mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
        logits: Tensor = self.head(pooled)
        return logits


@lru_cache(maxsize=len(PRESETS))
def huggingface_model(setting: Setting, method: str) -> PlainClassifier:
    """Return the single model that all of Hugging Face's columns of a method train in turn."""
    encoder = new_encoder(setting)
    if method == "last-layer":
        encoder.requires_grad_(False)
    elif method != "full":
        from peft import LoraConfig, get_peft_model

        options = LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=SHAPES[setting.shape].targets, use_dora=method == "dora"
        )
        encoder = get_peft_model(encoder, options)
    shape = SHAPES[setting.shape]
    return PlainClassifier(encoder, shape.pooling, shape.hidden)


def huggingface(setting: Setting, *, method: str, autocast: bool = False, fused: bool | None = None) -> Stepper:
    """Build a Hugging Face column; `fused=None` leaves AdamW's default."""
    model = huggingface_model(setting, method)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return Stepper(model.train(), torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=fused), autocast)


def ours(setting: Setting, *, method: str, precision: str = "fp32") -> Stepper:
    """Build a peftbench column: model and optimiser of a run of the method's preset, with one task."""
    overrides = [
        f"runtime={SHAPES[setting.shape].runtime}",
        f"precision={precision}",
        f"encoder.pooling={SHAPES[setting.shape].pooling}",
        "encoder.token_types=false",
        "head.dropout=0",
    ]
    spec = resolve(PRESETS[method], overrides=overrides).spec
    model = MultitaskModel(new_encoder(setting), spec.model_copy(update={"tasks": spec.tasks[:1]}))
    model.prepare(torch.device("cpu"))
    return Stepper(model.train(), torch.optim.AdamW(model.trainable().values(), lr=LEARNING_RATE, fused=True))


def _frozen_base(method: str, theirs: str, own: Callable[..., Column]) -> tuple[Column, ...]:
    """Return the columns of a method that trains no weight of the encoder itself; adapters are also evaluated."""
    adapters = method in ("lora", "dora")
    peer = partial(huggingface, method=method)
    half = partial(huggingface, method=method, autocast=True)
    return (
        Column(theirs, method, peer, bar=True, evaluation=("random", "sorted") if adapters else ()),
        Column(f"{theirs}, bucketed", method, peer, batches="bucketed"),
        Column(f"{theirs}, bf16 autocast", method, half),
        own(method, evaluation=("sorted",) if adapters else ()),
        own(method, "bf16"),
    )


def columns_of(shape: str, methods: Sequence[str] = tuple(PRESETS)) -> tuple[Column, ...]:
    """Return the columns of a shape; where peftbench computes in transformers' forward, its columns say so."""
    runtime = SHAPES[shape].runtime

    def own(method: str, precision: str = "fp32", evaluation: tuple[Order, ...] = ()) -> Column:
        name = ", ".join(
            [
                f"ours {method}",
                *(["padded by transformers"] if runtime == "transformers" else []),
                *([precision] if precision != "fp32" else []),
            ]
        )
        build = partial(ours, method=method, precision=precision)
        return Column(name, method, build, packed=runtime == "native", evaluation=evaluation)

    every = (
        *_frozen_base("lora", "PEFT lora", own),
        *_frozen_base("dora", "PEFT dora", own),
        Column("HF full", "full", partial(huggingface, method="full"), bar=True),
        Column("HF full, fused AdamW", "full", partial(huggingface, method="full", fused=True)),
        own("full"),
        *_frozen_base("last-layer", "HF last-layer", own),
    )
    return tuple(column for column in every if column.method in methods)


METHODS = tuple(PRESETS)


def bars(columns: tuple[Column, ...]) -> dict[str, str]:
    """Return the name of each column's baseline."""
    of_method = {column.method: column.name for column in columns if column.bar}
    return {column.name: of_method[column.method] for column in columns}


def other_pairs(columns: tuple[Column, ...]) -> list[tuple[str, str]]:
    """Return further pairs to compare: full with PEFT's baselines, peftbench's adapters with its full."""
    full = [column.name for column in columns if column.method == "full"]
    baselines = [column.name for column in columns if column.bar and column.method in ("lora", "dora")]
    ours_full = [name for name in full if name.startswith("ours")]
    adapters = [
        column.name
        for column in columns
        if column.name.startswith("ours") and column.method in ("lora", "dora") and not column.name.endswith("bf16")
    ]
    return [(name, bar) for bar in baselines for name in full] + [(name, own) for name in adapters for own in ours_full]
