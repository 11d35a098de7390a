"""Token and multilabel tasks: trained, stored, resumed, predicted and exported, in every runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from peftbench.data.encode import EncodedSplit, encode_split
from peftbench.data.load import load_split
from peftbench.encoder import find_encoder, load_encoder, load_tokenizer
from peftbench.errors import UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.interchange.trained import TrainedRun
from peftbench.jobs.execute import execute
from peftbench.metrics.value import value
from peftbench.model import MultitaskModel
from peftbench.spec import RunSpec, resolve
from peftbench.training.evaluation import evaluate, logits_of
from peftbench.training.inputs import RecordedInputs
from peftbench.training.metrics import loss_of
from peftbench.training.predictor import predict
from tests.marks import soaked_but
from tests.recorders import Kept, Memory, stopped_anywhere, train
from tests.several_labels import ASPECTS, TAGS, workload

pytestmark = pytest.mark.usefixtures("no_prediction")

METHODS = ("last-layer", "full", "lora-r12", "dora-r12")


@pytest.fixture
def own(tmp_path: Path, tiny_encoder: Path) -> Path:
    return workload(tmp_path, tiny_encoder)


def spec_of(path: Path, *overrides: str, preset: str = "lora-r12") -> RunSpec:
    return resolve(preset, str(path), overrides=list(overrides)).spec


def prepared(spec: RunSpec, runtime: str) -> tuple[MultitaskModel, dict[str, EncodedSplit]]:
    spec = spec.model_copy(update={"runtime": runtime})
    files = find_encoder(spec.encoder)
    tokenizer = load_tokenizer(files)
    model = MultitaskModel(load_encoder(spec.encoder, files), spec).prepare(torch.device("cpu"))
    splits = {
        task.name: encode_split(load_split(task, "train"), tokenizer, files.tokenizer_sha256, True, 512)
        for task in spec.tasks
    }
    return model, splits


def logits_and_gradients(spec: RunSpec, runtime: str) -> dict[str, tuple[np.ndarray, dict[str, torch.Tensor]]]:
    model, splits = prepared(spec, runtime)
    results = {}
    for task in spec.tasks:
        split = splits[task.name]
        rows, batcher = np.arange(len(split)), model.batcher(0)
        model.switch_mode(task.name)
        logits = logits_of(model, split, rows, 7, batcher)
        model.zero_grad()
        batch = batcher(split, rows[:9])
        loss_of(task, model(batch), batch.labels).backward()
        results[task.name] = (
            logits,
            {name: weight.grad for name, weight in model.trainable().items() if weight.grad is not None},
        )
    return results


@pytest.mark.parametrize("preset", ["full", "lora-r12", "dora-r12"])
def test_runtimes_agree_on_every_word(own: Path, preset: str) -> None:
    spec = spec_of(own, "encoder.dropout=0", preset=preset)
    native, plain = (logits_and_gradients(spec, runtime) for runtime in ("native", "transformers"))
    words = sum(line != "" for line in (own.parent / "train.conll").read_text().splitlines())
    assert native["ner"][0].shape == (words, len(TAGS))
    assert native["aspects"][0].shape == (40, len(ASPECTS))
    for task in ("ner", "aspects"):
        np.testing.assert_allclose(native[task][0], plain[task][0], atol=1e-5)
        assert native[task][1].keys() == plain[task][1].keys()
        for name, gradient in native[task][1].items():
            torch.testing.assert_close(gradient, plain[task][1][name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("preset", "runtime"),
    [
        *((preset, "native") for preset in METHODS),
        ("dora-r12-peft", "peft"),
        *soaked_but([("full", "transformers")], [(preset, "transformers") for preset in METHODS]),
    ],
)
def test_every_method_trains_both_kinds(own: Path, tmp_path: Path, preset: str, runtime: str) -> None:
    spec = spec_of(own, "train.epochs=1", f"runtime={runtime}", preset=preset)
    memory = train(spec, tmp_path / "run")
    assert {(s.task, s.metric) for s in memory.scores} == {("ner", "span_f1"), ("aspects", "micro_f1")}
    assert all(np.isfinite(s.loss) for s in memory.scores)
    assert memory.test is not None
    assert {row.task for row in memory.test.predictions} == {"ner", "aspects"}


@pytest.fixture
def trained(own: Path, tmp_path: Path) -> tuple[RunSpec, Memory]:
    spec = spec_of(own, "train.epochs=6", "train.lr=0.01", preset="full")
    return spec, train(spec, tmp_path / "run")


def test_what_is_stored_gives_the_score(trained: tuple[RunSpec, Memory]) -> None:
    _, memory = trained
    best = {row.task: row.value for row in memory.scores if row.epoch == memory.best_epoch and row.split == "dev"}
    rows = [row for row in memory.predictions if row.epoch == memory.best_epoch]
    tags = [
        [[TAGS[tag] for tag in each] for each in (row.label, row.prediction)]  # type: ignore[union-attr]
        for row in rows
        if row.task == "ner"
    ]
    assert value("span_f1", [own[0] for own in tags], [own[1] for own in tags]).value == best["ner"]
    assert best["ner"] is not None and best["ner"] > 0.4, "it learns to find spans"
    chosen = [[[n in each for n in range(3)] for each in (r.label, r.prediction)] for r in rows if r.task == "aspects"]  # type: ignore[operator]
    matrices = np.asarray(chosen)
    assert value("micro_f1", matrices[:, 0], matrices[:, 1]).value == best["aspects"]


def test_a_predictor_repeats_the_stored_predictions(trained: tuple[RunSpec, Memory], tmp_path: Path) -> None:
    spec, memory = trained
    assert memory.test is not None and memory.best_epoch is not None
    recorded = RecordedInputs("run", memory.facts["conditions"])
    assert memory.facts["conditions"]["label_names"] == {"ner": list(TAGS), "aspects": list(ASPECTS)}
    for task in spec.tasks:
        texts = [example.texts for example in load_split(task, "test").examples]
        rows = predict(spec, task, texts, tmp_path / "run", memory.best_epoch, own=False, recorded=recorded)
        stored = [row.prediction for row in memory.test.predictions if row.task == task.name]
        assert [row.prediction for row in rows] == stored


@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "full"])
def test_exports_reload_with_labels(own: Path, tmp_path: Path, preset: str) -> None:
    spec = spec_of(own, "train.epochs=1", preset=preset)
    memory = train(spec, tmp_path / "run")
    assert memory.best_epoch is not None
    recorded = RecordedInputs("run", memory.facts["conditions"])
    epochs = {task.name: memory.best_epoch for task in spec.tasks}
    source = TrainedRun(spec, tmp_path / "run", epochs, own=False, recorded=recorded)
    exporters = [export_merged] if preset == "full" else [export_merged, export_peft]
    for exporter in exporters:
        folder = tmp_path / exporter.__name__
        for task in exporter(source, folder):
            assert task.logits_within < 1e-5
            head = json.loads((folder / task.task / "head.json").read_text())
            names = TAGS if task.task == "ner" else ASPECTS
            assert head["id2label"] == {str(n): name for n, name in enumerate(names)}


def test_stopped_anywhere_it_ends_as_one_that_was_not(own: Path, tmp_path: Path) -> None:
    spec = spec_of(own)
    execute(spec, whole := Kept(), tmp_path / "whole")
    kept = stopped_anywhere(spec, tmp_path / "parts", "several labels")
    assert kept.rows == whole.rows
    assert "test" in kept.rows


def test_words_beyond_the_maximum_length_count_as_outside(own: Path) -> None:
    spec = spec_of(own)
    task = spec.tasks[0]
    files = find_encoder(spec.encoder)
    split = encode_split(load_split(task, "dev"), load_tokenizer(files), files.tokenizer_sha256, True, 8)
    assert split.words is not None and split.words.unseen > 0
    model, _ = prepared(spec, "native")
    result = evaluate(model, task, split, np.arange(len(split)), 8, model.batcher(0))
    tagged = split.words.tagged(result.rows, result.predictions)
    assert [len(own) for own in tagged] == list(split.words.lengths(result.rows))
    full = np.concatenate([np.asarray(own) for own in tagged])
    assert (full[split.words.pieces < 0] == 0).all()


def test_losses_of_both_kinds_can_be_weighted(own: Path, tmp_path: Path) -> None:
    weighted = spec_of(
        own, "train.epochs=1", "tasks.ner.loss.class_weights=balanced", "tasks.aspects.loss.pos_weight=3.0"
    )
    memory = train(weighted, tmp_path / "weighted")
    plain = train(spec_of(own, "train.epochs=1"), tmp_path / "plain")
    assert memory.loss_points != plain.loss_points
    assert any("class weights" in note for note in memory.notes)
    assert any("weight of positive labels 3, 3, 3" in note for note in memory.notes)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('tasks.ner.labels=["O", "B-PER", "person"]', "'person' is not a tag of BIO or BIOES"),
        ('tasks.ner.labels=["B-PER", "I-PER"]', "the tags need 'O'"),
        ('tasks.ner.metric="accuracy"', "cannot be the headline of a task of kind 'tokens'"),
        ('tasks.ner.text=["a", "b"]', "has one text"),
        ("tasks.ner.loss.pos_weight=2.0", "`loss.pos_weight` has no meaning"),
        ("tasks.aspects.loss.class_weights=balanced", "`loss.class_weights` has no meaning"),
    ],
)
def test_what_does_not_fit_the_kind_is_refused(own: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec_of(own, override)


def test_a_batch_of_several_tasks_has_none_of_tokens(own: Path) -> None:
    model, splits = prepared(spec_of(own), "native")
    rows = np.arange(2)
    assert model.forward_multitask({"aspects": (splits["aspects"], rows)})["aspects"].shape == (2, 3)
    with pytest.raises(UsageError, match="ner is a task of tokens"):
        model.forward_multitask({task: (split, rows) for task, split in splits.items()})


def test_words_cannot_be_augmented(own: Path) -> None:
    with pytest.raises(UsageError, match="the words of a token task cannot be replaced"):
        spec_of(own, "augment.method=eda", 'augment.tasks=["ner"]')
