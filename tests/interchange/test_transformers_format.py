"""Classification models for transformers: its classes and pipelines alone give the run's labels and logits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from peftbench.errors import PeftbenchError, UsageError
from peftbench.interchange.trained import TrainedRun
from peftbench.interchange.transformers_format import export_transformers
from peftbench.methods.lora import LoraAdapter
from peftbench.paths import default_database, run_folder
from peftbench.spec import resolve
from peftbench.spec.stored import stored_spec
from peftbench.store.conditions import Conditions
from peftbench.store.reader import Reader
from peftbench.training.inputs import RecordedInputs
from peftbench.training.predictor import TextPrediction, predict
from tests.cli.inside import failed, inside
from tests.encoder.families import ROWS, save_family, wordpiece
from tests.interchange.random_weights import trained_run
from tests.several_labels import ASPECTS, TAGS, workload
from tests.worked import worked_here

pytestmark = pytest.mark.usefixtures("no_prediction")

TOLERANCE = 1e-5
SENTENCES = ["Carla lives unhappily in New York .", "Ben stayed in Oslo", "Anna works unhappily in Anna Bay ."]
REVIEWS = ["the hotel and its food was fine", "the hotel", "the hotel and its staff was fine and its price was fine"]
PAIRS = [("Rain fell all day.", "It rained."), ("a", "b c d e f"), ("He was not amused at all, was he?", "No.")]


@torch.no_grad()
def outputs(auto: type, folder: Path, texts: Sequence[tuple[str, ...]]) -> list[torch.Tensor]:
    """Compute with transformers alone: each text's logits."""
    model, report = auto.from_pretrained(folder, output_loading_info=True)  # type: ignore[attr-defined]
    assert not report["missing_keys"] and not report["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sides = [list(side) for side in zip(*texts, strict=True)]
    return list(model(**tokenizer(*sides, padding=True, truncation=True, return_tensors="pt")).logits)


def config_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


def stored_run() -> TrainedRun:
    with Reader(default_database()) as reader:
        run = reader.find("latest")
    spec, recorded = stored_spec(run.spec_json), RecordedInputs(run.name, run.conditions)
    assert run.best_epoch is not None
    folder = run_folder(default_database(), run.id)
    return TrainedRun(spec, folder, {task.name: run.best_epoch for task in spec.tasks}, own=False, recorded=recorded)


def predicted(source: TrainedRun, task: str, texts: Sequence[tuple[str, ...]]) -> list[TextPrediction]:
    """The output of `predict`, in the run's own runtime."""
    of = next(each for each in source.spec.tasks if each.name == task)
    return predict(source.spec, of, texts, source.folder, source.epochs[task], own=False, recorded=source.recorded)


def sure(rows: list[TextPrediction]) -> np.ndarray:
    return np.array([row.probability for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "full"])
def test_pipelines_give_the_labels_of_a_run(preset: str, tmp_path: Path, tiny_encoder: Path) -> None:
    path, out = workload(tmp_path, tiny_encoder), tmp_path / "out"
    with worked_here():
        assert inside("run", "--headless", "--preset", preset, "--workload", path).returncode == 0
    done = inside("export", "latest", out, "--format", "transformers")
    assert (done.returncode, done.stdout.count("reloaded, logits within")) == (0, 2), done.stderr
    source = stored_run()

    tags = transformers.pipeline("token-classification", model=str(out / "ner"), aggregation_strategy="none")
    expected = predicted(source, "ner", [(text,) for text in SENTENCES])
    for text, row in zip(SENTENCES, expected, strict=True):
        assert isinstance(row.prediction, tuple)
        starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == " ")]
        found = {piece["start"]: piece["entity"] for piece in tags(text, ignore_labels=[])}
        assert [found[start] for start in starts] == [TAGS[tag] for tag in row.prediction]
    assert config_of(out / "ner")["id2label"] == {str(number): tag for number, tag in enumerate(TAGS)}

    topics = transformers.pipeline("text-classification", model=str(out / "aspects"), top_k=None)
    given = [{row["label"]: row["score"] for row in own} for own in topics(REVIEWS)]
    scores = np.array([[row[name] for name in ASPECTS] for row in given])
    np.testing.assert_allclose(
        scores, sure(predicted(source, "aspects", [(text,) for text in REVIEWS])), atol=TOLERANCE
    )
    about = config_of(out / "aspects")
    assert about["label2id"] == {name: number for number, name in enumerate(ASPECTS)}
    assert (about["problem_type"], about["classifier_dropout"]) == ("multi_label_classification", 0.2)
    assert about["label_threshold"] == 0.5
    about = json.loads((out / "peftbench-export.json").read_text())
    assert about["format"] == "transformers" and about["tasks"]["ner"]["logits_within"] < TOLERANCE


@pytest.mark.slow
def test_what_cannot_be_expressed_is_refused_before_anything_is_written(tmp_path: Path, tiny_encoder: Path) -> None:
    path, parent = workload(tmp_path, tiny_encoder), tmp_path / "there"
    with worked_here():
        sets = ("--set", "encoder.pooling=mean", "--set", "train.epochs=1")
        assert inside("run", "--headless", "--preset", "last-layer", "--workload", path, *sets).returncode == 0
    parent.mkdir()
    code, said = failed("export", "latest", parent / "out", "--format", "transformers")
    assert code == 2
    assert "task aspects: BertForSequenceClassification computes other logits than the run with" in said
    assert "ner" not in said
    assert not list(parent.iterdir())


TASKS = {
    "ner": 'kind = "tokens"\nlabels = ["O", "B-X"]\ntext = ["text"]',
    "stars": 'kind = "classes"\nlabels = ["poor", "fair", "good"]\ntext = ["text"]',
    "same": 'kind = "binary"\ntext = ["a", "b"]',
    "near": 'kind = "similarity"\ntext = ["a", "b"]',
    "price": 'kind = "regression"\ntext = ["text"]',
}
OF_TEXTS = ("stars", "same", "near", "price")
NO_DATA = 'label = "label"\nsource = { type = "files", root = "none", train = "t.csv", dev = "d.csv" }'
Scale = tuple[float, float]


def run_of(
    folder: Path,
    encoder: Path,
    tasks: Sequence[str],
    *overrides: str,
    preset: str = "lora-r12",
    price: Scale | None = None,
) -> TrainedRun:
    """Return a run with random weights. `price`: mean and deviation of that task's labels. An export reads no data."""
    path = folder / "own.toml"
    parts = [f"[tasks.{task}]\n{TASKS[task]}\n{NO_DATA}\n" for task in tasks]
    path.write_text(f'[encoder]\nname = "{encoder}"\nmax_length = 64\n{"".join(parts)}')
    spec = resolve(preset, str(path), overrides=list(overrides)).spec
    conditions: Conditions = {} if price is None else {"label_scale": {"price": price}}
    return trained_run(spec, folder / "run", RecordedInputs("run", conditions))


@pytest.mark.parametrize("overrides", [[], ["encoder.token_types=false"]])
def test_every_kind_has_the_run_s_probabilities_and_scores(
    overrides: list[str], tmp_path: Path, tiny_encoder: Path
) -> None:
    source = run_of(tmp_path, tiny_encoder, OF_TEXTS, *overrides, preset="full", price=(25_000.0, 4000.0))
    done = export_transformers(source, tmp_path / "out")
    assert max(row.logits_within for row in done) < TOLERANCE
    singles = [pair[:1] for pair in PAIRS]
    auto = transformers.AutoModelForSequenceClassification

    def found(task: str) -> torch.Tensor:
        return torch.stack(outputs(auto, tmp_path / "out" / task, PAIRS if task in ("same", "near") else singles))

    def about(task: str) -> tuple[object, ...]:
        config = config_of(tmp_path / "out" / task)
        return tuple(config["id2label"].values()), config["problem_type"]  # type: ignore[attr-defined]

    rows = predicted(source, "stars", singles)
    chances = found("stars").softmax(-1)
    np.testing.assert_allclose(chances.max(-1).values, sure(rows), atol=TOLERANCE)
    assert chances.argmax(-1).tolist() == [row.number for row in rows]
    assert about("stars") == (("poor", "fair", "good"), "single_label_classification")

    rows = predicted(source, "same", PAIRS)
    chances = found("same").softmax(-1)
    assert chances.argmax(-1).tolist() == [row.number for row in rows]
    np.testing.assert_allclose(chances.max(-1).values, sure(rows), atol=TOLERANCE)
    assert about("same") == (("0", "1"), "single_label_classification")

    near = [row.number for row in predicted(source, "near", PAIRS)]
    np.testing.assert_allclose(found("near")[:, 0], near, atol=TOLERANCE)
    price = [row.number for row in predicted(source, "price", singles)]
    assert np.std(price) > 100  # in the data's units
    np.testing.assert_allclose(found("price")[:, 0], price, rtol=TOLERANCE)
    assert about("price") == (("label",), "regression")
    number = transformers.pipeline("text-classification", model=str(tmp_path / "out" / "price"))(PAIRS[0][0])
    assert number == [{"label": "label", "score": pytest.approx(price[0], rel=TOLERANCE)}]


def test_the_tokeniser_cuts_where_the_run_does_and_reads_special_tokens_as_text(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    source = run_of(tmp_path, tiny_encoder, ["stars"], "encoder.max_length=12", preset="full")
    export_transformers(source, tmp_path / "out")
    texts = [("good " * 40,), ("a [SEP] b",)]
    folder = tmp_path / "out" / "stars"
    chances = torch.stack(outputs(transformers.AutoModelForSequenceClassification, folder, texts)).softmax(-1)
    np.testing.assert_allclose(chances.max(-1).values, sure(predicted(source, "stars", texts)), atol=TOLERANCE)


BOTH = ("ner", "stars")


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("albert", []),
        ("roberta", []),  # the class has the pooler's layer in its head
        ("longformer", []),  # its first token is global, in token tasks not
        ("electra", ["encoder.pooling=cls", "head.tasks.stars.kind=mlp"]),
        ("deberta-v3", ["encoder.pooling=cls", "head.tasks.stars.kind=mlp"]),
    ],
)
def test_other_families_are_expressed_where_their_class_computes_the_same(
    family: str, overrides: list[str], tmp_path: Path
) -> None:
    source = run_of(tmp_path, save_family(family, tmp_path / family), BOTH, *overrides, preset="full")
    done = export_transformers(source, tmp_path / "out")
    assert [row.task for row in done] == ["ner", "stars"]
    assert max(row.logits_within for row in done) < TOLERANCE
    texts = [("the film was good",), ("not a very good book , no",)]
    found = outputs(transformers.AutoModelForSequenceClassification, tmp_path / "out" / "stars", texts)
    expected = sure(predicted(source, "stars", texts))
    np.testing.assert_allclose(torch.stack(found).softmax(-1).max(-1).values, expected, atol=TOLERANCE)


def modernbert(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(
        vocab_size=ROWS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )  # fmt: skip
    transformers.ModernBertModel(config).save_pretrained(folder)
    wordpiece().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "overrides", "said"),
    [
        ("bert", ["encoder.pooling=cls"], "task stars: BertForSequenceClassification computes other logits than the"),
        ("bert", ["head.tasks.stars.kind=mlp"], r"task stars: BertFor.* \(32 to 3\) than .*'mlp' \(32 to 32, 32 to 3"),
        ("bert", ["head.kind=mlp"], "task ner: BertForToken.*; task stars: BertForSequence"),
        (
            "distilbert",
            ["encoder.pooling=cls"],
            r"task stars: Distil.*\(32 to 32, 32 to 3\) than .* \(32 to 3\)",
        ),
        ("modernbert", ["encoder.pooling=cls"], r"task ner: ModernBertForTokenClassification has other .*head\.norm"),
    ],
)
def test_a_class_that_computes_something_else_is_refused(
    family: str, overrides: list[str], said: str, tmp_path: Path
) -> None:
    place = tmp_path / family
    encoder = modernbert(place) if family == "modernbert" else save_family(family, place)
    source = run_of(tmp_path, encoder, BOTH, *overrides, preset="last-layer")
    with pytest.raises(UsageError, match=said) as caught:
        export_transformers(source, tmp_path / "out")
    assert "--format merged" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_pairs_encoded_separately_and_labels_too_close_together_are_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    source = run_of(tmp_path, tiny_encoder, OF_TEXTS, "encoder.pair_encoding=separate", price=(2e6, 0.5))
    with pytest.raises(UsageError) as caught:
        export_transformers(source, tmp_path / "out")
    assert "tasks same, near: encoder.pair_encoding = 'separate'" in caught.value.message
    assert "task price: its labels (mean 2e+06, standard deviation 0.5)" in caught.value.message


def test_a_model_with_other_logits_is_no_export(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = run_of(tmp_path, tiny_encoder, BOTH)
    monkeypatch.setattr(LoraAdapter, "weight", lambda self, base: base.weight)
    with pytest.raises(PeftbenchError, match="task ner: the exported model's logits differ from the run"):
        export_transformers(source, tmp_path / "out")
