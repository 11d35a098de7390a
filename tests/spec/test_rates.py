"""`train.lr = "auto"`: the published rate of a method on an encoder's family and size, stored as a number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.families import FAMILIES
from peftbench.methods.rates import RATES, rate_of
from peftbench.methods.registry import registered
from peftbench.spec import resolve
from peftbench.spec.rates import layer_weights
from peftbench.spec.resolve import changed
from tests.cli.inside import failed
from tests.cli.inside import invoke as cli

AUTO = "train.lr=auto"


def folder(tmp_path: Path, **config: object) -> str:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return f"encoder.name={tmp_path}"


def bert(layers: int, hidden: int, model_type: str = "bert") -> dict[str, object]:
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": 4 * hidden,
    }


@pytest.mark.parametrize(("layers", "hidden", "millions"), [(12, 768, 85), (24, 1024, 302), (6, 384, 11)])
def test_the_weights_of_berts_layers(layers: int, hidden: int, millions: int) -> None:
    assert round(layer_weights(bert(layers, hidden)) / 1e6) == millions


@pytest.mark.parametrize(
    ("preset", "config", "lr"),
    [
        ("full", bert(12, 768), 3e-5),
        ("full", bert(12, 768, "roberta"), 2e-5),
        ("full", bert(6, 384), 5e-5),
        ("full", bert(12, 768, "deberta-v2"), 1.5e-5),
        ("full", bert(24, 1024, "deberta-v2"), 7e-6),
        ("full", bert(24, 1024, "roberta"), 1e-5),
        ("full", bert(12, 768, "no-such-family"), 3e-5),
        ("full", bert(24, 1024, "qwen3"), 2e-5),
        ("lora-r12", bert(12, 768), 4e-4),
        ("dora-r12", bert(24, 1024), 3e-4),
        ("lora-r12", bert(24, 1024, "qwen3"), 2e-4),
        ("dora-r12", bert(12, 768, "deberta-v2"), 2e-4),
        ("pissa-r12", bert(24, 1024, "qwen3"), 2e-5),
        ("ia3", bert(12, 768), 1e-3),
    ],
)
def test_the_rate_of_a_folder(preset: str, config: dict[str, object], lr: float, tmp_path: Path) -> None:
    resolved = resolve(preset, overrides=[AUTO, folder(tmp_path, **config)])
    assert resolved.spec.train.lr == lr
    row = next(row for row in RATES if row.source in resolved.origins["train.lr"])
    assert resolved.origins["train.lr"] == f"auto (--set): {row.source}"


def test_the_spec_holds_the_number_whatever_became_of_the_table() -> None:
    auto, stated = (resolve("lora-r12", overrides=[given]).spec for given in (AUTO, "train.lr=4e-4"))
    assert auto == stated and auto.hash() == stated.hash()
    again = changed(auto.canonical_json(), {}, [AUTO, "method.rank=4"])
    assert again.spec.train.lr == 4e-4


def test_what_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(UsageError, match="no learning rate is published for method delta-lora"):
        resolve("delta-lora-r12", overrides=[AUTO])
    with pytest.raises(UsageError, match="are not known before it is loaded"):
        resolve("full", overrides=[AUTO, "encoder.name=someone/some-model"])


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json cannot be read"):
        resolve("full", overrides=[AUTO, f"encoder.name={tmp_path}"])


def test_every_row_is_of_known_methods_and_families_and_can_be_reached() -> None:
    known = {family.model_type for family in FAMILIES} | {"any", "decoder"}
    reached = set()
    for row in RATES:
        assert set(row.methods) <= registered().keys() and set(row.families) <= known
        assert 0 < row.lr < 1 and row.published and row.source
        for family in FAMILIES:
            for method in row.methods:
                for weights in (10**7, 10**8, 3 * 10**8, 2 * 10**9):
                    reached.add(rate_of(method, family.model_type, family.causal, weights))
    assert set(RATES) <= reached


def test_the_table_is_printed() -> None:
    listed = cli("rates", "lora").stdout
    assert "2106.09685" in listed and "T0-3B" not in listed
    assert len(json.loads(cli("rates", "--json").stdout)) == len(RATES)
    code, text = failed("rates", "lorra")
    assert code == 2 and "did you mean 'lora'" in text
