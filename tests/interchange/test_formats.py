"""Adapters in HF PEFT's format and merged checkpoints: other programs reproduce the run's outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel

from peftbench.data.encode import encode_texts
from peftbench.encoder import load_encoder, load_tokenizer
from peftbench.errors import DataError, MissingError, PeftbenchError, UsageError
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft, take_peft
from peftbench.interchange.trained import TrainedRun
from peftbench.methods import as_peft
from peftbench.methods.as_peft import AsPeft
from peftbench.methods.lora import LoraAdapter
from peftbench.methods.options import LoraOptions
from peftbench.methods.registry import method_info
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved
from peftbench.training.evaluation import logits_of
from peftbench.training.weights import load_weights, save_weights, weights_path
from tests.interchange.random_weights import trained_run

TASKS = ("sst", "paraphrase")  # one of single texts, one of pairs

Tiny = Callable[..., Resolved]
TOLERANCE = 1e-5
TEXTS = [("Rain fell all day.", "It rained."), ("a", "b c d e f"), ("He was not amused at all, was he?", "No.")]

THROUGH_OURS = ["lora-r12", "dora-r12", "lora-r12-all", "dora-r12-all", "loraplus-r12", "delta-lora-r12"]
THROUGH_PEFT = [
    *("lora-r12-peft", "dora-r12-peft", "rslora-r12", "pissa-r12", "adalora-r12", "vera-r256", "ia3"),
    *("oft-b32", "boft-b8", "ln-tuning", "loha-r8"),
]
MERGED_BY_PEFT = ["pissa-r12", "adalora-r12", "vera-r256", "oft-b32", "ln-tuning"]
SMALL = {"vera-r256": ["method.rank=8"], "oft-b32": ["method.block_size=8"], "boft-b8": ["method.block_size=4"]}


def run_of(tiny: Tiny, preset: str, folder: Path, *overrides: str) -> TrainedRun:
    spec = tiny(preset, [*SMALL.get(preset, []), *overrides]).spec
    return trained_run(spec.model_copy(update={"tasks": spec.tasks[:2]}), folder)


def native_logits(source: TrainedRun) -> dict[str, np.ndarray]:
    """The output of `predict`, in the run's own runtime."""
    spec, files = source.spec, source.files()
    model = MultitaskModel(load_encoder(spec.encoder, files), spec)
    load_weights(model, weights_path(source.folder, 2), spec.hash())
    model.prepare(torch.device("cpu"))
    tokenizer, found = load_tokenizer(files), {}
    for task in spec.tasks:
        model.switch_mode(task.name)
        split = encode_texts([pair[: len(task.text)] for pair in TEXTS], tokenizer, True, spec.encoder.max_length)
        found[task.name] = logits_of(model, split, np.arange(len(TEXTS)), 8, model.batcher(0))
    return found


@torch.no_grad()
def as_others_compute(encoder: nn.Module, folder: Path, source: TrainedRun) -> Tensor:
    """Compute without peftbench: transformers' tokeniser and encoder, mean pooling, a linear layer."""
    from transformers import AutoTokenizer

    about = json.loads((folder / "head.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(source.spec.encoder.name)
    texts = [list(part) for part in zip(*(pair[: len(about["texts"])] for pair in TEXTS), strict=True)]
    batch = tokenizer(*texts, padding=True, return_tensors="pt")
    assert about["pooling"] == "mean"
    states = encoder.eval()(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    head = load_file(folder / "head.safetensors")
    x = (states * mask).sum(1) / mask.sum(1)
    if about["head"] == "linear":
        return x @ head["weight"].T + head["bias"]
    assert about["activation"] == "gelu"
    for number in range(len(head) // 2):
        x = (torch.nn.functional.gelu(x) if number else x) @ head[f"{number}.weight"].T + head[f"{number}.bias"]
    return x


@pytest.mark.slow
@pytest.mark.parametrize("preset", [*THROUGH_OURS, *THROUGH_PEFT])
def test_peft_itself_loads_an_exported_adapter_and_computes_the_same(preset: str, tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, preset, tmp_path / "run")
    done = export_peft(source, tmp_path / "out")
    assert [row.task for row in done] == list(TASKS)
    expected = native_logits(source)
    for task in TASKS:
        base = AutoModel.from_pretrained(source.spec.encoder.name)
        model = peft.PeftModel.from_pretrained(base, str(tmp_path / "out" / task))
        found = as_others_compute(model, tmp_path / "out" / task, source).numpy()
        np.testing.assert_allclose(found, expected[task], atol=TOLERANCE, rtol=TOLERANCE)
    assert max(row.logits_within for row in done) < TOLERANCE
    pretrained = as_others_compute(
        AutoModel.from_pretrained(source.spec.encoder.name), tmp_path / "out" / "sst", source
    )
    assert np.abs(pretrained.numpy() - expected["sst"]).max() > 100 * TOLERANCE  # the adapter has an effect


@pytest.mark.slow
def test_a_head_with_hidden_layers_goes_whole(tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, "lora-r12", tmp_path / "run", "head.kind=mlp", "head.width=9", "head.tasks.sst.layers=2")
    export_peft(source, tmp_path / "out")
    expected = native_logits(source)
    for task in TASKS:
        base = AutoModel.from_pretrained(source.spec.encoder.name)
        model = peft.PeftModel.from_pretrained(base, str(tmp_path / "out" / task))
        found = as_others_compute(model, tmp_path / "out" / task, source).numpy()
        np.testing.assert_allclose(found, expected[task], atol=TOLERANCE, rtol=TOLERANCE)


def adapter_config(folder: Path) -> dict[str, object]:
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.slow
def test_the_configuration_says_what_the_method_is_in_peft_s_words(tiny: Tiny, tmp_path: Path) -> None:
    overrides = ["method.layers=1", "method.alpha=6", 'method.targets=["query", "output.dense"]']
    export_peft(run_of(tiny, "dora-r12", tmp_path / "run", *overrides), tmp_path / "dora")
    found = adapter_config(tmp_path / "dora" / "paraphrase")
    assert (found["peft_type"], found["r"], found["lora_alpha"], found["use_dora"]) == ("LORA", 12, 6, True)
    assert (sorted(found["target_modules"]), found["layers_to_transform"]) == (["output.dense", "query"], [1])
    assert (found["inference_mode"], found["auto_mapping"]["base_model_class"]) == (True, "BertModel")
    export_peft(run_of(tiny, "pissa-r12", tmp_path / "pissa"), tmp_path / "out")
    found = adapter_config(tmp_path / "out" / "sst")
    assert (found["r"], found["lora_alpha"], found["init_lora_weights"]) == (24, 24, True)


def test_layers_that_peft_would_take_otherwise_are_named_in_full(tmp_path: Path) -> None:
    """ModernBERT's layers are at the top level, where PEFT's rule for `layers_to_transform` does not find them."""
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    encoder = ModernBertModel(config)
    method = method_info("lora").load()(LoraOptions(name="lora", rank=2, alpha=2.0, layers="1"))
    method.attach(encoder, ["a"], seed=0)
    adapter = AsPeft(method, encoder, ["a"]).adapter("a")
    assert adapter.config.target_modules == {"layers.1.attn.Wqkv"}
    assert adapter.config.layers_to_transform is None
    wrapped = peft.get_peft_model(ModernBertModel(config), adapter.config)
    assert {key.replace(".default", "") for key in wrapped.state_dict() if "lora_" in key} == adapter.weights.keys()


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("last-layer", [], "it has no adapters"),
        ("full", [], "it has no adapters"),
        ("dora-r12", ["method.norm_axis=input"], "norm per output feature only"),
    ],
)
def test_what_peft_cannot_hold_is_refused_with_what_to_do(
    preset: str, overrides: list[str], said: str, tiny: Tiny, tmp_path: Path
) -> None:
    source = run_of(tiny, preset, tmp_path / "run", *overrides)
    with pytest.raises(UsageError, match=said) as caught:
        export_peft(source, tmp_path / "out")
    assert "--format merged" in (caught.value.hint or "")


def test_dora_with_the_other_norm_axis_is_merged(tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, "dora-r12", tmp_path / "run", "method.norm_axis=input")
    assert max(row.logits_within for row in export_merged(source, tmp_path / "out")) < TOLERANCE


def test_each_task_has_its_own_best_epoch_where_asked(tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, "lora-r12", tmp_path / "run")
    spec, files = source.spec, source.files()
    model = MultitaskModel(load_encoder(spec.encoder, files), spec)
    epochs = {"sst": 1, "paraphrase": 2}
    for task, epoch in epochs.items():
        save_weights(model.saved(task), weights_path(source.folder, epoch, task), spec.hash())
    done = export_peft(TrainedRun(spec, source.folder, epochs, own=True), tmp_path / "out")
    assert {row.task: row.epoch for row in done} == epochs
    weights = load_file(tmp_path / "out" / "sst" / "adapter_model.safetensors")
    assert all(float(weight.abs().max()) == 0 for name, weight in weights.items() if "lora_B" in name)


@pytest.mark.slow
@pytest.mark.parametrize("export", [export_peft, export_merged])
def test_an_export_that_computes_something_else_is_no_export(
    export: Callable[[TrainedRun, Path], object], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = run_of(tiny, "lora-r12", tmp_path / "run")
    monkeypatch.setattr(LoraAdapter, "weight", lambda self, base: base.weight)
    monkeypatch.setattr(
        as_peft, "_weights", lambda adapter: [("lora_A.weight", adapter.A), ("lora_B.weight", -adapter.B)]
    )
    with pytest.raises(PeftbenchError, match="logits differ from the run"):
        export(source, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["last-layer", "full", *THROUGH_OURS, *MERGED_BY_PEFT])
def test_transformers_loads_a_merged_checkpoint_and_computes_the_same(preset: str, tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, preset, tmp_path / "run")
    export_merged(source, tmp_path / "out")
    expected = native_logits(source)
    shared = preset in ("last-layer", "full")
    assert (tmp_path / "out" / "model.safetensors").is_file() == shared
    for task in TASKS:
        place = tmp_path / "out" / task
        encoder, report = AutoModel.from_pretrained(tmp_path / "out" if shared else place, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        found = as_others_compute(encoder, place, source).numpy()
        np.testing.assert_allclose(found, expected[task], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "adalora-r12", "ia3"])
def test_an_exported_folder_comes_back_with_the_same_bits(preset: str, tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, preset, tmp_path / "run")
    export_peft(source, tmp_path / "out")
    files = source.files()
    there, here = (MultitaskModel(load_encoder(source.spec.encoder, files), source.spec) for _ in range(2))
    load_weights(there, weights_path(source.folder, 2), source.spec.hash())
    for task in TASKS:
        take_peft(here, task, tmp_path / "out" / task)
    assert here.saved().keys() == there.saved().keys()
    for name, weight in there.saved().items():
        assert torch.equal(weight, here.saved()[name]), name


@pytest.mark.parametrize("preset", ["delta-lora-r12", "pissa-r12"])
def test_what_was_converted_does_not_come_back_and_says_so(preset: str, tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, preset, tmp_path / "run")
    assert {row.converted for row in export_peft(source, tmp_path / "out")} == {"LoRA of rank 24"}
    with pytest.raises(UsageError, match="LoRA of rank 24 and cannot load them back"):
        take_peft(fresh_model(source), "sst", tmp_path / "out" / "sst")


def fresh_model(source: TrainedRun) -> MultitaskModel:
    return MultitaskModel(load_encoder(source.spec.encoder, source.files()), source.spec)


def test_an_adapter_of_another_kind_or_shape_is_not_taken(tiny: Tiny, tmp_path: Path) -> None:
    source = run_of(tiny, "lora-r12", tmp_path / "run")
    export_peft(source, tmp_path / "out")
    place, model = tmp_path / "out" / "sst", fresh_model(source)
    before = {name: weight.clone() for name, weight in model.saved().items()}
    config = adapter_config(place)

    def refused(error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            take_peft(model, "sst", place)

    def write(**changed: object) -> None:
        (place / "adapter_config.json").write_text(json.dumps({**config, **changed}))

    write(lora_alpha=24)
    refused(DataError, "lora_alpha is 24, but the run has 12")
    write(use_dora=True)
    refused(DataError, "use_dora is True")
    for content, said in (
        ("[1]", "not an adapter configuration"),
        ("[" * 100_000, "not JSON"),
        ("x" * 2**21, "larger"),
    ):
        (place / "adapter_config.json").write_text(content)
        refused(DataError, said)
    write()
    good = (place / "adapter_model.safetensors").read_bytes()
    save_file({"base_model.model.x": torch.zeros(2)}, place / "adapter_model.safetensors")
    refused(DataError, "differ from the run's in names or shapes")
    (place / "adapter_model.safetensors").write_bytes(good[: len(good) // 2])
    refused(DataError, "cannot be read")
    (place / "adapter_model.safetensors").unlink()
    refused(MissingError, "does not exist")
    assert all(torch.equal(weight, before[name]) for name, weight in model.saved().items())
