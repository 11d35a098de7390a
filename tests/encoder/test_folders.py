"""Folders without an encoder in safetensors: the error says what was found and how to fix it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftbench.encoder import find_encoder, load_encoder, load_with_facts
from peftbench.errors import MissingError
from peftbench.spec import EncoderSpec

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 437955512\n"


@pytest.fixture
def folder(tiny_encoder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_encoder, tmp_path / "encoder")


def refused(folder: Path, message: str) -> MissingError:
    spec = EncoderSpec(name=str(folder), pooling="mean")
    with pytest.raises(MissingError, match=message) as caught:
        load_encoder(spec, find_encoder(spec))
    assert str(folder) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "vocab.txt", "config.json"])
def test_a_git_lfs_pointer_is_called_one(name: str, folder: Path) -> None:
    (folder / name).write_text(POINTER)
    assert f"git -C {folder} lfs pull" in (refused(folder, f"{name} is a git-LFS pointer").hint or "")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_an_empty_file_is_called_empty(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"")
    refused(folder, f"{name} is empty")


@pytest.mark.parametrize("kept", [4, 7, 8, 100, -1, -5000])
def test_a_cut_weights_file_says_how_much_is_there(kept: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()[:kept]
    path.write_bytes(content)
    refused(folder, rf"model.safetensors is (truncated: it has {len(content)} bytes|not in the safetensors format)")


@pytest.mark.parametrize(
    "content", [b"\x80\x02}q\x00." * 40, b"PK\x03\x04" + b"\0" * 400, b"\x10" + b"\0" * 7 + b"[1, 2, 3]       "]
)
def test_what_is_no_safetensors_file_is_told(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "model.safetensors is (not in the safetensors format|truncated)")


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("pytorch_model.bin", "a pickle checkpoint, which can execute arbitrary code", "convert it to safetensors"),
        ("pytorch_model-00001-of-00002.bin", "a pickle checkpoint", "convert it to safetensors"),
        ("tf_model.h5", "a TensorFlow checkpoint", "save_pretrained"),
        ("saved_model.pb", "a TensorFlow checkpoint", "save_pretrained"),
        ("flax_model.msgpack", "a Flax checkpoint", "save_pretrained"),
        ("model.onnx", "an ONNX graph", "converted from"),
        ("onnx/model.onnx", "an ONNX graph", "converted from"),
        ("model.gguf", "a model quantised or compiled for inference", "converted from"),
        ("openvino/openvino_model.xml", "a model quantised or compiled for inference", "converted from"),
    ],
)
def test_other_forms_of_weights_are_named(name: str, message: str, remedy: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"anything")
    error = refused(folder, rf"contains only {message}.*\({name}\)")
    assert remedy in (error.hint or "")


def test_an_adapter_folder_names_the_model_it_belongs_to(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base", "r": 8}))
    save_file({"base_model.model.encoder.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "adapter_model.safetensors")
    error = refused(tmp_path, "is an adapter, not an encoder: it belongs to org/base")
    assert "--set encoder.name=org/base" in (error.hint or "")
    (tmp_path / "adapter_config.json").write_text("{")
    assert "--set encoder.name=MODEL" in (refused(tmp_path, "is an adapter, not an encoder").hint or "")


@pytest.mark.parametrize("part", ["0_Transformer", "0_Encoder"])
def test_a_sentence_transformers_folder_names_the_part_to_use(part: str, tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / part)
    if part != "0_Transformer":
        modules = [
            {"idx": 0, "path": part, "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
    error = refused(tmp_path, f"sentence-transformers folder, whose encoder is in its subfolder {part}")
    assert error.hint == f"use --set encoder.name={tmp_path / part} --set encoder.pooling=mean"
    inner = EncoderSpec(name=str(tmp_path / part), pooling="mean")
    load_encoder(inner, find_encoder(inner))


def test_weights_of_another_name_are_listed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    refused(folder, "has no model.safetensors, but weights.safetensors")


def test_an_empty_folder_and_a_file_are_told(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", "is empty")
    with pytest.raises(MissingError, match="is a file"):
        find_encoder(EncoderSpec(name=str(folder / "model.safetensors")))


class TestShards:
    @pytest.fixture
    def sharded(self, folder: Path) -> Path:
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        names = sorted(weights)
        table = {}
        for number, part in enumerate((names[::2], names[1::2]), start=1):
            shard = f"model-0000{number}-of-00002.safetensors"
            save_file({name: weights[name] for name in part}, folder / shard, {"format": "pt"})
            table |= dict.fromkeys(part, shard)
        index = {"metadata": {"total_size": sum(w.nbytes for w in weights.values())}, "weight_map": table}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    def test_whole_ones_load_the_same_weights(self, sharded: Path, tiny_encoder: Path) -> None:
        specs = [EncoderSpec(name=str(place), pooling="mean") for place in (sharded, tiny_encoder)]
        one, other = (load_encoder(spec, find_encoder(spec)).state_dict() for spec in specs)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

    def test_a_missing_shard_is_named(self, sharded: Path) -> None:
        (sharded / "model-00002-of-00002.safetensors").unlink()
        refused(sharded, "1 of 2 shards listed in .* are missing: model-00002-of-00002.safetensors")

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "nul", "\ud83d"])
    def test_a_broken_index_is_told(self, text: str, sharded: Path) -> None:
        (sharded / "model.safetensors.index.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        refused(sharded, "(is not a shard index|lists no shards)")

    def test_a_cut_shard_is_told(self, sharded: Path) -> None:
        path = sharded / "model-00002-of-00002.safetensors"
        path.write_bytes(path.read_bytes()[:-9])
        refused(sharded, "model-00002-of-00002.safetensors is truncated")


class TestWeights:
    def change(self, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return folder

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "encoder.layer.1.output.LayerNorm.bias"])
    def test_one_that_is_no_number_is_told_when_it_is_loaded(self, name: str, value: float, folder: Path) -> None:
        def spoil(weights: dict[str, torch.Tensor]) -> None:
            weights[name].view(-1)[7] = value

        with pytest.raises(MissingError, match=f"1 weights of the checkpoint contain NaN or infinity: {name}"):
            spec = EncoderSpec(name=str(self.change(folder, spoil)), pooling="mean")
            load_encoder(spec, find_encoder(spec))

    @pytest.mark.parametrize(
        "head",
        [
            "cls.predictions.transform.dense.weight", "cls.seq_relationship.weight", "lm_head.dense.weight",
            "classifier.weight", "classifier.out_proj.weight", "pre_classifier.weight", "qa_outputs.weight",
            "vocab_transform.weight", "bert.head_pooler.weight", "discriminator_predictions.dense.weight",
            "score.weight", "lm_loss.bias", "sequence_summary.summary.weight",
        ],
    )  # fmt: skip
    def test_heads_and_poolers_are_left_out_and_listed(self, head: str, folder: Path) -> None:
        def as_model_with_head(weights: dict[str, torch.Tensor]) -> None:
            for name in list(weights):
                weights[f"bert.{name}"] = weights.pop(name)
            weights.pop("bert.pooler.dense.weight"), weights.pop("bert.pooler.dense.bias")
            weights[head] = torch.ones(4, 32)

        spec = EncoderSpec(name=str(self.change(folder, as_model_with_head)), pooling="mean")
        loaded = load_with_facts(spec, find_encoder(spec))
        assert [name.removeprefix("bert.") for name in loaded.unused] == [head.removeprefix("bert.")]
        assert loaded.missing == ("pooler.dense.bias", "pooler.dense.weight")
        assert loaded.facts()["encoder_weights_unused"] == list(loaded.unused)

    @pytest.mark.parametrize(
        "name",
        [
            "encoder.layer.2.output.dense.weight",
            "encoder.layer.0.attention.self.query.lora_A.weight",
            "embeddings.norm.weight",
            "embeddings_project.weight",
        ],
    )
    def test_those_that_belong_to_the_encoder_and_have_no_place_in_it_are_refused(
        self, name: str, folder: Path
    ) -> None:
        def add(weights: dict[str, torch.Tensor]) -> None:
            weights[name] = torch.ones(4, 32)

        spec = EncoderSpec(name=str(self.change(folder, add)), pooling="mean")
        with pytest.raises(MissingError, match=f"1 weights .* do not fit the model .*: {name}"):
            load_encoder(spec, find_encoder(spec))

    def test_a_configuration_of_fewer_layers_than_there_are_is_refused(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
        spec = EncoderSpec(name=str(folder), pooling="mean")
        with pytest.raises(MissingError, match=r"16 weights .* do not fit the model .*encoder\.layer\.1\."):
            load_encoder(spec, find_encoder(spec))

    def test_a_configuration_of_more_layers_than_there_are_is_refused(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
        spec = EncoderSpec(name=str(folder), pooling="mean")
        with pytest.raises(MissingError, match=r"lacks 16 weights: encoder\.layer\.2\."):
            load_encoder(spec, find_encoder(spec))

    @pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "vocab_size"])
    def test_a_configuration_of_other_sizes_is_refused_with_both(self, key: str, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, key: config[key] + 2}))
        spec = EncoderSpec(name=str(folder), pooling="mean")
        sizes = rf"\(.*\b{config[key]}\b.*, not .*\b{config[key] + 2}\b"
        with pytest.raises(MissingError, match=rf"weights of the checkpoint differ in size .*{sizes}"):
            load_encoder(spec, find_encoder(spec))
