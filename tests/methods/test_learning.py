"""Every preset beyond the study's trains successfully on the quickstart's sentiment task with the real encoder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from peftbench.data.load import load_split
from peftbench.jobs.execute import execute
from peftbench.spec import resolve
from peftbench.spec.files import read_recipe
from tests.methods.presets import BEYOND_LORA, BY_PEFTS_CONFIGURATION
from tests.recorders import Memory


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart workload with one task."""
    text = read_recipe("workload", "quickstart").path.read_text()
    path = tmp_path_factory.mktemp("workload") / "sentiment.toml"
    path.write_text(text[: text.index("[tasks.paraphrase.source]")])
    return path


ALL = (*BEYOND_LORA, *BY_PEFTS_CONFIGURATION)
ALWAYS = ("delta-lora-r12",)  # the others run in `make soak`


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.soak) for name in ALL]
)
def test_the_loss_falls_and_dev_is_above_the_majority(preset: str, sentiment: Path, tmp_path: Path) -> None:
    spec = resolve(
        preset, str(sentiment), overrides=["train.epochs=2", "eval.train_examples=50", "tasks.sst.source.dev=150"]
    ).spec
    (task,) = spec.tasks
    labels = Counter(example.label for example in load_split(task, "dev").examples)
    majority = max(labels.values()) / labels.total()
    memory = Memory()
    execute(spec, memory, tmp_path)
    losses = [loss for _, _, loss in memory.loss_points]
    assert losses[-1] < 0.9 * losses[0]
    assert memory.epochs[-1].dev_avg > majority + 0.1
