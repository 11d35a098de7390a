"""PEFT's adapter types: what each can do here, its presets, and refusals instead of errors in training."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import peft
import pytest
import torch
from typer.testing import CliRunner

from peftbench.cli import COMMANDS, build
from peftbench.encoder import find_encoder, load_encoder
from peftbench.errors import UsageError
from peftbench.methods.options import PeftOptions
from peftbench.methods.peft_configs import config_classes
from peftbench.methods.peft_types import KNOWN, REFUSED, REFUSED_STARTS, Capability, types_of
from peftbench.model import MultitaskModel
from peftbench.report.peft_types import markdown_page
from peftbench.spec import Resolved, resolve, shipped
from peftbench.training.peft_check import check_types

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "peft-methods.md"
QUICK = ("LOHA", "POLY", "PREFIX_TUNING", "TRAINABLE_TOKENS")


def on_the_page() -> dict[str, str]:
    rows = (line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `"))
    return {row.split("`")[1]: row for row in rows}


def rows_of(results: list[Capability]) -> dict[str, str]:
    lines = markdown_page(results, version("peft")).splitlines()
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def of_this_version() -> None:
    if f"peft {version('peft')}," not in PAGE.read_text("utf-8"):
        pytest.skip(f"the page is of another version than peft {version('peft')}")


def test_some_types_do_what_the_page_says() -> None:
    of_this_version()
    computed, page = rows_of(check_types(QUICK)), on_the_page()
    assert computed == {name: page[name] for name in QUICK}


@pytest.mark.soak
def test_every_type_does_what_the_page_says() -> None:
    of_this_version()
    assert rows_of(check_types()) == on_the_page()


def test_the_page_has_every_type_that_is_installed() -> None:
    of_this_version()
    installed = config_classes(peft)
    assert {name.partition(",")[0] for name in on_the_page()} == set(installed)
    assert {entry.name for entry in types_of(installed)} == set(on_the_page())


def test_a_type_that_is_not_known_is_tried_without_settings() -> None:
    (entry,) = (entry for entry in types_of({"NEW": object, "LOHA": object}) if entry.name == "NEW")
    assert entry.options()["peft_type"] == "NEW"


def test_the_command_prints_json_and_refuses_what_is_unknown() -> None:
    command = CliRunner()
    app = build(COMMANDS, completion=False)
    done = command.invoke(app, ["methods", "--check", "--type", "prefix_tuning", "--json"])
    (row,) = json.loads(done.stdout)["types"]
    assert (row["name"], row["runs"], row["reason"]) == (
        "PREFIX_TUNING", False, "PEFT's prompt methods change the input, not the encoder",
    )  # fmt: skip
    for arguments, message in (
        (["--check", "--type", "LOHAA"], "has no such type; did you mean 'LOHA'"),
        (["--markdown"], "need --check"),
    ):
        refused = command.invoke(app, ["methods", *arguments])
        assert isinstance(refused.exception, UsageError) and message in refused.exception.message


@pytest.mark.parametrize("name", [entry.preset for entry in KNOWN if entry.preset])
def test_every_preset_that_the_table_names_exists_and_is_of_that_type(name: str) -> None:
    (entry,) = (entry for entry in KNOWN if entry.preset == name)
    spec = resolve(name).spec
    assert spec.runtime == "peft"
    if isinstance(spec.method, PeftOptions):
        assert spec.method.peft_type == entry.peft_type
        start = spec.method.config.get("init_lora_weights")
        assert start is None or entry.name == f"LORA, {start}"


def test_every_preset_of_peft_s_own_configuration_is_in_the_table() -> None:
    of_peft = {name for name in shipped("preset") if isinstance(resolve(name).spec.method, PeftOptions)}
    assert of_peft <= {entry.preset for entry in KNOWN}


@pytest.mark.parametrize("encoder", [("sentence-transformers", 384, 1536), ("bert-base", 768, 3072)])
@pytest.mark.parametrize("name", sorted(n for n in shipped("preset") if resolve(n).spec.method.name == "peft"))
def test_every_preset_of_peft_fits_the_widths_of_the_shipped_encoders(
    name: str, encoder: tuple[str, int, int], tiny: Callable[..., Resolved]
) -> None:
    from transformers import BertConfig, BertModel

    _, hidden, inner = encoder
    sizes = {"hidden_size": hidden, "num_attention_heads": 12, "intermediate_size": inner, "vocab_size": 99}
    spec = resolve(name).spec
    model = MultitaskModel(BertModel(BertConfig(num_hidden_layers=1, **sizes)), spec).prepare(torch.device("cpu"))
    assert all(model.trainable_of(task.name).keys() - {f"heads.{task.name}"} for task in spec.tasks)


def built(tiny: Callable[..., Resolved], *overrides: str) -> MultitaskModel:
    spec = tiny("loha-r8", overrides).spec
    return MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)


def test_what_cannot_train_an_encoder_is_refused_before_a_run(tiny: Callable[..., Resolved]) -> None:
    for peft_type, reason in REFUSED.items():
        with pytest.raises(UsageError, match=f"{peft_type}: {reason}") as caught:
            built(tiny, f"method.peft_type={peft_type}")
        assert "methods --check" in (caught.value.hint or "")
    for start, reason in REFUSED_STARTS.items():
        keys = (f"method.config.init_lora_weights={start}", "method.peft_type=LORA")
        with pytest.raises(UsageError, match=f"'{start}': {reason}"):
            built(tiny, *keys)


def test_layers_that_fail_are_refused_before_a_run(
    tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: object, *args: object, **more: object) -> None:
        raise IndexError("no such expert")

    monkeypatch.setattr(peft.tuners.loha.layer.LoHaLayer, "get_delta_weight", fails)
    monkeypatch.setattr(peft.tuners.lycoris_utils.LycorisLayer, "forward", fails, raising=False)
    monkeypatch.setattr(peft.tuners.loha.layer.Linear, "forward", fails, raising=False)
    with pytest.raises(UsageError, match="PEFT's layers for it do not compute a BertModel: IndexError: no such expert"):
        built(tiny)
