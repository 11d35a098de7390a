"""Loading a run's data: progress of tokenisation, stop requests between batches, and recorded conditions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peftbench.data import tokenise
from peftbench.encoder import find_encoder, load_tokenizer
from peftbench.errors import Interrupted, MissingError, UsageError
from peftbench.jobs.execute import execute
from peftbench.jobs.recorder import StoreRecorder
from peftbench.spec import Resolved, RunSpec
from peftbench.store.rows import Progress
from peftbench.tasks import FilesSource, TaskSpec
from peftbench.training.data import load_data
from tests.encoder.families import save_family, wordpiece
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")


class Told(Memory):
    """Records progress, and stops at a given report."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.seen: list[Progress] = []
        self.stop_at = stop_at

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        self.seen.append(progress)
        if len(self.seen) == self.stop_at:
            raise Interrupted("asked to stop")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenise, "BATCH", 10)


def load(spec: RunSpec, recorder: Any) -> Any:
    files = find_encoder(spec.encoder)
    return load_data(spec, load_tokenizer(files), files, recorder)


def test_every_batch_of_texts_is_reported(tiny: Callable[..., Resolved]) -> None:
    told = Told()
    data = load(tiny("full").spec, told)
    assert {progress.phase for progress in told.seen} == {"tokenise"}
    expected = []
    for task in ("sst", "paraphrase", "sts"):
        expected += [(task, done, 24) for done in (10, 20, 24)] + [(task, done, 16) for done in (10, 16)]
    assert [(progress.task, progress.step, progress.steps) for progress in told.seen] == expected
    assert data.tokenised == tuple(f"{t}/{s}" for t in ("sst", "paraphrase", "sts") for s in ("train", "dev"))
    assert data.tokenise_s > 0


def test_a_stop_between_two_batches_leaves_no_partial_cache(tiny: Callable[..., Resolved]) -> None:
    spec = tiny("full").spec
    with pytest.raises(Interrupted):
        load(spec, Told(stop_at=2))
    told = Told()
    assert load(spec, told).tokenised[0] == "sst/train"
    assert told.seen[0].step == 10


def test_tokens_from_the_cache_are_not_reported(tiny: Callable[..., Resolved]) -> None:
    spec = tiny("full").spec
    load(spec, Told())
    told = Told()
    data = load(spec, told)
    assert (told.seen, data.tokenised, data.tokenise_s) == ([], (), 0)


def test_a_loading_worker_is_not_stalled_and_handles_signals(tiny: Callable[..., Resolved]) -> None:
    beats: list[int] = []
    log = SimpleNamespace(put_progress=lambda progress: len(beats) == 4, put_event=lambda *given: None)
    looked: list[int] = []
    stops = SimpleNamespace(deferred=None, check=lambda: looked.append(1))
    heartbeat = SimpleNamespace(progressed=lambda: beats.append(1), database_gone=False)
    recorder: Any = StoreRecorder(log, stops, heartbeat)  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        load(tiny("full").spec, recorder)
    assert len(beats) == len(looked) == 4


@pytest.mark.slow
def test_the_record_says_what_was_tokenised_and_scores_are_the_same_without(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    spec = tiny("lora-r12", ["train.epochs=1"]).spec
    cold, warm = (train(spec, tmp_path / name) for name in ("cold", "warm"))
    assert cold.facts["conditions"]["tokenised"]["seconds"] > 0
    assert len(cold.facts["conditions"]["tokenised"]["splits"]) == 6
    assert warm.facts["conditions"]["tokenised"] == {"splits": [], "seconds": 0}
    assert cold.figures() == warm.figures()
    for key in ("attention", "encoder_weights_unused", "encoder_weights_missing"):
        assert key in cold.facts["conditions"]


def test_what_does_not_fit_ends_the_run_before_anything_is_tokenised(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    folder = save_family("bert", tmp_path / "bert")
    tokenizer = wordpiece()
    tokenizer.add_tokens([f"word{number}" for number in range(400)])
    tokenizer.save_pretrained(folder)
    told = Told()
    with pytest.raises(UsageError, match="its embedding 320 rows"):
        train_into(tiny("full", [f"encoder.name={folder}", "encoder.max_length=64"]).spec, told, tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(MissingError, match="tokeniser vocabulary"):
        train_into(tiny("full", [f"encoder.name={folder}", "encoder.max_length=64"]).spec, told, tmp_path)
    assert not any(progress.phase == "tokenise" for progress in told.seen)


def train_into(spec: RunSpec, recorder: Memory, folder: Path) -> None:
    execute(spec, recorder, folder)


def test_a_folder_that_hides_a_name_of_the_hub_is_in_the_record(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_family("bert", tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    spec = tiny("last-layer", ["encoder.name=org/model", "encoder.max_length=64", "train.epochs=1"]).spec
    told = train(spec, tmp_path / "run")
    if spec.encoder.name == "org/model":  # an absolute path identifies the encoder by itself
        assert any(note.startswith("encoder: encoder.name = 'org/model' is a folder here") for note in told.notes)


def test_unknown_and_empty_texts_are_in_the_record(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    rows = [
        {"sentence": text, "label": n % 2} for n, text in enumerate(["a film", "東京", "東京", "the", "東", "good"] * 4)
    ]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = save_family("bert", tmp_path / "bert")
    told = Told()
    spec = tiny("full", [f"encoder.name={folder}", "encoder.max_length=64"]).spec
    files = FilesSource(type="files", root=str(tmp_path), train="train.jsonl", dev="dev.jsonl")
    task = TaskSpec(name="sst", kind="binary", text=("sentence",), label="label", source=files)
    load(spec.model_copy(update={"tasks": (task,)}), told)
    assert any(n.startswith("data: sst train: 56% of the pieces are unknown to the tokeniser") for n in told.notes)
