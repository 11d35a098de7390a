"""The throughput benchmark on a tiny encoder: its output, not its speed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.throughput import report
from benchmarks.throughput.__main__ import main
from benchmarks.throughput.columns import METHODS, SHAPES, Setting, columns_of, huggingface, ours
from benchmarks.throughput.memory import peak_rss
from benchmarks.throughput.texts import random_texts, read_sentences, rows_of_round
from peftbench.data.batches import Batcher

RATES = ("steps_per_s", "examples_per_s", "tokens_per_s")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads contend where other processes run, and speed does not matter here."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "padded"), [("tiny", ""), ("tiny-decoder", ", padded by transformers")])
def test_every_column_has_rates_memory_and_a_ratio_to_its_bar(shape: str, padded: str, tmp_path: Path) -> None:
    sentences = tmp_path / "some.txt"
    sentences.write_text("\n".join("very " * (i % 9) + "good" for i in range(40)))
    out, tables = tmp_path / "out" / "found.json", tmp_path / "found.md"
    options = ["--quick", "--shapes", shape, "--batches", "4", "--dropout", "0.1", "--budget", "0"]
    main([*options, "--lengths", str(sentences), "--json", str(out), "--markdown", str(tables)])

    result = json.loads(out.read_text())
    assert result["lengths"]["texts"] == 40
    assert len(result["prefixes"]) == (not padded)
    for once in result["prefixes"]:
        assert all(once[name]["low"] > 0 for name in ("last_layer_10_epochs", "upper_half_over_all_layers"))
    (found,) = result["configurations"]
    assert (found["shape"], found["batch"], found["dropout"], found["rounds"]) == (shape, 4, 0.1, 3)
    assert list(found["columns"]) == [column.name for column in columns_of(shape)]
    for name, figures in found["columns"].items():
        assert all(figures[rate] > 0 for rate in RATES)
        assert figures["saved_mib"] > 0
        ratio = figures["ratio"]
        assert 0 < ratio["low"] <= ratio["q1"] <= ratio["median"] <= ratio["q3"] <= ratio["high"]
        if figures["bar"] == name:
            assert ratio["low"] == ratio["high"] == 1
    assert {f"ours lora{padded} / ours full{padded}", "HF full / PEFT dora"} <= {
        f"{each['column']} / {each['to']}" for each in found["other_ratios"]
    }
    assert found["evaluation"]["columns"][f"ours lora{padded}, sorted"]["bar"] == "PEFT lora, random"
    assert all(name in tables.read_text() for name in found["columns"])
    assert "very" not in out.read_text() + tables.read_text()


@pytest.mark.parametrize("shape", ["tiny", "tiny-modernbert", "tiny-deberta", "tiny-decoder"])
@pytest.mark.parametrize("method", METHODS)
def test_theirs_and_ours_compute_the_same_loss(method: str, shape: str) -> None:
    setting, split, cpu = Setting(shape, 0.0), random_texts([5, 17, 5, 30]), torch.device("cpu")
    theirs, own = huggingface(setting, method=method), ours(setting, method=method)
    theirs.model.head.load_state_dict(own.model.head[1].state_dict())
    assert own.model.path.startswith(SHAPES[shape].runtime)
    packed = {column.packed for column in columns_of(shape) if column.name.startswith("ours")}
    assert packed == {own.model.native is not None}
    losses = [step.loss(Batcher(each, 0, cpu)(split, [2, 0, 3, 1])) for step, each in ((theirs, False), (own, *packed))]
    torch.testing.assert_close(*losses)


@pytest.mark.soak
def test_peak_memory_is_that_of_another_process() -> None:
    assert peak_rss("ours lora", Setting("tiny", 0.0), np.array([5, 9, 3])) > 50


def test_rounds_differ_and_bucketed_batches_are_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 400)
    rows = rows_of_round(lengths, 8, turn=0)
    assert all(len(batch) == 8 for batches in rows.values() for batch in batches)
    assert max(np.ptp(lengths[batch]) for batch in rows["bucketed"]) < min(np.ptp(lengths[b]) for b in rows["random"])
    assert not np.array_equal(rows["random"][0], rows_of_round(lengths, 8, turn=1)["random"][0])


def test_sentences_come_from_the_column_of_that_name_or_the_first_with_text(tmp_path: Path) -> None:
    tabs, commas = tmp_path / "a.csv", tmp_path / "b.csv"
    tabs.write_text("\tid\tsentence\n0\tx1\tso good\n1\tx2\tso bad\n")
    commas.write_text('number,title\n7,"one, two"\n')
    assert read_sentences(tabs) == ["so good", "so bad"]
    assert read_sentences(commas) == ["one, two"]


def test_a_page_with_marks_keeps_what_is_around_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(page, "new\n")
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    report.write(tmp_path / "fresh.md", "new\n")
    assert (tmp_path / "fresh.md").read_text() == "new\n"
