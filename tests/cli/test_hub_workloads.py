"""A workload of the hub through the command line: trained for an epoch on a cache with rows of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peftbench.spec import resolve
from tests.data.hub_cache import COMMIT, CONLL_TAGS, fill_banking, fill_conll, fill_emotions, fill_glue
from tests.processes import run_peftbench

SHORT = (
    *("encoder.name=all-MiniLM-L6-v2", "encoder.pooling=mean", "train.epochs=1", "train.limit_examples=16"),
    "eval.train_examples=4",
)


def run(home: Path, workload: str, *overrides: str) -> tuple[int, str]:
    words = [word for override in (*SHORT, *overrides) for word in ("--set", override)]
    done = run_peftbench(
        *("run", "-p", "lora-r12", "-w", workload, "--db", home / "runs.db", "--headless", *words),
        HF_DATASETS_CACHE=str(home / "cache"),
        HF_HUB_OFFLINE="1",
    )
    return done.returncode, done.stdout + done.stderr


def shown(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_peftbench("show", "latest", "--json", "--db", home / "runs.db").stdout)
    return found


@pytest.mark.slow
def test_a_task_of_glue_reports_the_half_of_dev_that_chose_nothing(tmp_path: Path) -> None:
    fill_glue(tmp_path / "cache", tasks=["mnli"])
    code, told = run(tmp_path, "glue-mnli")
    assert code == 0, told
    found = shown(tmp_path)
    scored = {(score["split"], score["metric"]): score["examples"] for score in found["scores"]}
    assert scored == {("train", "accuracy"): 4, ("dev", "accuracy"): 9, ("test", "accuracy"): 9}
    assert found["conditions"]["label_names"] == {"mnli": ["entailment", "neutral", "contradiction"]}
    read = {"rows": 18, "revision": COMMIT}
    assert found["conditions"]["data_read"] == {"mnli/train": read, "mnli/dev": read}


@pytest.mark.slow
def test_banking77_trains_all_its_intents(tmp_path: Path, tiny_encoder: Path) -> None:
    (task,) = resolve("lora-r12", "banking77").spec.tasks
    assert task.labels is not None
    fill_banking(tmp_path / "cache", task.labels)
    code, told = run(tmp_path, "banking77", "train.limit_examples=none", f"encoder.name={tiny_encoder}")
    assert code == 0, told
    found = shown(tmp_path)
    assert found["conditions"]["label_names"] == {"intents": list(task.labels)}
    assert {score["split"]: score["examples"] for score in found["scores"]} == {"train": 4, "dev": 154, "test": 154}


@pytest.mark.slow
def test_conll2003_reports_its_test_split(tmp_path: Path, tiny_encoder: Path) -> None:
    own = [{"tokens": ["Ada", "left", "New", "York"], "ner_tags": [1, 0, 5, 6]}]
    fill_conll(tmp_path / "cache", {"train": own * 8, "validation": own * 4, "test": own * 6})
    code, told = run(tmp_path, "conll2003", f"encoder.name={tiny_encoder}")
    assert code == 0, told
    found = shown(tmp_path)
    assert found["conditions"]["label_names"] == {"entities": list(CONLL_TAGS)}
    assert headline_examples(found) == {("train", "span_f1"): 4, ("dev", "span_f1"): 4, ("test", "span_f1"): 6}


@pytest.mark.slow
def test_go_emotions_reports_its_test_split(tmp_path: Path, tiny_encoder: Path) -> None:
    (task,) = resolve("lora-r12", "go-emotions").spec.tasks
    assert task.labels is not None
    each = [[number] for number in range(28)]
    fill_emotions(tmp_path / "cache", task.labels, {"train": each, "validation": each, "test": [*each, [0, 27]]})
    code, told = run(tmp_path, "go-emotions", f"encoder.name={tiny_encoder}")
    assert code == 0, told
    found = shown(tmp_path)
    assert found["conditions"]["label_names"] == {"emotions": list(task.labels)}
    assert headline_examples(found) == {("train", "macro_f1"): 4, ("dev", "macro_f1"): 28, ("test", "macro_f1"): 29}


def headline_examples(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(score["split"], score["metric"]): score["examples"] for score in found["scores"]}
