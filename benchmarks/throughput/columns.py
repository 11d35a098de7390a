"""The columns: Hugging Face's ways to train, and peftbench's. To add one, add a `Column` to `COLUMNS`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.throughput.texts import CLASSES
from peftbench.data.batches import Batch
from peftbench.model import MultitaskModel
from peftbench.spec import resolve

RANK = 12
LEARNING_RATE = 1e-5
PRESETS = {"lora": "lora-r12", "dora": "dora-r12", "full": "full", "last-layer": "last-layer"}


@dataclass(frozen=True, slots=True)
class Shape:
    """An encoder's size and pooling."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    pooling: Literal["cls", "mean"]
    family: Literal["bert", "modernbert"] = "bert"

    @property
    def targets(self) -> list[str]:
        """The linear layers with adapters: query, key and value."""
        return ["Wqkv"] if self.family == "modernbert" else ["query", "key", "value"]


SHAPES = {
    "base": Shape(768, 12, 12, 3072, "cls"),  # BERT-base
    "minilm": Shape(384, 6, 12, 1536, "mean"),  # all-MiniLM-L6-v2
    "modernbert": Shape(768, 22, 12, 1152, "cls", "modernbert"),  # ModernBERT-base
    "tiny": Shape(32, 2, 2, 48, "mean"),  # for the tests
    "tiny-modernbert": Shape(32, 2, 2, 48, "cls", "modernbert"),
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
    evaluation: tuple[Literal["random", "sorted"], ...] = ()


def new_encoder(setting: Setting) -> nn.Module:
    """Return a randomly initialised encoder of the setting's shape."""
    from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

    shape, p = SHAPES[setting.shape], setting.dropout
    sizes: dict[str, Any] = {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "attn_implementation": "sdpa",
    }
    torch.manual_seed(0)
    encoder: nn.Module
    if shape.family == "modernbert":
        dropout = {"embedding_dropout": p, "attention_dropout": p, "mlp_dropout": p}
        encoder = ModernBertModel(ModernBertConfig(**sizes, **dropout))
    else:
        config = BertConfig(**sizes, hidden_dropout_prob=p, attention_probs_dropout_prob=p)
        encoder = BertModel(config, add_pooling_layer=False)
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
        "runtime=native",
        f"precision={precision}",
        f"encoder.pooling={SHAPES[setting.shape].pooling}",
        "encoder.token_types=false",
        "head.dropout=0",
    ]
    spec = resolve(PRESETS[method], overrides=overrides).spec
    model = MultitaskModel(new_encoder(setting), spec.model_copy(update={"tasks": spec.tasks[:1]}))
    model.prepare(torch.device("cpu"))
    return Stepper(model.train(), torch.optim.AdamW(model.trainable().values(), lr=LEARNING_RATE, fused=True))


def _frozen_base(method: str, theirs: str) -> tuple[Column, ...]:
    """Return the columns of a method that trains no weight of the encoder itself; adapters are also evaluated."""
    adapters = method in ("lora", "dora")
    peer = partial(huggingface, method=method)
    half = partial(huggingface, method=method, autocast=True)
    own, own_half = partial(ours, method=method), partial(ours, method=method, precision="bf16")
    return (
        Column(theirs, method, peer, bar=True, evaluation=("random", "sorted") if adapters else ()),
        Column(f"{theirs}, bucketed", method, peer, batches="bucketed"),
        Column(f"{theirs}, bf16 autocast", method, half),
        Column(f"ours {method}", method, own, packed=True, evaluation=("sorted",) if adapters else ()),
        Column(f"ours {method}, bf16", method, own_half, packed=True),
    )


COLUMNS = (
    *_frozen_base("lora", "PEFT lora"),
    *_frozen_base("dora", "PEFT dora"),
    Column("HF full", "full", partial(huggingface, method="full"), bar=True),
    Column("HF full, fused AdamW", "full", partial(huggingface, method="full", fused=True)),
    Column("ours full", "full", partial(ours, method="full"), packed=True),
    *_frozen_base("last-layer", "HF last-layer"),
)
METHODS = tuple(PRESETS)


def bars(columns: tuple[Column, ...]) -> dict[str, str]:
    """Return the name of each column's baseline."""
    of_method = {column.method: column.name for column in columns if column.bar}
    return {column.name: of_method[column.method] for column in columns}


def other_pairs(columns: tuple[Column, ...]) -> list[tuple[str, str]]:
    """Return further pairs to compare: full with PEFT's baselines, peftbench's adapters with its full."""
    names = {column.name for column in columns}
    full = [column.name for column in columns if column.method == "full"]
    wanted = [(name, bar) for bar in ("PEFT lora", "PEFT dora") for name in full]
    wanted += [("ours lora", "ours full"), ("ours dora", "ours full")]
    return [pair for pair in wanted if names.issuperset(pair)]
