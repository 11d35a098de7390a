"""Export a run as transformers' classification models, one folder per task: adapters merged, the head inside.

A class such as `BertForSequenceClassification` has layers of its own between encoder and logits. Whether they compute
what the run's pooling and head do is found out by computing both, not from a list of architectures.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peftbench.data.standardise import LabelScale, recorded_scale
from peftbench.data.words import recorded_tags
from peftbench.encoder import EncoderFiles, load_encoder, load_tokenizer, padding_of
from peftbench.errors import UsageError
from peftbench.interchange.merged import check_mergeable, merged_models
from peftbench.interchange.peft_format import ExportedTask
from peftbench.interchange.trained import (
    CHECKED_WITHIN,
    TrainedRun,
    compare,
    deviation,
    encoded_probes,
    label_threshold,
    probe,
    probe_texts,
    untrained,
)
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.store.conditions import label_names
from peftbench.tasks import TaskKind, TaskSpec

PROBLEMS: dict[TaskKind, str] = {
    "classes": "single_label_classification",
    "binary": "single_label_classification",
    "multilabel": "multi_label_classification",
    "similarity": "regression",
    "regression": "regression",
}

_PADDED = {"padding": True, "truncation": True, "return_tensors": "pt"}

Layer = tuple[Tensor, Tensor | None]  # weight and bias of a linear layer


class _InexpressibleError(UsageError):
    """The reason why transformers' class for a task cannot compute what the run does."""


def export_transformers(source: TrainedRun, folder: Path) -> list[ExportedTask]:
    """Write a folder per task for `AutoModelForSequenceClassification`, or `AutoModelForTokenClassification`.

    Each is reloaded with transformers alone to verify its logits.

    Raises:
        UsageError: transformers' class for a task computes something else than the run (then nothing is written), or
            the method's adapters cannot be merged.
        MissingError: the encoder or the trained weights are not available.
        DataError: the run has no record of a task's tags, or of the scale of its labels.
        PeftbenchError: an exported model's logits differ from the run's.
    """
    check_mergeable(source)
    spec, files = source.spec, source.files()
    tokenizer = load_tokenizer(files)
    _check_expressible(source, files, tokenizer)
    model = source.model(files)
    expected = {task.name: probe(model, spec, task, tokenizer) for task in spec.tasks}
    done = []
    for task, merged in merged_models(source, files, model):
        task_folder = folder / task.name
        alone = _tokenizer_alone(tokenizer, merged, spec, task)
        _classifier(merged, source, task, alone).save_pretrained(task_folder)
        alone.save_pretrained(task_folder)
        off = compare(expected[task.name], _logits(*_reloaded(task, task_folder), source, task), task.name)
        done.append(ExportedTask(task.name, source.epochs[task.name], off))
    return done


def _check_expressible(source: TrainedRun, files: EncoderFiles, tokenizer: Any) -> None:
    """Check that every task can be expressed, with the pretrained encoder and the head that a run begins with."""
    encoder = load_encoder(source.spec.encoder, files)
    reasons: dict[str, list[str]] = {}
    for task in source.spec.tasks:
        try:
            _try(encoder, source, task, tokenizer)
        except _InexpressibleError as error:
            reasons.setdefault(error.message, []).append(task.name)
    if reasons:
        listed = (f"task{'s' * (len(tasks) > 1)} {', '.join(tasks)}: {reason}" for reason, tasks in reasons.items())
        raise UsageError(
            f"--format transformers: {'; '.join(listed)}",
            "use --format merged: a checkpoint of the encoder, with head.json and head.safetensors beside it",
        )


def _try(encoder: nn.Module, source: TrainedRun, task: TaskSpec, tokenizer: Any) -> None:
    spec, scale = source.spec, recorded_scale(task, source.recorded.conditions)
    if spec.encoder.stride is not None:
        raise _InexpressibleError(
            f"encoder.stride = {spec.encoder.stride}, and transformers' classes do not divide a long text into windows"
        )
    if task.is_pair and spec.encoder.pair_encoding != "joint":
        raise _InexpressibleError(
            f"encoder.pair_encoding = '{spec.encoder.pair_encoding}', and transformers' classes read a pair as one "
            "text ('joint')"
        )
    if abs(scale.mean) * torch.finfo(torch.float32).eps > CHECKED_WITHIN * scale.sd:
        raise _InexpressibleError(
            f"its labels (mean {scale.mean:g}, standard deviation {scale.sd:g}) differ by too little for fp32 in the "
            "data's units"
        )
    model = untrained(encoder, spec, task)
    alone = _tokenizer_alone(tokenizer, model, spec, task)
    full = _classifier(model, source, task, alone)
    expected = probe(model, spec, task, tokenizer)
    actual = _logits(full, alone, source, task)
    if not deviation(expected, actual)[1]:
        raise _InexpressibleError(
            f"{type(full).__name__} computes other logits than the run with {_shape_of(task, spec)}"
        )


def _shape_of(task: TaskSpec, spec: RunSpec) -> str:
    """Return the settings that determine how a task's logits are computed from the encoder's output."""
    pooling = "" if task.kind == "tokens" else f"encoder.pooling = '{spec.encoder.pooling}' and "
    return f"{pooling}head.kind = '{spec.head.of(task.name).kind}'"


def _classifier(model: MultitaskModel, source: TrainedRun, task: TaskSpec, tokenizer: Any) -> Any:
    """Return transformers' model for a task, with the weights of the run's model.

    Raises:
        _InexpressibleError: there is no class for the encoder, or its layers differ from the run's.
    """
    encoder, auto = model.encoder, _auto_class(task)
    attention = getattr(encoder.config, "_attn_implementation", None)
    try:
        config = _config(encoder, source, task, tokenizer)
        full: Any = auto.from_config(config, dtype=torch.float32, attn_implementation=attention)
    except ValueError as error:
        raise _InexpressibleError(f"transformers has no {auto.__name__} for {type(encoder).__name__}") from error
    base, weights = full.base_model, encoder.state_dict()
    used = base.state_dict().keys()
    if base is full or used - weights.keys():
        raise _InexpressibleError(f"{type(full).__name__} has another encoder than {type(encoder).__name__}")
    base.load_state_dict({name: weights[name] for name in used})
    own = list(_own_linears(full, base))
    layers = [*_pooler(model, task, used), *_head(model.heads[task.name], source, task)]
    there = [*(_size(layer.weight, layer.bias) for layer in own), *_others(full, base, own)]
    here = [_size(*layer) for layer in layers]
    if there != here:
        raise _InexpressibleError(
            f"{type(full).__name__} has other layers after the encoder ({', '.join(there)}) than the run with "
            f"{_shape_of(task, source.spec)} ({', '.join(here)})"
            + (
                "; a run with head.bias = false can be expressed"
                if task.kind != "regression" and _differ_by_bias(own, layers)
                else ""
            )
        )
    with torch.no_grad():
        for layer, (weight, bias) in zip(own, layers, strict=True):
            layer.weight.copy_(weight)
            if bias is not None:
                layer.bias.copy_(bias)
    return full.eval()


def _auto_class(task: TaskSpec) -> Any:
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    return AutoModelForTokenClassification if task.kind == "tokens" else AutoModelForSequenceClassification


def _config(encoder: Any, source: TrainedRun, task: TaskSpec, tokenizer: Any) -> Any:
    """Return the encoder's configuration with the task's labels, and with the head's dropout for further training."""
    config = copy.deepcopy(encoder.config)
    names = _names(source, task)
    config.id2label, config.label2id = dict(enumerate(names)), {name: number for number, name in enumerate(names)}
    config.problem_type = PROBLEMS.get(task.kind)
    if _reads_last(task, source.spec):
        config.pad_token_id = tokenizer.pad_token_id
    threshold = label_threshold(source, task)
    if threshold is not None:
        config.label_threshold = threshold  # transformers keeps it, and does not apply it
    for name in config.to_dict():
        if "classif" in name and "dropout" in name:
            setattr(config, name, source.spec.head.of(task.name).dropout)
    return config


def _names(source: TrainedRun, task: TaskSpec) -> tuple[str, ...]:
    """Return the names of the model's outputs: where labels have none their numbers, of scores the label's column."""
    if task.is_score:
        return (task.label,)
    conditions = source.recorded.conditions
    names = recorded_tags(task, conditions) or label_names(conditions, task.name, task.labels)
    return names or tuple(map(str, range(2 if task.kind == "binary" else task.outputs)))


def _own_linears(full: nn.Module, base: nn.Module) -> Iterator[nn.Linear]:
    inside = set(base.modules())
    yield from (module for module in full.modules() if isinstance(module, nn.Linear) and module not in inside)


def _others(full: nn.Module, base: nn.Module, own: list[nn.Linear]) -> list[str]:
    """Return the names of weights that are neither of the encoder nor of linear layers on top of it."""
    known = {id(weight) for module in (base, *own) for weight in module.parameters()}
    return [name for name, weight in full.named_parameters() if id(weight) not in known]


def _pooler(model: MultitaskModel, task: TaskSpec, used: Any) -> list[Layer]:
    """Return the pooler's linear layers where transformers' class has them in its head, as RoBERTa's has."""
    if task.kind == "tokens" or model.pooling != "pooler":
        return []
    return [
        (module.weight, module.bias)
        for name, module in model.encoder.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight" not in used
    ]


def _head(head: nn.Module, source: TrainedRun, task: TaskSpec) -> list[Layer]:
    """Return the head's linear layers, with outputs as transformers' classes have them."""
    *hidden, last = [module for module in head.modules() if isinstance(module, nn.Linear)]
    weight, bias = last.weight.detach(), None if last.bias is None else last.bias.detach()
    if task.kind == "binary":  # softmax(0, z) is sigmoid(z)
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = None if bias is None else torch.cat([torch.zeros_like(bias), bias])
    elif task.kind == "regression":
        scale = recorded_scale(task, source.recorded.conditions)
        bias = weight.new_zeros(1) if bias is None else bias
        weight, bias = weight.double() * scale.sd, bias.double() * scale.sd + scale.mean
    return [*((layer.weight, layer.bias) for layer in hidden), (weight, bias)]


def _differ_by_bias(own: list[nn.Linear], layers: list[Layer]) -> bool:
    """Return whether the run's layers would be transformers' without a bias in the last."""
    shapes = [layer.weight.shape for layer in own], [weight.shape for weight, _ in layers]
    return shapes[0] == shapes[1] and own[-1].bias is None and layers[-1][1] is not None


def _size(weight: Tensor, bias: Tensor | None) -> str:
    return f"{weight.shape[1]} to {weight.shape[0]}{'' if bias is not None else ' without bias'}"


def _reads_last(task: TaskSpec, spec: RunSpec) -> bool:
    return task.kind != "tokens" and spec.encoder.pooling == "last"


def _tokenizer_alone(tokenizer: Any, model: MultitaskModel, spec: RunSpec, task: TaskSpec) -> Any:
    """Return a copy of the tokeniser that by itself, when it is saved, gives the inputs of the run's model.

    Raises:
        _InexpressibleError: transformers' class takes the end of every text for padding.
    """
    alone = copy.deepcopy(tokenizer)
    if _reads_last(task, spec):
        alone.pad_token = _padding(tokenizer)
    alone.model_max_length = spec.encoder.max_length
    types = ["token_type_ids"] if model.takes_types else []
    alone.model_input_names = ["input_ids", *types, "attention_mask"]
    alone.init_kwargs["model_input_names"] = alone.model_input_names  # these are what `save_pretrained` writes
    return alone


def _padding(tokenizer: Any) -> str:
    """Return a padding token that no text ends in: transformers reads the last token that is not padding, by its id.

    It is the tokeniser's own, else that of padding in runs, else another special token.
    """
    end = tokenizer("a")["input_ids"][-1]
    candidates = (tokenizer.pad_token_id, padding_of(tokenizer), *tokenizer.all_special_ids)
    for number in candidates:
        if number is not None and number != end:
            token: str = tokenizer.convert_ids_to_tokens(number)
            return token
    raise _InexpressibleError("its texts end in the only special token, which transformers would take for padding")


def _reloaded(task: TaskSpec, folder: Path) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    return (
        _auto_class(task).from_pretrained(folder, use_safetensors=True, **options),
        AutoTokenizer.from_pretrained(folder, **options),
    )


@torch.no_grad()
def _logits(full: Any, tokenizer: Any, source: TrainedRun, task: TaskSpec) -> np.ndarray:
    """Return a model's outputs for the probe texts as the run's logits, `[n, outputs]`; of words `[words, outputs]`."""
    texts = probe_texts(task)
    if _reads_last(task, source.spec):  # together, so that padding is told from text
        sides = [list(side) for side in zip(*texts, strict=True)]
        outputs = list(full(**tokenizer(*sides, **_PADDED)).logits.double().numpy())
    else:
        batches = [tokenizer(*each, truncation=True, return_tensors="pt") for each in texts]
        outputs = [full(**batch).logits[0].double().numpy() for batch in batches]
    if task.kind == "tokens":
        words = encoded_probes(source.spec, task, tokenizer).words
        assert words is not None, "a task of tokens has words"
        sentences, pieces, _ = words.read(np.arange(len(outputs)))
        return np.stack([outputs[sentence][piece] for sentence, piece in zip(sentences, pieces, strict=True)])
    logits = np.stack(outputs)
    if task.kind == "binary":
        return logits[:, 1:] - logits[:, :1]
    scale: LabelScale = recorded_scale(task, source.recorded.conditions)
    return (logits - scale.mean) / scale.sd
