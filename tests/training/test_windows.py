"""Runs whose longer texts are divided into windows (`encoder.stride`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peftbench.analysis.comparison import compare
from peftbench.data.load import load_split
from peftbench.encoder import EMBEDDED_NAME
from peftbench.errors import UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.transformers_format import export_transformers
from peftbench.memory.inputs import encoder_source_of
from peftbench.memory.parts import Anatomy, BatchShape, score
from peftbench.memory.shapes import largest_batch, lengths_of_study
from peftbench.spec import Resolved, RunSpec, resolve
from peftbench.store.conditions import InputLengths
from peftbench.training.inputs import UNRECORDED
from peftbench.training.predictor import Predictor, predict
from tests.cli.inside import inside
from tests.factories import comparable_record
from tests.interchange.random_weights import trained_run
from tests.recorders import stopped_anywhere, train
from tests.tiny import TASKS

TRUNCATED = ["encoder.max_length=12", "encoder.pair_encoding=separate"]
WINDOWS = [*TRUNCATED, "encoder.stride=3"]
RUNTIMES = [("lora-r12", "native"), ("lora-r12", "transformers"), ("lora-r12-peft", "peft")]


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_runtimes_agree_and_a_saved_run_predicts_what_it_predicted(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    figures = []
    for preset, runtime in RUNTIMES:
        overrides = [*WINDOWS, f"runtime={runtime}", "encoder.dropout=0", "head.dropout=0", "method.dropout=0"]
        spec = tiny(preset, [*overrides, "train.batching=bucketed"]).spec
        memory = train(spec, tmp_path / runtime)
        figures.append([each.loss for each in memory.scores])
        for task in spec.tasks:
            texts = [example.texts for example in load_split(task, "dev").examples]
            assert memory.best_epoch is not None
            rows = predict(spec, task, texts, tmp_path / runtime, memory.best_epoch, own=False, recorded=UNRECORDED)
            kept = [p for p in memory.predictions if p.task == task.name and p.epoch == memory.best_epoch]
            assert [row.prediction for row in rows] == [p.prediction for p in kept]
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    plain = train(tiny("lora-r12", TRUNCATED).spec, tmp_path / "plain")
    assert [each.loss for each in plain.scores] != pytest.approx(figures[0], abs=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_a_run_records_how_its_texts_were_divided_and_counts_all_windows(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    spec = tiny("lora-r12", [*WINDOWS, "train.epochs=1"]).spec
    memory = train(spec, tmp_path)
    recorded: dict[str, InputLengths] = memory.facts["conditions"]["input_lengths"]
    assert recorded.keys() == {f"{task}/{split}" for task in TASKS for split in ("train", "dev")}
    own = recorded["sts/train"]
    assert own["inputs"] == 48 and own["windows"] > own["divided"] > 24 and own["truncated"] == 0
    line = f"data: sts train: {own['divided']} of 48 texts divided into {own['windows']} windows of at most 12 tokens"
    assert any(note.startswith(line) for note in memory.notes)
    assert not any("special token" in note for note in memory.notes)
    trained = [phase for phase in memory.seen_phases if phase.phase in ("warmup", "train") and phase.task == "sts"]
    assert sum(phase.tokens or 0 for phase in trained) == own["tokens"]
    texts = [example.texts for example in load_split(spec.tasks[2], "dev").examples]
    ask = Predictor(spec, spec.tasks[2], tmp_path, 1, own=False, recorded=UNRECORDED)
    assert ask(texts).lengths == recorded["sts/dev"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_a_run_stopped_anywhere_has_the_same_bits(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("lora-r12", [*WINDOWS, "train.batching=bucketed", "encoder.dropout=0.1"]).spec
    parts, full = stopped_anywhere(spec, tmp_path / "parts", "windows"), train(spec, tmp_path / "full")
    assert any(note.startswith("resume: from epoch") for note in parts.notes)
    assert {key: row for key, row in parts.rows.items() if key[0] == "score"} == {
        ("score", each.epoch, each.task, each.split): each for each in full.scores
    }


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lora-r12", "full", "last-layer", "dora-r12-peft"])
def test_memory_is_predicted_from_the_windows(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny(preset, [*WINDOWS, "train.epochs=1"]).spec, tmp_path)
    predicted, measured = (Anatomy.from_dict(memory.facts[f"memory_{kind}"]) for kind in ("predicted", "measured"))
    errors = score(predicted, measured)
    for part in ("weights", "trainable", "gradients", "optimizer"):
        assert errors[part] == pytest.approx(0, abs=0.001), part
    assert errors["activations"] == pytest.approx(0, abs=0.03) or measured.activations < 8192


def test_the_batch_of_an_estimate_is_of_windows() -> None:
    overrides = [f"encoder.name={EMBEDDED_NAME}", *WINDOWS, "tasks.sst.source.train=40"]
    shape = encoder_source_of(resolve("last-layer", overrides=overrides).spec).batches["sst"]
    assert shape.window == 12 and max(shape.parts[0]) > 12
    (windows,) = shape.inputs()
    assert max(windows) == 12 and sum(windows) == shape.tokens and len(windows) > shape.examples
    assert shape.padded == 12 * len(windows) == shape.load(packed=False)[0]
    assert BatchShape(((12, 30),), window=12).load(packed=True) == (42, 3 * 144 + 36)


@pytest.mark.slow
def test_an_estimate_names_the_windows_of_its_batch() -> None:
    sets = [word for each in (f"encoder.name={EMBEDDED_NAME}", *WINDOWS) for word in ("--set", each)]
    done = inside("estimate", "--preset", "last-layer", "--device", "cpu", *sets, columns=120)
    assert re.search(r"largest batch, sst: 8 examples, \d+ tokens in \d+ windows, longest text \d+", done.stdout), (
        done.stderr
    )


def test_lengths_of_the_study_are_divided_as_texts_are() -> None:
    """10 pieces of a text fit into 12 tokens; each further window has 7 new ones, and repeats 3."""
    spec = resolve("full", "paper", overrides=WINDOWS).spec
    divided, plain = (
        lengths_of_study(one, spec.tasks[0])[0]
        for one in (spec, spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"max_length": 512})}))
    )
    by_length = dict(zip(plain.tolist(), divided.tolist(), strict=True))
    assert [by_length[n] for n in (4, 12, 13, 19, 20)] == [4, 12, 18, 24, 30]
    texts = [np.array([12, 12, 12, 12, 40, 1, 1, 1])]
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": 4})})
    assert max(largest_batch(texts, spec, spec.tasks[0], packed=False).parts[0]) == 40


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["encoder.stride=3"], "pairs of task paraphrase are encoded as one text"),
        (["encoder.max_length=64", "encoder.stride=64"], "`stride` = 64 must be below `max_length` = 64"),
        (["encoder.stride=-1"], "encoder.stride"),
    ],
)
def test_windows_that_cannot_be_are_refused(overrides: list[str], reason: str, tiny: Callable[..., Resolved]) -> None:
    with pytest.raises(UsageError) as caught:
        tiny("lora-r12", overrides)
    assert reason in f"{caught.value.message} {caught.value.hint}"


def test_token_tasks_have_no_windows(tiny: Callable[..., Resolved]) -> None:
    tree = json.loads(tiny("lora-r12", WINDOWS).spec.canonical_json())
    tree["tasks"] = [{**tree["tasks"][0], "kind": "tokens", "classes": None, "labels": ["O", "B-X"]}]
    with pytest.raises(ValueError, match="task sst is one of tokens, each of which has an output of its own"):
        RunSpec.model_validate_json(json.dumps(tree))
    tree["encoder"]["stride"] = None
    assert RunSpec.model_validate_json(json.dumps(tree)).encoder.stride is None


@pytest.mark.usefixtures("no_prediction")
def test_a_stride_that_only_the_tokeniser_refuses(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("last-layer", [*WINDOWS, "encoder.stride=10"]).spec
    with pytest.raises(UsageError, match="12 tokens have 10 tokens of a text besides the special ones"):
        train(spec, tmp_path)


@pytest.mark.usefixtures("no_prediction")
def test_windows_do_not_lift_the_limit_of_positions(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("last-layer", [*WINDOWS, "encoder.max_length=513"]).spec
    with pytest.raises(UsageError, match=r"encoder\.max_length = 513: .* has 512 positions"):
        train(spec, tmp_path)


def test_a_spec_without_stride_keeps_its_hash_and_one_with_it_has_another(tiny: Callable[..., Resolved]) -> None:
    plain, other = (tiny("lora-r12", [*TRUNCATED, *more]).spec for more in ([], ["encoder.stride=0"]))
    tree = json.loads(plain.canonical_json())
    del tree["encoder"]["stride"]
    assert RunSpec.model_validate_json(json.dumps(tree)).hash() == plain.hash()
    assert "stride" not in plain.determinants()["encoder"]
    assert other.hash() != plain.hash() and other.group_hash() != plain.group_hash()


@pytest.mark.slow
def test_exports_say_so_or_are_refused(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    source = trained_run(tiny("lora-r12", WINDOWS).spec, tmp_path / "run")
    with pytest.raises(UsageError, match=r"encoder\.stride = 3, and transformers' classes do not divide"):
        export_transformers(source, tmp_path / "classifiers")
    for done in export_merged(source, tmp_path / "merged"):
        about = json.loads((tmp_path / "merged" / done.task / "head.json").read_text())
        assert (about["max_length"], about["stride"]) == (12, 3)


class TestCompared:
    def lengths(self, cut: int, tokens: int) -> dict[str, InputLengths]:
        own = InputLengths(inputs=40, tokens=400, truncated=cut, tokens_cut=tokens, divided=0, windows=0)
        return {"sst/train": own, "sst/dev": own, "sts/train": {**own, "truncated": 0, "tokens_cut": 0}}

    def standing(self, *recorded: dict[str, InputLengths] | None) -> dict[str, str]:
        records = []
        for seed, each in enumerate(recorded):
            one = comparable_record(seed=seed % 2)
            conditions = {**one.run.conditions, **({} if each is None else {"input_lengths": each})}
            records.append(replace(one, run=replace(one.run, conditions=conditions)))
        return {each.key: each.standing for each in compare(records).settings}

    def test_runs_that_cut_differently_are_not_alike(self) -> None:
        assert self.standing(self.lengths(4, 100), self.lengths(5, 120))["long inputs"] == "confounding"
        assert self.standing(self.lengths(4, 100), self.lengths(4, 100))["long inputs"] == "same"

    def test_a_run_of_before_this_was_recorded_is_no_other_run(self) -> None:
        assert self.standing(self.lengths(4, 100), None)["long inputs"] == "implied"
        assert self.standing(None, None)["long inputs"] == "same"
