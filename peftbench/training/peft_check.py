"""What the adapter types of the installed HF PEFT can do here: each is trained on a small random encoder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peftbench.data.batches import Batch
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.errors import PeftbenchError
from peftbench.methods.peft_configs import config_classes
from peftbench.methods.peft_tuners import peft_package
from peftbench.methods.peft_types import Capability, PeftType, types_of
from peftbench.methods.registry import method_info
from peftbench.model import MultitaskModel
from peftbench.spec.encoder import EncoderSpec
from peftbench.spec.model import RunSpec, TrainSpec
from peftbench.tasks import QuickstartSource, TaskSpec
from peftbench.text import clean

_HIDDEN, _WORDS = 32, 60
_EXAMPLES, _BATCH = 24, 4
_LR = 1e-2
_MERGED_WITHIN = 1e-4
_QUANTISED = ("bnb", "gptq", "awq", "aqlm", "eetq", "hqq", "torchao", "inc")  # modules of a PEFT tuner


def check_types(names: Sequence[str] = ()) -> list[Capability]:
    """Train every adapter type of the installed PEFT for an epoch, and return what each can do.

    Args:
        names: only these types, such as `LOHA`; none: all.

    Raises:
        MissingError: PEFT is not installed.
    """
    classes = config_classes(peft_package("peftbench methods --check"))
    wanted = [entry for entry in types_of(classes) if not names or entry.peft_type in names or entry.name in names]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_check(entry, classes[entry.peft_type]) for entry in wanted]


def _check(entry: PeftType, config_class: Any) -> Capability:
    unchecked = Capability(
        entry.name,
        entry.paper,
        entry.preset,
        runs=False,
        dora=_takes_dora(config_class),
        quantized=_libraries(config_class),
    )
    try:
        model = _model(entry, 1)
        _train(model, "one")
    except Exception as error:  # PEFT's tuners raise any type
        return replace(unchecked, reason=_reason(error).removeprefix(f"{entry.peft_type}: "))
    own = sum(w.numel() for name, w in model.trainable_of("one").items() if not name.startswith("heads."))
    switchable, apart = _switches(entry)
    mergeable, unmerged = _merges(model)
    reason = "; ".join(filter(None, (apart, unmerged)))
    return replace(unchecked, runs=True, reason=reason, weights=own, switchable=switchable, mergeable=mergeable)


def _switches(entry: PeftType) -> tuple[bool, str]:
    """Return whether tasks have adapters of their own; if not, why."""
    try:
        model = _model(entry, 2)
        _train(model, "one")
        before = _logits(model)
        _train(model, "two")
    except Exception as error:
        return False, f"one task only: {_reason(error)}"
    model.switch_mode("one")
    if not torch.equal(_logits(model), before):
        return False, "one task only: training a task changes the others"
    if stray := model.trainable().keys() - {n for task in model.heads for n in model.trainable_of(task)}:
        return False, f"one task only: {sorted(stray)[0]} is trained by all tasks"
    return True, ""


def _merges(model: MultitaskModel) -> tuple[bool, str]:
    model.switch_mode("one")
    before = _logits(model)
    try:
        after = _logits(model.merge("one"))
    except Exception as error:
        return False, f"not merged: {_reason(error)}"
    off = float((after - before).abs().max())
    return off <= _MERGED_WITHIN, "" if off <= _MERGED_WITHIN else f"not merged: it then differs by {off:.1g}"


def _reason(error: Exception) -> str:
    if isinstance(error, PeftbenchError):
        return clean(error.message.partition(": ")[2] or error.message, 200)
    return clean(f"{type(error).__name__}: {error}", 200)


def _takes_dora(config_class: Any) -> bool:
    """Return whether a configuration accepts `use_dora`; AdaLoRA's has the key, and refuses it."""
    try:
        config_class(use_dora=True)
    except (TypeError, ValueError):
        return False
    return True


def _libraries(config_class: Any) -> tuple[str, ...]:
    """Return the libraries for quantized weights that the folder of a tuner has a module for."""
    import inspect

    folder = Path(inspect.getfile(config_class)).parent
    return tuple(name for name in _QUANTISED if (folder / f"{name}.py").is_file())


def _model(entry: PeftType, tasks: int) -> MultitaskModel:
    torch.manual_seed(0)
    options = entry.options()
    spec = RunSpec(
        preset="",
        workload="",
        method=method_info(options["name"]).options.model_validate(options),
        runtime="peft",
        encoder=EncoderSpec(name="a small random BERT", pooling="mean", max_length=64),
        tasks=tuple(
            TaskSpec(
                name=name, kind="binary", text=("text",), label="label", source=QuickstartSource(type="quickstart")
            )
            for name in ("one", "two")[:tasks]
        ),
        train=TrainSpec(lr=_LR),
    )
    return MultitaskModel(_encoder(), spec).prepare(torch.device("cpu"))


def _encoder() -> nn.Module:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": _HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertModel(BertConfig(vocab_size=_WORDS, max_position_embeddings=64, **sizes, **dropout))


def _split() -> EncodedSplit:
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 20, _EXAMPLES)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(5, _WORDS, offsets[-1]).astype(np.int32)
    labels = rng.integers(0, 2, _EXAMPLES).astype(float)
    return EncodedSplit((Ragged(ids, np.zeros_like(ids), offsets),), labels, ("",) * _EXAMPLES, 0, from_cache=False)


def _batches(model: MultitaskModel) -> list[Batch]:
    split, batcher = _split(), model.batcher(0)
    return [batcher(split, np.arange(start, start + _BATCH)) for start in range(0, _EXAMPLES, _BATCH)]


def _train(model: MultitaskModel, task: str) -> None:
    """Train a task for an epoch, as the training loop does.

    Raises:
        PeftbenchError: the loss is not a number, or no weight of the encoder changed.
    """
    model.switch_mode(task)
    model.train()
    own = {name: weight for name, weight in model.trainable_of(task).items() if not name.startswith("heads.")}
    before = {name: weight.detach().clone() for name, weight in own.items()}
    optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), _LR), weight_decay=0.0)
    model.method.plan(dict.fromkeys(model.heads, _EXAMPLES // _BATCH))
    for batch in _batches(model):
        loss = nn.functional.binary_cross_entropy_with_logits(model(batch)[:, 0], batch.labels.float())
        if not torch.isfinite(loss):
            raise PeftbenchError("training: the loss is not a number")
        penalty = model.method.penalty(task)
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        model.method.after_step(task)
    if not any(not torch.equal(weight, before[name]) for name, weight in own.items()):
        raise PeftbenchError("training: no weight of the encoder changed")


@torch.no_grad()
def _logits(model: MultitaskModel) -> Tensor:
    """Return the active task's logits, `[examples, 1]`."""
    model.eval()
    return torch.cat([model(batch) for batch in _batches(model)])
