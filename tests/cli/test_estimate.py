"""End-to-end tests of `peftbench estimate`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.inside import inside
from tests.tiny import tiny_overrides

PARTS = ["weights", "trainable", "gradients", "optimizer", "activations", "workspace"]


def estimate(*arguments: object) -> subprocess.CompletedProcess[str]:
    return inside("estimate", *arguments)


def sets(encoder: Path, *more: str) -> list[str]:
    return [word for item in (*tiny_overrides(encoder), *more) for word in ("--set", item)]


@pytest.fixture(scope="module")
def every() -> subprocess.CompletedProcess[str]:
    return estimate("--all")


def test_one_preset_is_a_table_with_bars_and_words(tiny_encoder: Path) -> None:
    done = estimate("--preset", "full", *sets(tiny_encoder))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "full on workload quickstart, on a GPU: a training step's memory"
    assert lines[1] == f"encoder {tiny_encoder}, runtime native, fp32"
    table = [line for line in lines if line.startswith(("weights", "gradients", "optimiser", "activations", "total"))]
    assert len(table) == 5 and all("█" in line and len(line) <= 80 for line in table)
    assert "A trained weight takes 16 bytes" in done.stdout
    assert "weights take 16.0 bytes each" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_parts_of_the_json_add_up(tiny_encoder: Path) -> None:
    done = estimate("--preset", "dora-r12", "--device", "cpu", "--json", *sets(tiny_encoder))
    found = json.loads(done.stdout)
    assert (found["preset"], found["device"], found["runtime"], found["notes"]) == ("dora-r12", "cpu", "native", [])
    assert len(found["adapted"]) == 6 and "encoder.layer.1.attention.self.query" in found["adapted"]
    parts = found["bytes"]
    assert list(parts) == [*PARTS, "total"]
    assert parts["total"] == sum(parts[name] for name in PARTS if name != "trainable")
    assert found["batches"]["sst"]["examples"] == 8
    assert found["batches"]["sst"]["tokens"] < found["batches"]["sst"]["tokens_padded"]


@pytest.mark.slow
def test_the_library_of_quantized_weights_is_named(tiny_encoder: Path) -> None:
    arguments = ("-p", "lora-r12", "--device", "cpu", "--set", "runtime=transformers", "--set", "precision=int8")
    arguments += ("--set", "quantization.library=torchao")
    lines = estimate(*arguments, *sets(tiny_encoder)).stdout.splitlines()
    assert lines[1] == f"encoder {tiny_encoder}, runtime transformers, int8 (torchao)"
    assert json.loads(estimate(*arguments, "--json", *sets(tiny_encoder)).stdout)["quantized_by"] == "torchao"


@pytest.mark.slow
def test_a_larger_batch_keeps_more(tiny_encoder: Path) -> None:
    small, large = (
        json.loads(estimate("-p", "lora-r12", "--json", *sets(tiny_encoder, f"train.batch_size={size}")).stdout)
        for size in (4, 16)
    )
    assert 2 < large["bytes"]["activations"] / small["bytes"]["activations"] < 5
    assert large["bytes"]["weights"] == small["bytes"]["weights"]


@pytest.mark.soak
def test_all_rows_of_the_study_and_its_figures_beside_them(every: subprocess.CompletedProcess[str]) -> None:
    assert every.returncode == 0, every.stderr
    ours, _, study = every.stdout.partition("The study's Table 2")
    assert [line.split()[0] for line in ours.splitlines() if line[:4] in ("last", "full", "lora", "dora")] == [
        "last-layer", "full", "lora-r12", "dora-r1", "dora-r4", "dora-r12", "dora-r24", "dora-r128"
    ]  # fmt: skip
    assert "lengths of the study's texts" in ours
    rows = {line.split()[0]: line.split() for line in study.splitlines() if line[:4] in ("full", "lora", "dora")}
    assert len(rows) == 7
    assert rows["full"][1:3] == ["2,622", "1,808"] and rows["dora-r128"][1:3] == ["1,384", "570"]
    (base,) = [line.split() for line in study.splitlines() if line.startswith("last-layer")]
    assert base[1:] == ["814", "–", "–", "–", "–"]
    assert all(len(line) <= 80 for line in every.stdout.splitlines() if "█" in line)


@pytest.mark.slow
def test_another_workload_is_not_held_to_the_study(tiny_encoder: Path) -> None:
    done = estimate("--all", "--workload", "quickstart", "--json", *sets(tiny_encoder))
    found = json.loads(done.stdout)
    assert len(found["estimates"]) == 8 and found["study"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "a preset or --all"),
        (("--all", "--preset", "full"), 2, "not both"),
        (("--preset", "dora-r13"), 2, "did you mean"),
        (("--preset", "full", "--device", "gpu"), 2, "--device gpu"),
        (("--preset", "full", "--set", "encoder.name=/no/such/folder"), 3, "no such folder"),
        (("--preset", "full", "--workload", "paper", "--data", "/no/such/folder"), 2, "not a folder"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], code: int, told: str) -> None:
    done = estimate(*arguments)
    assert done.returncode == code
    assert told in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.slow
def test_several_presets_make_one_table(tiny_encoder: Path) -> None:
    done = estimate("--preset", "lora-r12", "--preset", "full", "--json", *sets(tiny_encoder))
    found = json.loads(done.stdout)
    assert [row["preset"] for row in found["estimates"]] == ["lora-r12", "full"]
    text = estimate("--preset", "lora-r12", "--preset", "full", *sets(tiny_encoder)).stdout
    assert "lora-r12" in text and "full" in text
    assert "study" not in text
