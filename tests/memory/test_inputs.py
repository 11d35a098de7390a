"""Inputs of predictions: configuration without weights, and the largest batch of each task."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from peftbench.data.batches import random_batches
from peftbench.encoder import EncoderFiles, find_without_weights, load_config
from peftbench.errors import MissingError, UsageError
from peftbench.memory import typical_lengths
from peftbench.memory.inputs import KNOWN_ENCODER, encoder_source_of
from peftbench.memory.predict import predict
from peftbench.memory.shapes import largest_batch, lengths_of_study
from peftbench.seeds import generator
from peftbench.spec import Resolved, resolve
from peftbench.spec.encoder import EncoderSpec
from peftbench.training.sampling import limited_rows
from tests.encoder.families import save_family


def test_the_largest_batch_is_one_that_the_run_will_see() -> None:
    spec = resolve("full", "paper", overrides=["train.epochs=3", "train.batch_size=4"], seed=5).spec
    task = spec.tasks[0]
    tokens = np.random.default_rng(0).integers(3, 60, 41)
    packed, padded = 0, 0
    for epoch in (1, 2, 3):
        for rows in random_batches(41, 4, generator(5, "order", epoch, task.name)):
            packed = max(packed, int(tokens[rows].sum()))
            padded = max(padded, int(tokens[rows].max()) * len(rows))
    assert largest_batch([tokens], spec, task, packed=True).tokens == packed
    assert largest_batch([tokens], spec, task, packed=False).padded == padded


def test_bucketed_batches_are_looked_at_as_they_are_made() -> None:
    spec = resolve("full", "paper", overrides=["train.batching=bucketed"]).spec
    tokens = np.arange(1, 81)
    found = largest_batch([tokens], spec, spec.tasks[0], packed=True)
    assert found.parts == ((80, 79, 78, 77, 76, 75, 74, 73)[::-1],)


def test_both_texts_of_a_pair_are_of_the_same_batch() -> None:
    spec = resolve("full", "paper", overrides=["train.batch_size=2", "encoder.pair_encoding=separate"]).spec
    first, second = np.arange(1, 21), np.arange(101, 121)
    found = largest_batch([first, second], spec, spec.tasks[1], packed=True)
    assert [b - a for a, b in zip(*found.parts, strict=True)] == [100, 100]


def test_the_studys_lengths() -> None:
    assert (
        len(typical_lengths.WHOLE["sst"]),
        min(typical_lengths.WHOLE["sst"]),
        max(typical_lengths.WHOLE["sst"]),
    ) == (8544, 4, 80)
    assert (len(typical_lengths.WHOLE["paraphrase"]), max(typical_lengths.WHOLE["paraphrase"])) == (20_212, 160)
    assert (len(typical_lengths.WHOLE["sts"]), max(typical_lengths.WHOLE["sts"])) == (6040, 125)
    assert len(typical_lengths.TEXTS["sts"]) == 2 * 6040 and len(typical_lengths.TEXTS["paraphrase"]) == 2 * 20_212
    # a joint pair has one token less than its texts in total: the second [CLS]
    assert sum(typical_lengths.TEXTS["sts"]) - sum(typical_lengths.WHOLE["sts"]) == 6040


def test_they_are_cut_as_inputs_are() -> None:
    spec = resolve("full", "paper", overrides=["encoder.max_length=50"]).spec
    assert [lengths_of_study(spec, task)[0].max() for task in spec.tasks] == [50, 50, 50]
    separate = resolve("full", "paper", overrides=["encoder.pair_encoding=separate"]).spec
    assert [len(lengths_of_study(separate, task)) for task in separate.tasks] == [1, 2, 2]


def test_a_task_of_ones_own_needs_its_data(tmp_path: Path) -> None:
    workload = tmp_path / "own.toml"
    workload.write_text(
        '[encoder]\nname = "google-bert/bert-base-uncased"\n[tasks.mine]\nkind = "binary"\ntext = ["a"]\nlabel = "b"\n'
        '[tasks.mine.source]\ntype = "files"\ntrain = "t.csv"\ndev = "d.csv"\n'
    )
    with pytest.raises(UsageError, match=r"task mine: .*not available") as told:
        encoder_source_of(resolve("full", str(workload)).spec)
    assert "--data DIR" in (told.value.hint or "")


def test_the_data_at_hand_count(tiny: Callable[..., Resolved]) -> None:
    found = encoder_source_of(tiny().spec)
    assert found.batches.keys() == {"sst", "paraphrase", "sts"} and found.notes == ()
    assert all(shape.examples == 8 for shape in found.batches.values())
    assert found.config.hidden_size == 32


def test_berts_shape_is_known_where_it_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_the_embedded(spec: EncoderSpec, *, local: bool = False) -> EncoderFiles:
        if spec.name == KNOWN_ENCODER:
            raise MissingError("not in the hub's cache")
        return find_without_weights(spec, local=local)

    monkeypatch.setattr("peftbench.memory.inputs.find_without_weights", only_the_embedded)
    found = encoder_source_of(resolve("full", "paper").spec)
    assert (found.config.num_hidden_layers, found.config.hidden_size, found.config.vocab_size) == (12, 768, 30_522)
    assert "published shape" in found.notes[0] and "lengths of the study" in found.notes[1]


def test_no_other_encoder_is_made_up() -> None:
    with pytest.raises(MissingError, match="nobody/nothing"):
        encoder_source_of(resolve("full", "paper", overrides=["encoder.name=nobody/nothing"]).spec)


def test_a_configuration_needs_no_weights(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(tiny_encoder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    spec = EncoderSpec(name=str(folder), pooling="mean", dropout=0.25)
    config = load_config(spec, find_without_weights(spec))
    assert (config.hidden_size, config.hidden_dropout_prob) == (32, 0.25)
    (folder / "config.json").write_text("{")
    with pytest.raises(MissingError, match=r"config\.json"):
        load_config(spec, find_without_weights(spec))


def test_batches_that_a_bound_on_steps_leaves_out_are_not_looked_at() -> None:
    tokens = np.arange(5, 45)
    seen: set[int] = set()
    spec = resolve("full", "paper", overrides=["train.batch_size=4", "train.accumulation_steps=2"]).spec
    task, order = spec.tasks[0], generator(spec.seed, "order", 1, "sst")
    for number, rows in zip(range(6), random_batches(40, 4, order), strict=False):
        seen.add(int(tokens[rows].sum()))
        if number % 2:
            bounded = resolve(
                "full",
                "paper",
                overrides=["train.batch_size=4", "train.accumulation_steps=2", f"train.max_steps={number // 2 + 1}"],
            ).spec
            assert largest_batch([tokens], bounded, task, packed=True).tokens == max(seen)


def test_a_part_of_the_examples_is_the_part_that_is_predicted_for() -> None:
    spec = resolve("full", "paper", overrides=["train.limit_examples=7", "encoder.pair_encoding=separate"]).spec
    whole = resolve("full", "paper", overrides=["encoder.pair_encoding=separate"]).spec
    for task in spec.tasks:
        parts, all_ = lengths_of_study(spec, task), lengths_of_study(whole, task)
        rows = limited_rows(task.name, len(all_[0]), 7)
        assert [part.tolist() for part in parts] == [part[rows].tolist() for part in all_]


@pytest.mark.slow
def test_a_whole_prediction(tiny: Callable[..., Resolved]) -> None:
    found = predict(tiny("dora-r4").spec, "cpu")
    assert found.device == "cpu" and found.anatomy.total is not None
    assert found.anatomy.total == found.anatomy.kept + (found.anatomy.workspace or 0)
    assert found.anatomy.activations > 0


def test_a_pooler_that_is_not_there(tmp_path: Path, tiny_encoder: Path) -> None:
    from transformers import DistilBertConfig

    folder = tmp_path / "distil"
    shutil.copytree(tiny_encoder, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=48).save_pretrained(folder)
    names = [f"encoder.name={folder}", "encoder.pooling=pooler"]
    with pytest.raises(UsageError, match="has no pooler"):
        predict(resolve("lora-r12", overrides=names).spec)


@pytest.mark.parametrize("changes", [{}, {"conv_kernel_size": 3}])
def test_the_largest_batch_is_by_padded_tokens_where_the_native_runtime_falls_back(
    changes: dict[str, int], tmp_path: Path
) -> None:
    folder = save_family("deberta-v3", tmp_path / "encoder", **changes)
    given = [f"encoder.name={folder}", "encoder.pooling=mean", "encoder.max_length=64"]
    sources = [
        encoder_source_of(resolve("full", "paper", overrides=[*given, f"runtime={runtime}"]).spec)
        for runtime in ("native", "transformers")
    ]
    assert (sources[0].batches == sources[1].batches) == bool(changes)
