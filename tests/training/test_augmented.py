"""Training on augmented rows: more rows, unchanged dev, and the train score from original rows only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peftbench.data.augment import wordnet
from peftbench.data.augment.words import plain
from peftbench.data.load import load_split
from peftbench.encoder import find_encoder, load_tokenizer
from peftbench.errors import MissingError
from peftbench.spec import Resolved, RunSpec
from peftbench.training import data as module
from peftbench.training.data import LoadedData, load_data
from tests.data.augment.dictionary import write_dictionary
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")

EDA = ("augment.method=eda", "augment.eda.n_aug=3")


@pytest.fixture(autouse=True)
def dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wordnet.ENVIRONMENT, str(write_dictionary(tmp_path / "wordnet")))


def loaded(spec: RunSpec) -> tuple[LoadedData, Memory]:
    files, memory = find_encoder(spec.encoder), Memory()
    return load_data(spec, load_tokenizer(files), files, memory), memory


def test_the_named_tasks_have_more_training_rows_and_dev_is_as_it_was(tiny: Callable[..., Resolved]) -> None:
    whole, memory = loaded(tiny("lora-r12", EDA).spec)
    without, _ = loaded(tiny("lora-r12").spec)
    data, plain = whole.tasks, without.tasks
    for task in ("sst", "sts"):
        assert 24 * 2 < len(data[task].train) < 24 * 4  # the tiny dictionary contains few of the words
        assert data[task].originals == 24
        assert data[task].train.example_ids[:24] == plain[task].train.example_ids
        assert any(f"augment: {task} train: 24 rows and " in note for note in memory.notes)
    assert len(data["paraphrase"].train) == 24
    assert whole.own_rows == without.own_rows
    assert (set(whole.new_rows), without.new_rows) == ({"sst", "sts"}, {})
    assert whole.sha256 != without.sha256
    told = whole.facts["augment"]
    assert "wordnet_sha256" in told
    assert told["rows_sha256"] == whole.new_rows


def test_different_augmented_rows_change_the_data_hash(tiny: Callable[..., Resolved]) -> None:
    one, _ = loaded(tiny("lora-r12", EDA).spec)
    other, _ = loaded(tiny("lora-r12", [*EDA, "augment.seed=8"]).spec)
    assert one.own_rows == other.own_rows
    assert one.sha256 != other.sha256


def test_rows_are_made_of_the_folds_that_train_and_all_folds_are_of_the_same_data(
    tiny: Callable[..., Resolved],
) -> None:
    folds = [loaded(tiny("lora-r12", [*EDA, "split.folds=3", f"split.fold={fold}"]).spec)[0] for fold in (0, 1)]
    for data in folds:
        ids, originals = data.tasks["sst"].train.example_ids, data.tasks["sst"].originals
        made_of = {name.rsplit("-", 2)[0] for name in ids[originals:]}  # 12-swap-1
        assert made_of and made_of <= set(ids[:originals])
        assert not set(ids) & set(data.tests["sst"].example_ids)
    assert folds[0].new_rows != folds[1].new_rows
    assert folds[0].sha256 == folds[1].sha256


def test_no_dev_sentence_is_added(tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny("lora-r12", EDA).spec
    seen: list[frozenset[str]] = []
    real = module.guarded_texts
    monkeypatch.setattr(module, "guarded_texts", lambda *given: seen.append(real(*given)[0]) or (seen[-1], None))
    loaded(spec)
    for guarded, task in zip(seen, (spec.task("sst"), spec.task("sts")), strict=True):
        texts = [text for example in load_split(task, "dev").examples for text in example.texts]
        assert guarded == set(map(plain, texts))


def test_the_limit_is_of_the_rows_that_are_augmented(tiny: Callable[..., Resolved]) -> None:
    whole, memory = loaded(tiny("lora-r12", [*EDA, "train.limit_examples=5"]).spec)
    without, _ = loaded(tiny("lora-r12", ["train.limit_examples=5"]).spec)
    data, plain = whole.tasks, without.tasks
    assert data["sst"].originals == 5 and 5 < len(data["sst"].train) <= 5 * 4
    assert len(data["paraphrase"].train) == 5
    assert data["sst"].train.example_ids[:5] == plain["sst"].train.example_ids
    assert "data: sst train: 5 of 24 examples (train.limit_examples)" in memory.notes


@pytest.mark.slow
def test_a_run_trains_on_them_and_scores_the_datas_own(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("lora-r12", [*EDA, "train.epochs=1"]).spec
    runs = [train(spec, tmp_path / name) for name in "ab"]
    assert runs[0].figures() == runs[1].figures()
    steps = {phase.task: phase.examples for phase in runs[0].seen_phases if phase.phase in ("warmup", "train")}
    assert steps["sst"] > 24 or steps["sts"] > 24
    counted = {(score.task, score.split): score.examples for score in runs[0].scores}
    assert counted["sst", "train"] == counted["sts", "train"] == 16
    assert counted["sst", "dev"] == 16


def test_without_the_model_the_error_names_it(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"needs the model google/madlad400-3b-mt, which is not on this machine"):
        train(tiny("dora-r12-augmented").spec, tmp_path)


def test_more_new_rows_than_advised_are_warned_of(
    tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peftbench.spec.augment.MANY_ROWS", 20)
    _, memory = loaded(tiny("lora-r12", ["augment.method=eda", "augment.eda.n_aug=5"]).spec)
    assert any("sst: n_aug = 5 on 24 rows; Wei and Zou advise 4" in note for note in memory.notes)


def test_a_stop_during_augmentation_takes_effect(tiny: Callable[..., Resolved]) -> None:
    class Stopping(Memory):
        def progress(self, progress) -> None:
            if progress.phase == "augment":
                raise KeyboardInterrupt

    spec = tiny("lora-r12", [*EDA, "augment.seed=77"]).spec
    files = find_encoder(spec.encoder)
    with pytest.raises(KeyboardInterrupt):
        load_data(spec, load_tokenizer(files), files, Stopping())
