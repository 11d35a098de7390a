"""Verification of a run's recorded inputs when they are read again: no change goes unnoticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from peftbench.errors import ChangedError, DataError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.interchange.trained import TrainedRun
from peftbench.jobs.execute import KEPT_SAFE, execute
from peftbench.spec import Resolved, RunSpec, resolve
from peftbench.store.conditions import (
    Conditions,
    InputLengths,
    MemoryParts,
    MeterConditions,
    PlannedWork,
    RunFacts,
    SamplerConditions,
    TokenisedConditions,
    TokenizerConditions,
)
from peftbench.training import inputs
from peftbench.training.inputs import RecordedInputs, file_sha256
from peftbench.training.predictor import predict
from peftbench.training.weights import weights_path
from tests.marks import soaked_but
from tests.recorders import Memory
from tests.tiny import another_checkpoint, tiny_overrides

TEXT = [("A plain sentence.",)]


def one_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def another_activation(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))


def words_exchanged(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["good"], vocabulary["bad"] = vocabulary["bad"], vocabulary["good"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


CHANGES = {
    "weights": (another_checkpoint, one_bit),
    "configuration": (another_activation,),
    "tokeniser": (words_exchanged,),
}
EACH = [pytest.param(what, change, id=change.__name__) for what, changes in CHANGES.items() for change in changes]


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


@pytest.fixture
def spec(encoder: Path) -> RunSpec:
    return resolve("lora-r12", overrides=tiny_overrides(encoder)).spec


def trained(spec: RunSpec, folder: Path) -> tuple[Memory, RecordedInputs]:
    memory = Memory()
    execute(spec, memory, folder)
    return memory, RecordedInputs("lora-r12-1", memory.facts["conditions"])


def test_every_input_and_the_best_weights_are_recorded(spec: RunSpec, encoder: Path, tmp_path: Path) -> None:
    memory, recorded = trained(spec, tmp_path / "run")
    conditions = recorded.conditions
    assert conditions[inputs.ENCODER] == file_sha256(encoder / "model.safetensors")
    assert conditions[inputs.CONFIG] == file_sha256(encoder / "config.json")
    assert set(conditions[inputs.DATA]) == {f"{task.name}/{split}" for task in spec.tasks for split in ("train", "dev")}
    kept = {path.name: file_sha256(path) for path in (tmp_path / "run").glob("epoch-*.safetensors")}
    assert conditions[inputs.WEIGHTS] == kept
    assert weights_path(tmp_path / "run", memory.best_epoch or 0).name in kept


def test_what_a_run_records_is_as_declared(spec: RunSpec, tmp_path: Path) -> None:
    memory, recorded = trained(spec, tmp_path / "run")
    assert recorded.conditions.keys() <= Conditions.__annotations__.keys()
    declared = {"course": PlannedWork, "sampler": SamplerConditions, "tokenised": TokenisedConditions}
    for key, kind in {**declared, "tokenizer": TokenizerConditions}.items():
        not_here = {"tokenizer": {"padded_with"}, "course": {"interim"}}.get(key, set())
        assert recorded.conditions[key].keys() == kind.__annotations__.keys() - not_here, key
    for lengths in recorded.conditions["input_lengths"].values():
        assert lengths.keys() == InputLengths.__annotations__.keys()
    for meter in recorded.conditions["meters"].values():
        assert meter.keys() == MeterConditions.__annotations__.keys()
    assert memory.facts.keys() - {"conditions"} == RunFacts.__annotations__.keys()
    parts = MemoryParts.__annotations__.keys()
    assert memory.facts["memory_predicted"].keys() == parts
    assert memory.facts["memory_measured"].keys() == parts - {"tokens"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize(("what", "change"), EACH)
def test_another_encoder_is_refused_by_every_use_of_the_run(
    what: str, change: Callable[[Path], None], spec: RunSpec, encoder: Path, tmp_path: Path
) -> None:
    memory, recorded = trained(spec, tmp_path / "run")
    best = memory.best_epoch or 0
    epochs = {task.name: best for task in spec.tasks}
    change(encoder)
    uses: dict[str, Callable[[RecordedInputs], Any]] = {
        "predict": lambda r: predict(spec, spec.tasks[0], TEXT, tmp_path / "run", best, own=False, recorded=r),
        "merged": lambda r: export_merged(TrainedRun(spec, tmp_path / "run", epochs, False, r), tmp_path / "merged"),
        "peft": lambda r: export_peft(TrainedRun(spec, tmp_path / "run", epochs, False, r), tmp_path / "peft"),
        "resume": lambda r: execute(spec, Memory(), tmp_path / "again", recorded=r),
    }
    for use in uses.values():
        with pytest.raises(ChangedError, match=rf"run lora-r12-1: the {what} of encoder .* changed since") as caught:
            use(recorded)
        key = {"weights": inputs.ENCODER, "configuration": inputs.CONFIG, "tokeniser": inputs.TOKENIZER}[what]
        assert recorded.conditions[key][:16] in caught.value.message
        assert "anyway" in (caught.value.hint or "")
        assert caught.value.exit_code == 4
    assert not (tmp_path / "merged").exists() and not (tmp_path / "peft").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_anyway_continues_with_a_warning(
    spec: RunSpec, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory, recorded = trained(spec, tmp_path / "run")
    another_activation(encoder)
    anyway = RecordedInputs(recorded.run, recorded.conditions, anyway=True)
    assert predict(spec, spec.tasks[0], TEXT, tmp_path / "run", memory.best_epoch or 0, own=False, recorded=anyway)
    assert "warning: run lora-r12-1: the configuration of encoder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_inputs_not_recorded_by_an_earlier_version_are_not_checked(spec: RunSpec, tmp_path: Path) -> None:
    memory, recorded = trained(spec, tmp_path / "run")
    early = {key: value for key, value in recorded.conditions.items() if key in ("encoder_sha256", "data_sha256")}
    best = memory.best_epoch or 0
    assert predict(
        spec, spec.tasks[0], TEXT, tmp_path / "run", best, own=False, recorded=RecordedInputs("early", early)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_trained_weights_of_another_run_of_the_same_spec_are_refused(spec: RunSpec, tmp_path: Path) -> None:
    memory, recorded = trained(spec, tmp_path / "run")
    path = weights_path(tmp_path / "run", memory.best_epoch or 0)
    save_file({name: weight + 1 for name, weight in load_file(path).items()}, path, {"spec_hash": spec.hash()})
    with pytest.raises(ChangedError, match=rf"the trained weights {path.name} in .* changed since"):
        predict(spec, spec.tasks[0], TEXT, tmp_path / "run", memory.best_epoch or 0, own=False, recorded=recorded)


CSV = "text,label\n" + "".join(f"{'a good' if n % 2 else 'a bad'} film number {n},{n % 2}\n" for n in range(12))
WORKLOAD = """description = "films"
[encoder]
name = "{encoder}"
pooling = "mean"
[tasks.films]
kind = "binary"
text = ["text"]
label = "label"
[tasks.films.source]
type = "files"
root = "{root}"
train = "train.csv"
dev = "dev.csv"
[train]
epochs = 2
batch_size = 4
[eval]
train_examples = 8
"""


CHANGES_OF_DATA: dict[str, Callable[[str], str]] = {
    "a label": lambda text: text.replace("number 3,1", "number 3,0"),
    "a text": lambda text: text.replace("bad film number 4", "fine film number 4"),
    "a row": lambda text: text + "one more,1\n",
    "the order": lambda text: "\n".join([*text.splitlines()[:1], *reversed(text.splitlines()[1:])]) + "\n",
}


def films(home: Path, encoder: Path | str, root: Path | str) -> Resolved:
    (home / "data").mkdir(exist_ok=True)
    for split in ("train", "dev"):
        (home / "data" / f"{split}.csv").write_text(CSV)
    (home / "films.toml").write_text(WORKLOAD.format(encoder=encoder, root=root))
    return resolve("lora-r12", str(home / "films.toml"))


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize(
    ("what", "split"),
    soaked_but(
        [("a label", "train"), ("the order", "train"), ("a text", "dev"), ("a row", "dev")],
        [(what, split) for what in CHANGES_OF_DATA for split in ("train", "dev")],
    ),
)
def test_a_run_does_not_resume_with_changed_data(what: str, split: str, encoder: Path, tmp_path: Path) -> None:
    spec = films(tmp_path, encoder, tmp_path / "data").spec
    _, recorded = trained(spec, tmp_path / "run")
    path = tmp_path / "data" / f"{split}.csv"
    path.write_text(CHANGES_OF_DATA[what](CSV))
    later = Memory()
    with pytest.raises(ChangedError, match=rf"the examples of films/{split} changed since: SHA-256 \w{{16}}"):
        execute(spec, later, tmp_path / "again", recorded=recorded)
    assert inputs.DATA not in later.facts["conditions"]  # the record is not updated
    path.write_text(CSV.replace("\n", "\r\n"))  # the same examples in other bytes
    execute(spec, Memory(), tmp_path / "again", None, KEPT_SAFE, recorded)


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_names_of_folders_are_absolute_and_a_run_works_from_anywhere(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = films(tmp_path, "encoder", "data").spec
    assert spec.encoder.name == str(tmp_path / "encoder")
    assert spec.tasks[0].source.root == str(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    memory, recorded = trained(spec, tmp_path / "run")
    assert predict(spec, spec.tasks[0], TEXT, tmp_path / "run", memory.best_epoch or 0, own=False, recorded=recorded)


def grouped(home: Path, encoder: Path, group_of: Callable[[int], object]) -> RunSpec:
    spec = films(home, encoder, home / "data").spec
    for split in ("train", "dev"):
        head, *rows = CSV.splitlines()
        text = "\n".join([f"{head},studio", *(f"{row},{split} {group_of(n)}" for n, row in enumerate(rows))])
        (home / "data" / f"{split}.csv").write_text(text + "\n")
    (task,) = spec.tasks
    return spec.model_copy(update={"tasks": (task.model_copy(update={"group": "studio"}),)})


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
def test_dev_predictions_are_kept_with_their_groups(encoder: Path, tmp_path: Path) -> None:
    spec = grouped(tmp_path, encoder, lambda n: n // 3)
    memory, recorded = trained(spec, tmp_path / "run")
    kept = [row for row in memory.predictions if row.epoch == memory.best_epoch]
    assert [row.cluster for row in kept] == [f"dev {n // 3}" for n in range(12)]
    assert "films: dev has only 4 groups" in " ".join(memory.notes)
    (task,) = spec.tasks
    alone = spec.model_copy(update={"tasks": (task.model_copy(update={"group": ""}),)})
    again, same = trained(alone, tmp_path / "again")
    assert [row.prediction for row in again.predictions] == [row.prediction for row in memory.predictions]
    assert same.conditions[inputs.DATA] == recorded.conditions[inputs.DATA]


def test_dev_rows_that_are_all_of_one_group_are_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="films dev: all 12 rows have the same group in 'studio'"):
        execute(grouped(tmp_path, encoder, lambda n: 0), Memory(), tmp_path / "run")


@pytest.mark.parametrize("name", ["./encoder", "../{here}/encoder", "encoder", "encoder/"])
def test_one_folder_has_one_name(name: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = name.format(here=tmp_path.name)
    resolved = resolve("lora-r12", overrides=[f"encoder.name={given}", "encoder.pooling=mean"])
    assert resolved.spec.encoder.name == str(encoder)
    assert (
        resolved.spec.hash()
        == resolve("lora-r12", overrides=[f"encoder.name={encoder}", "encoder.pooling=mean"]).spec.hash()
    )


def test_hub_names_are_kept_and_a_folder_of_that_name_is_reported(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("lora-r12", overrides=["encoder.name=org/encoder"]).spec.encoder.name == "org/encoder"
    shutil.copytree(encoder, tmp_path / "org" / "encoder")
    resolved = resolve("lora-r12", overrides=["encoder.name=org/encoder"])
    assert resolved.spec.encoder.name == str(tmp_path / "org" / "encoder")
    assert resolved.origins["encoder.name"] == "--set (the folder here, not 'org/encoder' of the hub)"


def test_the_embedded_encoder_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("lora-r12").spec.encoder.name == "all-MiniLM-L6-v2"
