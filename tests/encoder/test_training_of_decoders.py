"""Decoders, tiny and random: trained, exported in every format, loaded again, with the same predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from peftbench.encoder import load_encoder, load_tokenizer
from peftbench.errors import UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.interchange.trained import TrainedRun, around, probe
from peftbench.interchange.transformers_format import export_transformers
from peftbench.spec import RunSpec, resolve
from peftbench.training.inputs import RecordedInputs
from tests.encoder.decoders import DECODERS, bpe, save_decoder
from tests.marks import soaked_but
from tests.recorders import Memory, train
from tests.several_labels import workload
from tests.tiny import tiny_overrides

PRESETS = ("last-layer", "full", "lora-r12", "dora-r12")
TOLERANCE = 1e-5
PAIRS = [("Rain fell all day.", "It rained."), ("a", "b c d e f"), ("He was not amused at all, was he?", "No.")]

QUICK = [("llama", "lora-r12"), ("qwen2", "dora-r12"), ("gpt2", "full"), ("phi3", "lora-r12")]
NO_LORA = ("gpt2", "lora-r12")
ALL = [(name, preset) for name in DECODERS for preset in PRESETS if name != "gpt2" or "ora" not in preset]


def spec_of(folder: Path, preset: str, *more: str, task: int = 1) -> RunSpec:
    """The spec of one epoch of one of the tasks sst, paraphrase and sts."""
    small = [*tiny_overrides(folder, train=8, dev=8), "train.epochs=1", "encoder.max_length=64"]
    overrides = [*small, "encoder.pooling=last", "train.lr=0.01", "head.bias=false", *more]
    spec = resolve(preset, overrides=overrides).spec
    return spec.model_copy(update={"tasks": spec.tasks[task : task + 1]})


def run(spec: RunSpec, folder: Path) -> tuple[TrainedRun, Memory]:
    told = train(spec, folder)
    assert len(told.epochs) == 1 and all(score.loss is not None and np.isfinite(score.loss) for score in told.scores)
    return TrainedRun(spec, folder, {spec.tasks[0].name: 1}, own=False), told


@torch.no_grad()
def of_transformers(folder: Path) -> np.ndarray:
    """Compute logits with transformers alone, in a batch padded by its own tokeniser."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    sides = [list(side) for side in zip(*PAIRS, strict=True)]
    logits = model(**tokenizer(*sides, padding=True, truncation=True, return_tensors="pt")).logits
    return (logits[:, 1:] - logits[:, :1]).double().numpy()


def of_run(source: TrainedRun) -> np.ndarray:
    from peftbench.data.encode import encode_texts
    from peftbench.encoder import padding_of
    from peftbench.training.evaluation import logits_of

    files = source.files()
    model, tokenizer = source.model(files), load_tokenizer(files)
    split = encode_texts(PAIRS, tokenizer, True, 64)
    return logits_of(model, split, np.arange(len(PAIRS)), 2, model.batcher(padding_of(tokenizer)))


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize(("name", "preset"), soaked_but(QUICK, ALL))
def test_what_was_trained_and_exported_is_loaded_with_the_same_predictions(
    name: str, preset: str, tmp_path: Path
) -> None:
    spec = spec_of(save_decoder(name, tmp_path / name), preset)
    source, told = run(spec, tmp_path / "run")
    conditions = told.facts["conditions"]
    assert conditions["path"].startswith("transformers, not native:")
    assert ("padded_with" in conditions["tokenizer"]) == (name in ("llama", "mistral", "gemma2", "gpt_neox", "gpt2"))
    adapted = preset not in ("last-layer", "full")
    exports: list[Callable[..., object]] = [export_merged, export_transformers, *([export_peft] if adapted else [])]
    for export in exports:
        rows = export(source, tmp_path / export.__name__)
        assert max(row.logits_within for row in rows) < TOLERANCE
    expected = of_run(source)
    np.testing.assert_allclose(of_transformers(tmp_path / "export_transformers" / "paraphrase"), expected, atol=1e-5)
    if adapted:
        files, task = source.files(), spec.tasks[0]
        pretrained = around(load_encoder(spec.encoder, files), spec, task, tmp_path / "export_peft" / task.name)
        tokenizer = load_tokenizer(files)
        logits = [probe(model, spec, task, tokenizer) for model in (pretrained, source.model(files))]
        assert np.abs(logits[0] - logits[1]).max() > 3 * TOLERANCE


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_texts_that_end_in_what_pads_them_are_exported_with_other_padding(tmp_path: Path) -> None:
    spec = spec_of(save_decoder("llama", tmp_path / "llama", tokenizer=bpe(bos=True, eos=True)), "full")
    source, _ = run(spec, tmp_path / "run")
    export_transformers(source, tmp_path / "out")
    np.testing.assert_allclose(of_transformers(tmp_path / "out" / "paraphrase"), of_run(source), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize("task", [1, 2], ids=["binary", "similarity"])
def test_a_bias_cannot_be_a_transformers_classifier_of_a_decoder(task: int, tmp_path: Path) -> None:
    spec = spec_of(save_decoder("qwen2", tmp_path / "qwen2"), "last-layer", "head.bias=true", task=task)
    source, _ = run(spec, tmp_path / "run")
    assert export_merged(source, tmp_path / "merged")
    with pytest.raises(UsageError, match=r"without bias.*a run with head\.bias = false can be expressed"):
        export_transformers(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset", "more"),
    soaked_but(
        [("qwen2", "lora-r12", ()), ("gpt2", "full", ()), ("llama", "full", ("train.gradient_checkpointing=true",))],
        [
            *((name, preset, ()) for name in DECODERS for preset in ("lora-r12", "full") if (name, preset) != NO_LORA),
            *((name, "full", ("train.gradient_checkpointing=true",)) for name in DECODERS),
            *((name, "full", ("precision=autocast",)) for name in DECODERS),
            *((name, "lora-r12", ("precision=bf16",)) for name in DECODERS if name != "gpt2"),
        ],
    ),
)
def test_memory_is_predicted(name: str, preset: str, more: tuple[str, ...], tmp_path: Path) -> None:
    folder = save_decoder(name, tmp_path / name)
    _, told = run(spec_of(folder, preset, *more), tmp_path / "run")
    predicted, measured = (told.facts[f"memory_{kind}"] for kind in ("predicted", "measured"))
    assert predicted is not None, told.notes
    for part in ("weights", "trainable", "gradients", "optimizer"):
        assert predicted[part] == pytest.approx(measured[part], rel=0.05), part


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_words_and_several_labels_are_trained_and_exported(tmp_path: Path) -> None:
    own = workload(tmp_path, save_decoder("llama", tmp_path / "llama"), (8, 6, 6))
    overrides = ["train.epochs=1", "encoder.max_length=64", "head.tasks.aspects.bias=false"]
    spec = resolve("lora-r12", str(own), overrides=overrides).spec
    assert spec.encoder.pooling == "last"
    source, told = run(spec, tmp_path / "run")
    assert any("first piece of a word" in note for note in told.notes)
    source = TrainedRun(spec, source.folder, {"ner": 1, "aspects": 1}, own=False, recorded=recorded_of(told))
    for export in (export_merged, export_transformers):
        rows = export(source, tmp_path / export.__name__)
        assert max(row.logits_within for row in rows) < TOLERANCE


def recorded_of(told: Memory) -> RecordedInputs:
    return RecordedInputs("run", told.facts["conditions"])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "last-layer"])
def test_the_last_token_of_an_encoder_is_trained_on_natively(preset: str, tmp_path: Path, tiny_encoder: Path) -> None:
    spec = spec_of(tiny_encoder, preset)
    source, told = run(spec, tmp_path / "run")
    assert told.facts["conditions"]["path"].startswith("native")
    assert told.facts["memory_predicted"]["activations"] == told.facts["memory_measured"]["activations"]
    assert export_merged(source, tmp_path / "merged")[0].logits_within < TOLERANCE
