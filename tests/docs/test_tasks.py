"""The kinds of task in docs/how-to/tasks.md: the file, the workload and the command of each, run as they stand."""

from __future__ import annotations

import itertools
import re
import shlex
import typing
from pathlib import Path

import pytest

from peftbench.metrics import TaskKind, metrics_for
from peftbench.spec import resolve
from tests.recorders import train

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "tasks.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def block(section: str, language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.S)[0]


def write_rows(section: str, folder: Path) -> None:
    """Write the section's ten rows as each split, in the form that they have there."""
    form = "jsonl" if "```jsonl" in SECTIONS[section] else "csv"
    rows = block(section, form)
    assert len(rows.splitlines()) == 10 + (form == "csv"), "ten rows, and in a csv a header"
    for split in ("train", "dev", "test"):
        (folder / f"{split}.{form}").write_text(rows)


def test_every_kind_has_its_section_and_the_table_its_metrics() -> None:
    assert {name.lower() for name in SECTIONS} == set(typing.get_args(TaskKind))
    for kind in typing.get_args(TaskKind):
        metrics = metrics_for(kind)
        (row,) = re.findall(rf"^\| `{kind}` .*$", PAGE, re.M)
        shown = re.findall(r"`(\w+)`", row)[1:]
        assert set(shown) <= set(metrics)
        assert shown[0] == metrics[0] or kind == "binary"


@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_is_run_as_it_stands(section: str, tmp_path: Path, tiny_encoder: Path) -> None:
    write_rows(section, tmp_path)
    (tmp_path / "workload.toml").write_text(block(section, "toml"))
    command = shlex.split(re.findall(r"^    (peftbench run .*)$", SECTIONS[section], re.M)[0])
    given = dict(itertools.pairwise(command))
    assert given["--data"] == "." and given["--workload"] == "workload.toml"
    overrides = [f"encoder.name={tiny_encoder}", "train.epochs=1", "train.lr=0.001"]
    overrides += [given["--set"]] if "--set" in given else []
    resolved = resolve(given["--preset"], str(tmp_path / "workload.toml"), data=[str(tmp_path)], overrides=overrides)
    memory = train(resolved.spec, tmp_path / "run")
    assert {score.metric for score in memory.scores} == {resolved.spec.tasks[0].headline}
    assert resolved.spec.tasks[0].kind == section.lower()
    assert (memory.test is not None) is resolved.spec.split.has_test
