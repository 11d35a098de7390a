"""All values of the published study's two tables and its test scores: data files in this folder, read only here.

Source: Ryu, "Task-Specific Parameter Efficient Fine-Tuning for Improving Multitask BERT", Stanford CS224N default
project (2024). Table 1 has dev scores, Table 2 costs; the leaderboard scores are on the test split. Figure 2 has only
curves, no numbers.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

_DEV = {"sst": "sst_dev_accuracy", "paraphrase": "paraphrase_dev_accuracy", "sts": "sts_dev_pearson"}
METRICS = {task: column.rpartition("_")[2] for task, column in _DEV.items()}  # accuracy; pearson
DEV_AVG = "dev_avg"
LEADERBOARD = "leaderboard"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of both tables, as printed.

    `preset` is our preset that reproduces it. `dev` has the scores of Table 1 by task (accuracy; Pearson r for sts)
    and their mean under `DEV_AVG`. `vram_mib` is from nvidia-smi (printed as MB), including the CUDA context; speed and
    power are for training SST.
    """

    label: str
    preset: str
    method: str
    rank: int
    augmented: bool
    lr: float
    dev: Mapping[str, float]
    vram_mib: int
    sst_its: float
    power_w: float

    @property
    def j_per_step(self) -> float:
        """Energy per iteration in J; not printed, computed as power divided by speed."""
        return self.power_w / self.sst_its


@dataclass(frozen=True, slots=True)
class Facts:
    """The study's setup, and the leaderboard scores (test split) of the row that it submitted."""

    source: str
    workload: str
    encoder: str
    gpu: str
    test_preset: str
    test: Mapping[str, float]


@cache
def rows() -> tuple[PublishedRow, ...]:
    """Return the nine rows of Tables 1 and 2, in order."""
    scores, costs = (_table(f"table{number}.csv") for number in (1, 2))
    if list(scores) != list(costs):
        raise ValueError("table1.csv and table2.csv have different rows")
    return tuple(_row(scores[preset], costs[preset]) for preset in scores)


@cache
def by_preset() -> Mapping[str, PublishedRow]:
    """Return the rows by the preset that reproduces each."""
    return {row.preset: row for row in rows()}


@cache
def facts() -> Facts:
    """Return the study's facts outside its tables."""
    content: dict[str, Any] = tomllib.loads(_text("study.toml"))
    test = dict(content["test"])
    preset = test.pop("preset")
    return Facts(content["source"], content["workload"], content["encoder"], content["gpu"], preset, test)


def _row(scores: Mapping[str, str], costs: Mapping[str, str]) -> PublishedRow:
    dev = {task: float(scores[column]) for task, column in _DEV.items()}
    return PublishedRow(
        label=scores["row"],
        preset=scores["preset"],
        method=scores["method"],
        rank=int(scores["rank"]),
        augmented=scores["augmented"] == "yes",
        lr=float(scores["lr_printed"]),
        dev={**dev, DEV_AVG: float(scores["dev_avg"])},
        vram_mib=int(costs["vram_mb"]),
        sst_its=float(costs["sst_it_per_s"]),
        power_w=float(costs["power_w"]),
    )


def _table(name: str) -> dict[str, dict[str, str]]:
    return {row["preset"]: row for row in csv.DictReader(_text(name).splitlines())}


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text("utf-8")
