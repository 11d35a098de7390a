"""Real training steps on the CPU with all storages counted, as the reference for predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from transformers import AutoModel, BertConfig, DebertaV2Config, PretrainedConfig

from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.memory.measure import measured, resident
from peftbench.memory.parts import Anatomy, BatchShape
from peftbench.memory.storages import LiveBytes, SavedBytes, bytes_of, tensors_in
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.training.metrics import loss_of

BATCHES = {
    "sst": BatchShape(((24, 17, 17, 9),)),
    "paraphrase": BatchShape(((41, 30, 22, 12),)),
    "sts": BatchShape(((33, 18, 15, 10),)),
}


def small_config(dropout: float = 0.0, **changes: object) -> BertConfig:
    """A BERT small enough to train for real, with weights of odd sizes."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 100}
    config = BertConfig(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **{**sizes, **changes})
    config._attn_implementation = "sdpa"
    return config


def small_deberta(dropout: float = 0.0, **changes: object) -> DebertaV2Config:
    """A DeBERTa v3 of the same sizes."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 100}
    positions = {"relative_attention": True, "position_biased_input": False, "position_buckets": 32}
    layers = {"norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"]}
    config = DebertaV2Config(
        vocab_size=30522,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **{**sizes, **positions, **layers, **changes},
    )
    config._attn_implementation = "eager"
    return config


def prepared(config: PretrainedConfig, spec: RunSpec) -> MultitaskModel:
    """The real model, on the CPU."""
    torch.manual_seed(0)
    return MultitaskModel(AutoModel.from_config(config), spec).prepare(torch.device("cpu"))


def texts(shape: BatchShape) -> EncodedSplit:
    """Texts of these lengths, with a label that every kind of task takes."""
    rng = np.random.default_rng(0)
    parts = []
    for lengths, inputs in zip(shape.parts, shape.inputs(), strict=True):
        offsets, windows = (np.concatenate([[0], np.cumsum(each)]) for each in (lengths, inputs))
        ids = rng.integers(1000, 30000, offsets[-1]).astype(np.int32)
        parts.append(Ragged(ids, np.zeros_like(ids), offsets, None if shape.window is None else windows))
    names = tuple(map(str, range(shape.examples)))
    return EncodedSplit(tuple(parts), np.ones(shape.examples), names, 0, from_cache=False)


def live_anatomy(config: PretrainedConfig, spec: RunSpec, batches: Mapping[str, BatchShape] = BATCHES) -> Anatomy:
    """Train two steps of every task, one after another, as `training.loop` does; return the largest step's anatomy."""
    model = prepared(config, spec)
    optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), 1e-3), fused=True)
    batcher, live = model.batcher(0), LiveBytes()
    packed = bytes_of(tensor for tensor in resident(model) if tensor.is_mkldnn)  # has no visible storage
    live.take(tensor for tensor in resident(model) if not tensor.is_mkldnn)
    found: list[Anatomy] = []
    with live:
        for name in [*batches, *batches]:
            task = spec.task(name)
            assert task is not None
            model.switch_mode(name)
            model.train()
            parts = [
                batcher(texts(batches[name]), np.arange(batches[name].examples))
                for _ in range(spec.train.accumulation_steps)
            ]
            live.restart_peak()
            for number, batch in enumerate(parts):
                with SavedBytes([*resident(model), *(x for part in parts for x in tensors_in(part))]) as saved:
                    loss = loss_of(task, model(batch), batch.labels)
                    penalty = model.method.penalty(name) if number == 0 else None
                    loss = loss if penalty is None else loss + penalty
                if number == 0:
                    optimizer.zero_grad(set_to_none=True)
                loss.backward()
            optimizer.step()
            found.append(measured(model, optimizer, saved.total, peak_bytes=live.peak + packed))
            del parts, batch, loss, saved
    return max(found[len(batches) :], key=lambda parts: parts.total or 0)
