"""Cost tables: width, dashes for missing values, and agreement with the analysis."""

from __future__ import annotations

import pytest

from peftbench.analysis.cost import cost
from peftbench.report import resources, tables
from peftbench.report.formats import json
from tests.factories import on_a_card, record
from tests.printing import printed


def test_a_run_shows_the_columns_of_the_studys_table_and_its_flags() -> None:
    text = printed(tables.run_page(on_a_card(train={"foreign_processes": 2})))
    head, row = "VRAM    sst  sst   sst  J/1,000   run  net of", "1,200    4.0  100  25.0    3,125  2.00    1.44"
    assert " ".join(head.split()) in " ".join(text.split())
    assert " ".join(row.split()) in " ".join(text.split())
    assert "shared_gpu: up to 2 other processes on the card" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_without_a_card_there_is_no_table_of_dashes() -> None:
    text = printed(tables.run_page(record()))
    assert "VRAM" not in text
    assert "peak" in text


def test_what_one_run_of_two_could_not_read_is_a_dash() -> None:
    text = printed(resources.resources([on_a_card(), record()], [cost(on_a_card()), cost(record())]))
    *_, with_card, without, said = text.splitlines()
    assert said == "  VRAM: this process's in training, context included"
    assert "1,200" in with_card
    assert without.count("–") == 6


def test_every_phase_has_a_line() -> None:
    found = on_a_card(
        train={"event_reasons": 0x48, "temperature_end_c": 71.0, "energy_j": None, "missing": {"energy_j": "lost"}}
    )
    lines = printed(resources.phases(found), width=120).splitlines()
    (line,) = [line for line in lines if " train " in line and "paraphrase" in line]
    assert line.endswith("hw, hw thermal")
    assert " 71 " in line
    assert "–" in line
    assert len(lines) == 3 + len(found.phases)


@pytest.mark.parametrize(
    ("target", "task", "said"),
    [
        (0.2, "sst", "sst accuracy 0.2 on dev: not reached"),
        (0.101, "sst", "sst accuracy 0.101 on dev: epoch 1"),
        (0.505, None, "Dev Avg 0.505 on dev: epoch 5"),
    ],
)
def test_what_it_took_to_reach_a_score(target: float, task: str | None, said: str) -> None:
    found = on_a_card()
    assert said in resources.reached_line(found, target, task).plain
    told = json.run_full(found, [(target, task)])["reached"][0]
    assert told["task"] == task
    assert (told["epoch"] is None) == ("not reached" in said)
